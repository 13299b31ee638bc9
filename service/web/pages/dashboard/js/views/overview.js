// One thing first: the green zero, then what waits for a person, then the last minutes.
import { html, nothing, icon } from "../screen.js";
import { t, number, tenth, signed, when } from "../words.js";
import { store } from "../store.js";
import { feed, doubt } from "../feed.js";
import { get, query, storeId } from "../api.js";
import { chart } from "../chart.js";
import { requestsAhead, summary } from "./bookings.js";

const RULES = ["reserved", "within", "moves", "order", "paid", "money", "orders", "refunds", "sales", "tables", "seats", "told"];
const OF_RULE = {
  reserved: ["reserved_equals_open_holds", "reserved_product_is_known", "lines_are_of_one_reservation", "product_has_stock"],
  within: ["never_oversold"],
  moves: ["on_hand_equals_movements", "committed_goods_left"],
  order: ["movement_continues_the_last", "movement_follows_the_last", "positions_have_no_gap"],
  paid: ["purchase_is_paid_once", "purchase_is_the_owners", "purchase_left_the_stock", "paid_order_left_the_stock"],
  money: ["balance_equals_entries", "never_overdrawn", "account_keeps_its_owner", "entries_are_as_many_as_counted", "entry_follows_the_last"],
  tables: ["no_overlapping_bookings"],
  seats: ["one_party_at_a_table"],
  orders: ["order_holds_its_lines", "order_total_is_its_lines", "order_is_paid_once"],
  refunds: ["line_is_refunded_as_written", "restocked_units_came_back"],
  sales: ["sales_are_what_orders_say"],
  told: ["delivery_has_a_target", "erased_guest_is_empty"],
};
const NAMED = new Set(Object.values(OF_RULE).flat());
const at = { chart: null, i: 0 };
const POINTS = 120;

/** Read the figures, who waits for an answer, and what could not be delivered. */
export async function refresh() {
  const asked = storeId();
  try {
    const [figures, requests, dead] = await Promise.all([
      get(`figures`, { tries: 1 }),
      requestsAhead(),
      get(`dead-letters${query({ limit: 1000 })}`, { tries: 1 }),
    ]);
    if (storeId() !== asked || !store.user) return;
    store.figures = figures;
    store.figuresAt = Date.now();
    store.requests = requests;
    store.dead = dead.dead_letters;
    store.outbox.push(Math.max(0, ...figures.outbox.map((each) => each.lag)));
    if (store.outbox.length > POINTS) store.outbox.shift();
  } catch (refused) {
    if (refused.code === "unreachable") doubt();
    throw refused;
  }
}

export const head = () => html`<h1>${t("nav.overview")}</h1><span class="meta">${store.figuresAt ? t("ov.as", { time: when(store.figuresAt) }) : nothing}</span>`;

function needs() {
  const list = store.requests.slice(0, 4).map((b) => ["bookings/" + b.booking_id, "held", ...summary(b)]);
  if (store.requests.length > 4) list.push(["bookings", "held", t("need.more", { n: store.requests.length - 4 }), ""]);
  const out = feed.order.filter((it) => it.available === 0);
  const held = out.filter((it) => it.onHand > 0).length;
  if (out.length) list.push(["stock/out", "ink", t("need.out", { n: out.length }), held ? t("need.out.why", { n: held }) : ""]);
  if (store.dead.length) list.push(["webhooks", "wrong", t("need.dead", { n: store.dead.length }), store.dead[0].url ?? t(`we.${store.dead[0].channel}`)]);
  return list;
}

/** 0, how many, or null where nobody could look yet. */
const violations = () => store.figures?.check.violations ?? null;

function zero() {
  const { check } = store.figures ?? { check: {} };
  const n = violations();
  const broken = check.broken ?? [];
  const ofRule = (rule) => broken.filter((each) => OF_RULE[rule].includes(each.invariant)).reduce((sum, each) => sum + each.count, 0);
  const heading = n === null ? t(check.is_too_long ? "ov.long" : "ov.looking") : n ? t("ov.broken", { n }) : t("ov.zero");
  return html`
    <section class="zero ${n ? "broken" : ""} ${n === null ? "unknown" : ""}" aria-labelledby="zero">
      <p class="big" aria-hidden="true">${n === null ? "–" : n > 99 ? "99+" : number(n)}</p>
      <div>
        <h2 id="zero">${heading}</h2>
        <p class="soft">${n ? t("ov.broken.1") : n === null && check.is_too_long ? t("ov.long.1") : t("ov.zero.2")}</p>
        <p class="meta">${check.checked_at ? t("ov.zero.1", { n: NAMED.size, s: Math.max(0, Math.round((Date.now() - Date.parse(check.checked_at)) / 1000)), ms: Math.round(check.seconds * 1000) }) : nothing}</p>
      </div>
      <ul class="rules" aria-label=${t("ov.rules")}>${RULES.map((rule) => {
        const many = n === null ? null : ofRule(rule);
        return html`<li class=${many ? "wrong" : ""}>${icon(many ? "close" : many === null ? "more" : "check")}<span>${t(`rule.${rule}`)}</span><b>${many === null ? "–" : number(many)}</b></li>`;
      })}</ul>
      ${n ? html`<ul class="rules" aria-label=${t("ov.found")}>${broken.map((each) => html`<li class="wrong"><span>${each.invariant.replaceAll("_", " ")}: <code>${each.subject}</code></span><b>${number(each.count)}</b></li>`)}</ul>` : nothing}
    </section>`;
}

function charts() {
  const s = store.figures?.series;
  const outbox = store.figures?.outbox ?? [];
  const last = (points) => points?.at(-1) ?? 0;
  const lag = store.outbox.length ? store.outbox : [0];
  return html`
    <section class="charts" aria-label=${t("ov.last")}>
      ${s ? html`
        ${chart({ at, step: s.seconds, name: t("ch.rate"), unit: t("ch.rate.unit"), show: rate, lines: [{ points: s.reservations, kind: "area" }, { points: s.refused, kind: "faint" }], note: t("ch.refused", { n: rate(last(s.refused)) }) })}
        ${chart({ at, step: s.seconds, name: t("ch.latency"), unit: t("ch.latency.unit"), show: tenth, lines: [{ points: s.p99, kind: "line" }, { points: s.p50, kind: "faint" }], note: t("ch.latency.half", { n: tenth(last(s.p50)) }) })}` : nothing}
      ${chart({ at, step: 5, name: t("ch.outbox"), unit: t("ch.outbox.unit"), show: tenth, lines: [{ points: lag, kind: "line" }], note: t("ch.outbox.wait", { n: number(outbox.reduce((sum, each) => sum + each.waiting, 0)) }) })}
      ${chart({ at, step: 1, name: t("ch.feed"), unit: t("ch.feed.unit"), show: number, lines: [{ points: feed.ticks, kind: "line" }], now: feed.ticks.reduce((a, b) => a + b, 0), note: store.figures?.sockets != null ? t("ch.feed.sockets", { n: store.figures.sockets }) : t(`feed.${feed.state}`) })}
    </section>`;
}
const rate = (n) => (n && n < 10 ? tenth(n) : number(Math.round(n)));

function tails() {
  const moved = feed.order.filter((it) => it.at).sort((a, b) => b.at - a.at).slice(0, 6);
  const most = feed.order.filter((it) => it.reserved).sort((a, b) => b.reserved - a.reserved).slice(0, 6);
  return html`
    <section class="tail" aria-labelledby="moved">
      <h2 id="moved">${t("ov.moved")}</h2>
      ${moved.length ? html`<ul class="pairs">${moved.map((it) => html`<li><span><a href="#stock/${encodeURIComponent(it.id)}">${it.name}</a></span><span class=${it.delta > 0 ? "sound" : "held"}>${signed(it.delta)}</span><span class="left">${number(it.available)}</span><span class="meta">${when(it.at)}</span></li>`)}</ul>` : html`<p class="soft">${t("ov.moved.none")}</p>`}
    </section>
    <section class="tail" aria-labelledby="most">
      <h2 id="most">${t("ov.held")}</h2>
      ${most.length ? html`<ul class="pairs">${most.map((it) => html`<li><span><a href="#stock/${encodeURIComponent(it.id)}">${it.name}</a></span><span class="bar wide" .style=${`--held-part:${it.onHand ? it.reserved / it.onHand : 0}`}><i></i></span><span class="left">${number(it.reserved)}</span><span class="meta of">/ ${number(it.onHand)}</span></li>`)}</ul>` : html`<p class="soft">${t("ov.held.none")}</p>`}
    </section>`;
}

export function body() {
  const list = needs();
  return html`<div class="overview ${store.figures && !store.figures.series ? "narrow" : ""}">
    ${zero()}
    <section class="needs" aria-labelledby="needs">
      <h2 id="needs">${t("ov.needs")} <span class="soft">${list.length || nothing}</span></h2>
      ${list.length ? html`<ul>${list.map(([href, kind, what, why]) => html`<li><a href="#${href}"><span class="state ${kind}">${what}</span>${why ? html`<span class="meta">${why}</span>` : nothing}</a></li>`)}</ul>` : html`<p class="soft">${t("ov.needs.none")}</p>`}
    </section>
    ${charts()}
    ${tails()}
  </div>`;
}

// 2,000 items and more: only the rows in sight are in the document. Rows keep their place while figures change;
// the order is made anew only when somebody searches or chooses.
import { html, nothing, changed, drawn, icon, none, refused, still, phone } from "../screen.js";
import { t, number, signed, when, moment } from "../words.js";
import { store, say } from "../store.js";
import { words } from "../errors.js";
import { feed } from "../feed.js";
import { get, post, postAsIs, query } from "../api.js";
import { lapse } from "./reservations.js";
import { repeat } from "../../vendor/directives/repeat.js";
import { live } from "../../vendor/directives/live.js";

const FILTERS = { all: () => true, heldf: (it) => it.reserved > 0, low: (it) => it.available > 0 && it.available <= 3, out: (it) => it.available === 0 };
const EXTRA = 6;
const HOLD_MINUTES = 15;

let find = "", filter = "all";
let rows = null, rowsOf = -1;  // what is listed, in order; and of which version of the feed's order
let cursor = 0, chosen = null; // the row of the keyboard; the item on the right
let top = 0, height = 800;
let refusal = null, quantity = "1", busy = null, detail = null;
let listened = null;
const tallies = { at: 0, of: {} };

const rowHeight = () => (phone.matches ? 60 : 36);
function list() {
  if (rows && rowsOf === feed.version) return rows;
  const here = rows?.[cursor];
  rowsOf = feed.version;
  const sought = find.trim().toLowerCase(); // the field keeps what was typed: a space between words is drawn over else
  rows = feed.order.filter((it) => it.find.includes(sought) && FILTERS[filter](it));
  if (here) cursor = Math.max(0, rows.indexOf(here));
  return rows;
}
function again() { rows = null; cursor = 0; top = 0; drawn(() => { const g = grid(); if (g) g.scrollTop = 0; }); }
const grid = () => document.getElementById("grid");

/** How many items each filter has: counted twice a second at most, 2,000 items are 4 tests each. */
function tally(name) {
  if (performance.now() - tallies.at > 500) {
    tallies.at = performance.now();
    for (const each of Object.keys(FILTERS)) tallies.of[each] = 0;
    for (const it of feed.order) for (const each of Object.keys(FILTERS)) if (FILTERS[each](it)) tallies.of[each]++;
  }
  return tallies.of[name] ?? 0;
}

export function enter(rest, turned) {
  if (FILTERS[rest]) { filter = rest; find = ""; again(); }
  else if (rest) { filter = "all"; find = ""; rows = null; const i = list().findIndex((it) => it.id === rest); if (i >= 0) { cursor = i; open(); drawn(show); } }
  else if (turned) rows = null;
}
export function leave() { listened = null; }
export function forget() { find = ""; filter = "all"; rows = chosen = detail = refusal = null; cursor = top = 0; }
export function back() {
  if (chosen) { chosen = detail = refusal = null; drawn(() => grid()?.focus()); }
  else if (find) { find = ""; again(); drawn(() => grid()?.focus()); }
}
export const moved = () => { if (chosen) read(); };

function open() {
  const it = list()[cursor] ?? null;
  if (it !== chosen) { detail = null; quantity = "1"; }
  chosen = it; refusal = null;
  if (it) read();
  changed();
}
/** Who holds an item, and what changed it. */
async function read() {
  const it = chosen;
  const [held, moves] = await Promise.all([
    get(`reservations${query({ sort: "newest", status: "held", product_id: it.id, limit: 6 })}`),
    get(`items/${encodeURIComponent(it.id)}/movements${query({ limit: 8 })}`),
  ]).catch(() => [null, null]);
  if (it === chosen && held) { detail = { holds: held.reservations, moves: moves.movements }; changed(); }
}
function show() {
  const g = grid(); if (!g) return;
  const h = rowHeight(), head = phone.matches ? 0 : 33, from = cursor * h, room = g.clientHeight - head;
  if (from < g.scrollTop) g.scrollTop = from;
  else if (from + h > g.scrollTop + room) g.scrollTop = from + h - room;
}
function keys(e) {
  const n = list().length, page = Math.max(1, Math.floor(height / rowHeight()) - 2);
  const step = { ArrowDown: 1, j: store.singleKeys ? 1 : 0, ArrowUp: -1, k: store.singleKeys ? -1 : 0, PageDown: page, PageUp: -page, Home: -n, End: n }[e.key];
  if (step) { cursor = Math.max(0, Math.min(n - 1, cursor + step)); if (chosen) open(); show(); changed(); }
  else if (e.key === "Enter") { open(); drawn(() => document.getElementById("quantity")?.focus()); }
  else return;
  e.preventDefault();
}

// The grid is measured when it appears or changes its size, never while drawing: reading a size there forces a layout.
const watch = new ResizeObserver(([entry]) => { height = entry.contentRect.height; changed(); });
function listen() {
  const g = grid();
  if (g === listened) return;
  if (listened) watch.unobserve(listened);
  if ((listened = g)) { watch.observe(g); g.scrollTop = top; }
}

// What moved lights up: an overlay fades by opacity alone, which the compositor does without the page. With reduced
// motion nothing fades; the sign and the time of the last change are there in any case.
function light() {
  if (feed.lit.size === 0) return;
  if (!still.matches) {
    for (const row of grid()?.querySelectorAll("[data-id]") ?? []) {
      const it = feed.items.get(row.dataset.id);
      if (!feed.lit.has(it)) continue;
      row.glow?.cancel();
      row.glow = row.lastElementChild.animate([{ opacity: 1 }, { opacity: 1, offset: 0.15 }, { opacity: 0 }], { duration: 1400, easing: "ease-out" });
    }
  }
  feed.lit.clear();
}

const row = (it, i, h) => html`
  <div role="row" id="row-${i}" class="row ${i === cursor ? "at" : ""} ${it.available === 0 ? (it.onHand ? "all-held" : "gone") : ""}" aria-rowindex=${i + 2} aria-selected=${it === chosen ? "true" : "false"} data-id=${it.id} data-i=${i} .style=${`transform:translateY(${i * h}px)`}>
    <span role="gridcell" class="c-name">${it.name}</span>
    <span role="gridcell" class="c-id id">${it.id}</span>
    <span role="gridcell" class="c-bar"><span class="bar ${it.onHand ? "" : "empty"}" .style=${`--held-part:${it.onHand ? (it.reserved / it.onHand).toFixed(3) : 0}`}><i></i></span></span>
    <span role="gridcell" class="c-hand num">${number(it.onHand)}</span>
    <span role="gridcell" class="c-res num">${number(it.reserved)}</span>
    <span role="gridcell" class="c-free num">${number(it.available)}</span>
    <span role="gridcell" class="c-moved num">${it.at ? html`<b class=${it.delta > 0 ? "sound" : "held"}>${signed(it.delta)}</b><span class="meta">${when(it.at)}</span>` : nothing}</span>
    <i class="glow ${it.delta > 0 ? "up" : "down"}" aria-hidden="true"></i>
  </div>`;

function slots(items, h) {
  const from = Math.max(0, Math.floor(top / h) - EXTRA);
  const to = Math.min(items.length, Math.ceil((top + height) / h) + EXTRA);
  const size = Math.ceil(height / h) + 2 * EXTRA + 2;
  // A slot is kept for every row of the same place modulo the number of slots: scrolling by one row writes one row.
  const out = [];
  for (let i = from; i < to; i++) out.push([i % size, i]);
  return repeat(out, ([slot]) => slot, ([, i]) => row(items[i], i, h));
}

export const head = () => html`
  <h1>${t("nav.stock")}</h1>
  <div class="choices" role="group" aria-label=${t("nav.stock")}>${Object.keys(FILTERS).map((f) => html`<button aria-pressed=${f === filter ? "true" : "false"} @click=${() => { filter = f; again(); }}>${t(`st.${f}`)} <em>${number(tally(f))}</em></button>`)}</div>
  <div class="search">${icon("search")}<input type="search" aria-label=${t("st.find")} placeholder=${t("st.find")} .value=${live(find)} @input=${(e) => { find = e.target.value; again(); }} @keydown=${(e) => { if (e.key === "ArrowDown" || e.key === "Enter") { e.preventDefault(); grid()?.focus(); } if (e.key === "Escape") { e.stopPropagation(); back(); } }}><kbd aria-hidden="true">/</kbd></div>
  <button class="do" @click=${() => document.getElementById("supply").showModal()}>${t("st.supply")}</button>`;

const COLUMNS = [["name", "name"], ["id", "id"], ["bar", "bar"], ["onhand", "hand"], ["reserved", "res"], ["available", "free"], ["moved", "moved"]];

export function body() {
  if (!feed.order.length) return feed.state === "opening" || feed.state === "lost" ? none(t("st.opening"), t("st.opening.2")) : none(t("st.empty"), t("st.empty.2"), html`<pre>product_id,name,quantity,price
1001,"Olive oil, 0.5 l",48,1290

python -m service import-stock stock.csv</pre><button class="do main" @click=${() => document.getElementById("supply").showModal()}>${t("st.empty.do")}</button>`);
  const items = list(), h = rowHeight();
  queueMicrotask(() => { listen(); light(); });
  if (!items.length) return none(find ? t("st.none", { q: find }) : t("st.none.filter"), t("st.none.2"), html`<button class="do" @click=${() => { find = ""; filter = "all"; again(); }}>${t("st.clear")}</button>`);
  return html`
    <div class="split ${chosen ? "open" : ""}">
      <div class="stock" id="grid" role="grid" tabindex="0" aria-label=${t("st.grid")} aria-rowcount=${items.length + 1} aria-activedescendant="row-${cursor}"
           @scroll=${(e) => { top = e.target.scrollTop; changed(); }} @keydown=${keys}
           @click=${(e) => { const r = e.target.closest("[data-i]"); if (r) { cursor = Number(r.dataset.i); open(); } }}>
        <div role="row" class="row top" aria-rowindex="1">
          ${COLUMNS.map(([c, name], i) => html`<span role="columnheader" class="c-${name} ${i > 2 ? "num" : ""}">${t(`st.${c}`)}</span>`)}
        </div>
        <div role="rowgroup" class="rows" .style=${`height:${items.length * h}px`}>${slots(items, h)}</div>
      </div>
      ${chosen ? item(chosen) : nothing}
    </div>`;
}

const whole = (text) => (/^\d{1,15}$/.test(text) ? Number(text) : 0);

/** Supply, take out, or hold. A refusal is told where it happened. */
async function act(kind, n, it) {
  if (busy || !(n > 0)) return;
  busy = kind; refusal = null; changed();
  try {
    if (kind === "hold") {
      const id = `desk-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
      await postAsIs("reservations", { reservation_id: id, lines: [{ product_id: it.id, quantity: n }], ttl_seconds: HOLD_MINUTES * 60 });
      say(t("it.held", { n, name: it.name, minutes: HOLD_MINUTES }));
    } else {
      const { store: after } = await post("", { operation: kind, item_id: it.id, quantity: n });
      say(t(kind === "supply" ? "it.supplied" : "it.taken", { n, name: it.name, a: after.report[0].available }));
    }
    read();
  } catch (error) {
    refusal = { kind, q: n, error };
  }
  busy = null; changed();
}

function told(it) {
  if (!refusal) return nothing;
  const { error, kind, q } = refusal;
  if (error.code !== "insufficient_stock") { const { title, text } = words(error); return refused(title, text); }
  const a = error.facts.available ?? error.facts.lines?.[0]?.available ?? it.available;
  return refused(t(kind === "hold" ? "it.refused.hold" : "it.refused"), t("it.refused.1", { q, a, r: it.reserved }), html`
    ${a ? html`<button class="do small" @click=${() => { quantity = String(a); act(kind, a, it); }}>${t(kind === "hold" ? "it.hold.n" : "it.take", { n: a })}</button>` : nothing}`);
}

function item(it) {
  return html`
    <aside class="aside" aria-label=${it.name}>
      <header><div><h2>${it.name}</h2><span class="id">${it.id}</span></div><button class="do plain square" aria-label=${t("close")} @click=${back}>${icon("close")}</button></header>
      <section>
        <dl class="sum"><div class="free"><dt>${t("st.available")}</dt><dd>${number(it.available)}</dd></div><div><dt>${t("st.reserved")}</dt><dd>${number(it.reserved)}</dd></div><div><dt>${t("st.onhand")}</dt><dd>${number(it.onHand)}</dd></div></dl>
        <span class="bar" .style=${`--held-part:${it.onHand ? it.reserved / it.onHand : 0}`}><i></i></span>
      </section>
      <form class="ask" @submit=${(e) => { e.preventDefault(); act("supply", whole(quantity), it); }}>
        <label class="field"><span>${t("it.quantity")}</span><input id="quantity" inputmode="numeric" autocomplete="off" aria-invalid=${refusal ? "true" : "false"} .value=${live(quantity)} @input=${(e) => { quantity = e.target.value.replace(/\D/g, ""); e.target.value = quantity; changed(); }}></label>
        <button class="do main" aria-busy=${busy === "supply" ? "true" : "false"}>${t("it.supply")}</button>
        <button class="do" type="button" aria-busy=${busy === "demand" ? "true" : "false"} @click=${() => act("demand", whole(quantity), it)}>${t("it.demand")}</button>
        <button class="do" type="button" aria-busy=${busy === "hold" ? "true" : "false"} @click=${() => act("hold", whole(quantity), it)}>${t("it.hold")}</button>
      </form>
      ${told(it)}
      <section><h3>${t("it.holds")}</h3>${!detail ? nothing : detail.holds.length ? html`<ul class="pairs">${detail.holds.map((r) => html`<li><a class="id" href="#reservations/${encodeURIComponent(r.reservation_id)}">${r.reservation_id}</a><span>${number(r.lines.filter((l) => l.product_id === it.id).reduce((n, l) => n + l.quantity, 0))}</span><span class="meta">${r.expires_at ? lapse(r) : t("re.never")}</span></li>`)}</ul>` : html`<p class="meta">${t("it.holds.none")}</p>`}</section>
      <section><h3>${t("it.moves")}</h3>${!detail ? nothing : detail.moves.length ? html`<ul class="pairs">${detail.moves.map((m) => html`<li><span class="why"><span>${t(`reason.${m.reason}`)}</span><span class="id">${m.reason === "commit" || m.reason === "purchase" ? m.reference : m.actor}</span></span><span class=${m.delta > 0 ? "sound" : "held"}>${signed(m.delta)}</span><span class="left">${number(m.quantity_after)}</span><span class="meta">${moment(Date.parse(m.created_at))}</span></li>`)}</ul>` : html`<p class="meta">${t("it.moves.none")}</p>`}</section>
    </aside>`;
}

let supplyRefusal = null;
async function supply(e) {
  e.preventDefault();
  const form = e.target, id = form.elements.product.value.trim(), n = whole(form.elements.quantity.value);
  if (busy) return;
  busy = "first"; supplyRefusal = null; changed();
  try {
    const { store: after } = await post("", { operation: "supply", item_id: id, quantity: n });
    say(t("it.supplied", { n, name: feed.items.get(id)?.name ?? id, a: after.report[0].available }));
    form.reset();
    form.closest("dialog").close();
  } catch (error) { supplyRefusal = error; }
  busy = null; changed();
}

export const over = () => html`
  <dialog id="supply" aria-labelledby="supply-title"><form @submit=${supply}>
    <h2 id="supply-title">${t("st.supply")}</h2>
    <p class="soft">${t("st.supply.2")}</p>
    <label class="field"><span>${t("st.id")}</span><input name="product" required maxlength="64" autocomplete="off"></label>
    <label class="field"><span>${t("it.quantity")}</span><input name="quantity" required inputmode="numeric" pattern="[0-9]{1,10}" value="1" autocomplete="off"></label>
    ${supplyRefusal ? (({ title, text }) => refused(title, text))(words(supplyRefusal)) : nothing}
    <div class="ends"><button class="do" type="button" @click=${(e) => e.target.closest("dialog").close()}>${t("close")}</button><button class="do main" aria-busy=${busy === "first" ? "true" : "false"}>${t("it.supply")}</button></div>
  </form></dialog>`;

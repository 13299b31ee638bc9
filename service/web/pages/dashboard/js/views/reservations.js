// The latest reservations of one state, newest first; any by its id.
import { html, nothing, changed, icon, none, refused, state } from "../screen.js";
import { t, number, when, span } from "../words.js";
import { store, say } from "../store.js";
import { words } from "../errors.js";
import { feed } from "../feed.js";
import { get, post, query } from "../api.js";
import { repeat } from "../../vendor/directives/repeat.js";
import { live } from "../../vendor/directives/live.js";

const KINDS = { held: "held", committed: "sound", released: "over", expired: "over" };
let status = "held", find = "";
let list = null, found = null;
const kept = new Map();    // what was resolved here stays where it was, in its new state, until the list is chosen again
const told = new Map();    // refusals by reservation
const busy = new Set();

const units = (r) => r.lines.reduce((n, l) => n + l.quantity, 0);
const nameOf = (id) => feed.items.get(id)?.name ?? id;
/** The service decides by its database's clock what is held; here a hold only looks lapsed. */
const stateOf = (r) => (r.status === "held" && r.expires_at && Date.parse(r.expires_at) < Date.now() ? "expired" : r.status);

async function read() {
  const asked = status;
  const { reservations } = await get(`reservations${query({ sort: "newest", status, limit: 100 })}`);
  if (asked !== status) return;
  const there = new Map(reservations.map((r) => [r.reservation_id, r]));
  // Rows that were resolved here, or refused, keep their place.
  const before = (list ?? []).filter((r) => kept.has(r.reservation_id) && !there.has(r.reservation_id));
  list = [...reservations, ...before].sort((a, b) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0)).map((r) => kept.get(r.reservation_id) ?? r);
  changed();
}
async function look() {
  const id = find;
  if (!id) { found = null; return changed(); }
  found = { id, waits: true };
  const answer = await get(`reservations/${encodeURIComponent(id)}`).catch((error) => ({ error }));
  if (find === id) { found = { id, ...(answer.error ? answer : { reservation: answer }) }; changed(); }
}

const quietly = (promise) => promise.catch(() => {});
export function enter(rest) {
  if (rest) { find = rest; quietly(look()); }
  quietly(read());
}
export const tick = read;
export const moved = () => { quietly(read()); if (found?.reservation && !kept.has(find)) quietly(look()); };
export function forget() { status = "held"; find = ""; list = found = null; kept.clear(); told.clear(); busy.clear(); }
export function back() { if (find) { find = ""; found = null; changed(); } }

async function resolve(r, verb) {
  const id = r.reservation_id;
  if (busy.has(id) || stateOf(r) !== "held" || r.kind === "order") return;
  busy.add(id); told.delete(id); changed();
  try {
    const after = await post(`reservations/${encodeURIComponent(id)}/${verb}`);
    keep(id, after);
    say(t(`re.did.${verb}`, { id, n: units(after) }));
  } catch (error) {
    told.set(id, error);
    changed();
    const now = await get(`reservations/${encodeURIComponent(id)}`).catch(() => null);
    if (now) keep(id, now);
  }
  busy.delete(id); changed();
}
function keep(id, r) {
  kept.set(id, r);
  if (list) list = list.map((each) => (each.reservation_id === id ? r : each));
  if (found?.id === id) found = { id, reservation: r };
}

function choose(s) { status = s; kept.clear(); told.clear(); list = null; quietly(read()); changed(); }

export const head = () => html`
  <h1>${t("nav.reservations")}</h1>
  <div class="choices" role="group" aria-label=${t("re.status")}>${Object.keys(KINDS).map((s) => html`<button aria-pressed=${s === status ? "true" : "false"} @click=${() => choose(s)}>${t(`re.${s}`)}</button>`)}</div>
  <form class="search" @submit=${(e) => { e.preventDefault(); find = e.target.elements.id.value.trim(); quietly(look()); }}>${icon("search")}<input name="id" type="search" aria-label=${t("re.find")} placeholder=${t("re.find")} .value=${live(find)} @input=${(e) => { if (!e.target.value) { find = ""; found = null; changed(); } else find = e.target.value.trim(); }}><kbd aria-hidden="true">/</kbd></form>`;

function keys(e) {
  const tr = e.target.closest("tr[data-id]");
  if (!tr || e.target !== tr) return;
  const r = shown().find((x) => x.reservation_id === tr.dataset.id);
  const way = { ArrowDown: "nextElementSibling", j: "nextElementSibling", ArrowUp: "previousElementSibling", k: "previousElementSibling" }[e.key];
  if (way) { let to = tr[way]; while (to && !to.dataset.id) to = to[way]; to?.focus(); e.preventDefault(); }
  else if (store.singleKeys && e.key === "c") resolve(r, "commit");
  else if (store.singleKeys && e.key === "r") resolve(r, "release");
}

/** How long a hold lives on, with a bar of what is left. */
export function lapse(r) {
  if (stateOf(r) !== "held") return html`<span class="meta">${r.closed_at ? when(Date.parse(r.closed_at)) : nothing}</span>`;
  if (!r.expires_at) return html`<span class="meta">${t("re.never")}</span>`;
  const ends = Date.parse(r.expires_at), left = Math.max(0, (ends - Date.now()) / 1000);
  const part = Math.min(1, left / ((ends - Date.parse(r.created_at)) / 1000));
  return html`<span class="left-time"><b class=${left < 60 ? "held" : ""}>${span(left)}</b><span class="bar lapse" .style=${`--held-part:${part.toFixed(3)}`}><i></i></span></span>`;
}

const shown = () => (found?.reservation ? [found.reservation] : list ?? []);
const actions = (r) => html`<button class="do small" aria-busy=${busy.has(r.reservation_id) ? "true" : "false"} @click=${() => resolve(r, "release")}>${t("re.release")}</button><button class="do small go" aria-busy=${busy.has(r.reservation_id) ? "true" : "false"} @click=${() => resolve(r, "commit")}>${t("re.commit")}</button>`;
const refusal = (r) => {
  const error = told.get(r.reservation_id);
  if (!error) return nothing;
  const { title, text } = words(error);
  return html`<tr class="under"><td colspan="7">${refused(title, text)}</td></tr>`;
};

export function body() {
  if (found?.error) return none(t("re.unknown", { id: found.id }), words(found.error).text, html`<button class="do" @click=${back}>${t("st.clear")}</button>`);
  if (!list) return nothing;
  const rows = shown();
  if (!rows.length) return none(t("re.none"), t("re.none.2"));
  return html`<table class="list reserved" @keydown=${keys}>
    <caption class="unseen">${t("nav.reservations")}: ${t(`re.${status}`)}</caption>
    <thead><tr><th scope="col">${t("re.id")}</th><th scope="col">${t("re.lines")}</th><th scope="col">${t("re.by")}</th><th scope="col">${t("re.since")}</th><th scope="col">${t("re.status")}</th><th scope="col">${t(status === "held" ? "re.lapses" : "re.closed.at")}</th><th scope="col"><span class="unseen">${t("re.acts")}</span></th></tr></thead>
    <tbody>${repeat(rows, (r) => r.reservation_id, (r) => html`
      <tr data-id=${r.reservation_id} tabindex="0">
        <td><code>${r.reservation_id}</code></td>
        <td class="cut"><b>${number(r.lines[0].quantity)}</b> × ${nameOf(r.lines[0].product_id)}${r.lines.length > 1 ? html` <span class="over">${t("re.more", { n: r.lines.length - 1 })}</span>` : nothing}</td>
        <td class="soft">${r.kind === "order" ? html`<a href="#orders/${encodeURIComponent(r.reservation_id.slice(6))}">${t("re.kind.order")}</a>` : t(`re.kind.${r.kind}`)}</td>
        <td class="meta">${when(Date.parse(r.created_at))}</td>
        <td>${state(KINDS[stateOf(r)], t(`re.is.${stateOf(r)}`))}</td>
        <td>${lapse(r)}</td>
        <td class="acts">${stateOf(r) !== "held" ? nothing : r.kind === "order" ? html`<span class="meta">${t("re.byorder")}</span>` : actions(r)}</td>
      </tr>
      ${refusal(r)}`)}
    </tbody></table>`;
}

// The day: tables as rows, time as columns. A request does not take the table, so it is drawn open and dashed; what
// confirming it would do to others is said in a sentence and on the chart, before it is done. The service decides.
import { html, nothing, changed, drawn, refused, state, none } from "../screen.js";
import { t, ago, money, number, minorUnits } from "../words.js";
import { store, say } from "../store.js";
import { words } from "../errors.js";
import { all, get, patch, post, query } from "../api.js";
import * as zone from "../zone.js";
import { repeat } from "../../vendor/directives/repeat.js";

const TAKING = ["confirmed", "seated"];
const SHOWN = ["pending", "confirmed", "seated", "finished", "no_show"];
const KINDS = { pending: "held", confirmed: "sound", seated: "sound", finished: "over", no_show: "over", declined: "over", cancelled: "over" };

let rules = null, tables = [], list = [];
let day = 0, chosen = null, refusal = null, sure = null;
let form = null;             // {kind: place | move, values, error, busy}
let tableError = null;
const busy = new Set();

const tz = () => rules?.time_zone ?? "UTC";
const on = (d = day) => zone.day(Date.now(), tz(), d);
const parse = (b) => ({ ...b, from: Date.parse(b.starts_at), to: b.ends_at ? Date.parse(b.ends_at) : null });
/** An open-ended visit takes the table for good. */
const end = (b) => b.to ?? Infinity;
const meets = (a, b) => a.booking_id !== b.booking_id && a.table_id === b.table_id && a.from < end(b) && b.from < end(a);
const known = () => new Map([...list, ...store.requests].map((b) => [b.booking_id, b])).values();
const rivals = (b) => [...known()].filter((x) => x.status === "pending" && meets(b, x));
const taken = (b) => list.find((x) => TAKING.includes(x.status) && meets(b, x));
const tableOf = (id) => tables.find((x) => x.table_id === id);
const tableName = (id) => t(`bo.${tableOf(id)?.kind ?? "regular"}`, { id: String(id) });
const clock = (at) => (at === Infinity || at === null ? t("bo.open-ended") : zone.clock(at, tz()));
const who = (b) => b.name || b.email || b.phone || t("bo.nobody");
const isOf = (b, d) => { const a = zone.moment(on(d), 0, tz()); return b.from < zone.moment(on(d + 1), 0, tz()) && end(b) > a && (b.from >= a || TAKING.includes(b.status)); };
const ofDay = () => list.filter((b) => SHOWN.includes(b.status) && isOf(b, day));
const requests = () => list.filter((b) => b.status === "pending" && isOf(b, day)).sort((a, b) => a.from - b.from || a.booking_id - b.booking_id);
const asks = (d) => list.filter((b) => b.status === "pending" && isOf(b, d)).length;

/** Everybody who waits for an answer, the nearest visit first. */
export async function requestsAhead() {
  rules ??= await get("bookings/rules");
  if (!tables.length) tables = await all("tables/all", "tables");
  const { bookings } = await get(`bookings${query({ status: "pending", limit: 1000 })}`);
  return bookings.map(parse).sort((a, b) => a.from - b.from);
}
/** A request in two lines, for the overview. */
export function summary(b) {
  const d = zone.day(b.from, tz());
  const name = d === on(0) ? t("bo.today").toLowerCase() : d === on(1) ? t("bo.tomorrow").toLowerCase() : zone.shortDay(d);
  return [t("need.booking", { n: b.guests, name: who(b), day: name, time: clock(b.from) }), t("need.booking.why", { table: tableName(b.table_id) })];
}

async function read() {
  const from = new Date(zone.moment(zone.day(Date.now(), tz()), 0, tz())), to = new Date(zone.moment(zone.day(Date.now(), tz(), 2), 0, tz()));
  const [found, places] = await Promise.all([all("bookings", "bookings", { from: from.toISOString(), to: to.toISOString() }), all("tables/all", "tables")]);
  list = found.map(parse);
  tables = places;
  if (chosen) chosen = list.find((b) => b.booking_id === chosen.booking_id) ?? chosen;
  changed();
}
async function readAll() {
  rules = await get("bookings/rules");
  await read();
}
const quietly = (promise) => promise.catch(() => {});
export const tick = read;
export function forget() { rules = chosen = refusal = form = sure = tableError = null; tables = []; list = []; day = 0; }
export async function enter(rest) {
  await quietly(readAll());
  const b = rest && (list.find((x) => String(x.booking_id) === rest) ?? store.requests.find((x) => String(x.booking_id) === rest));
  if (b) { if (isOf(b, 1) && !isOf(b, 0)) day = 1; else day = 0; choose(b, true); }
}
export function back() { chosen = refusal = sure = null; changed(); }

function choose(b, focus) {
  chosen = b; refusal = sure = null; changed();
  if (focus) drawn(() => { const it = document.getElementById(`ask-${b.booking_id}`) ?? document.getElementById("chosen"); it?.focus(); it?.scrollIntoView({ block: "nearest" }); });
}

const DID = { decline: "bo.did.decline", cancel: "bo.did.cancel", seat: "bo.did.seat", finish: "bo.did.finish", "no-show": "bo.did.noshow" };

/** A verb on a booking; a refusal is told in words, beside it. */
async function act(b, verb, body) {
  if (busy.has(b.booking_id)) return;
  const lost = verb === "confirm" && body?.rivals !== "keep" ? rivals(b).length : 0;
  busy.add(b.booking_id); refusal = null; changed();
  try {
    const after = await post(`bookings/${b.booking_id}/${verb}`, body);
    put({ ...b, ...parse(after) });
    say(verb === "confirm" ? t(lost ? "bo.did.confirm" : "bo.did.confirm0", { who: who(b), n: lost }) : t(DID[verb], { who: who(b) }));
    busy.delete(b.booking_id);
    await quietly(read());
    store.requests = store.requests.filter((x) => list.some((y) => y.booking_id === x.booking_id && y.status === "pending") || !list.some((y) => y.booking_id === x.booking_id));
    if (verb === "confirm" || verb === "decline") next();
    else choose(list.find((x) => x.booking_id === b.booking_id) ?? b, true);
  } catch (error) {
    await quietly(read());
    refusal = { id: b.booking_id, verb, body, error };
  }
  busy.delete(b.booking_id); sure = null; changed();
}
function put(b) { list = [...list.filter((x) => x.booking_id !== b.booking_id), b]; }
// After an answer the focus goes to the next request, never to the top of the page.
function next() { chosen = requests()[0] ?? null; refusal = null; drawn(() => (document.getElementById(`ask-${chosen?.booking_id}`) ?? document.getElementById("requests"))?.focus()); }

export function head() {
  const shown = ofDay(), c = shown.filter((b) => TAKING.includes(b.status));
  return html`
    <h1>${t("nav.bookings")}</h1>
    <span class="meta legend">${t("bo.legend", { c: c.length, p: requests().length, g: c.reduce((n, b) => n + b.guests, 0) })}</span>
    <div class="choices" role="group" aria-label=${t("nav.bookings")}>${[0, 1].map((d) => html`<button aria-pressed=${d === day ? "true" : "false"} @click=${() => { day = d; chosen = refusal = null; changed(); }}>${t(d ? "bo.tomorrow" : "bo.today")} <em>${zone.shortDay(on(d))}${d !== day && asks(d) ? html` · <span class="held">${t("bo.asks", { n: asks(d) })}</span>` : nothing}</em></button>`)}</div>
    <div class="heads"><button class="do" @click=${() => document.getElementById("tables").showModal()}>${t("bo.tables")}</button>
    <button class="do" ?disabled=${!tables.length} @click=${() => openForm("place", null)}>${t("bo.place")}</button></div>`;
}

/** From which to which hour the day is drawn: the house's hours, and whatever lies outside them. */
function hours() {
  const today = on();
  const spans = rules?.hours ? rules.hours[zone.weekday(today)] ?? [] : [];
  let from = spans.length ? Math.min(...spans.map(([a]) => zone.ofField(a))) : 600;
  let to = spans.length ? Math.max(...spans.map(([a, b]) => zone.ofField(b) + (zone.ofField(b) <= zone.ofField(a) ? 1440 : 0))) : 1440;
  for (const b of ofDay()) {
    from = Math.min(from, Math.max(0, zone.minutes(b.from, today, tz())));
    to = Math.max(to, Math.min(1800, b.to ? zone.minutes(b.to, today, tz()) : 1440));
  }
  return [Math.floor(from / 60), Math.max(Math.floor(from / 60) + 6, Math.ceil(to / 60))];
}

/** Overlapping bookings of a table get lanes of their own. */
function lanes(mine) {
  const ends = [];
  for (const b of mine.sort((a, b) => a.from - b.from)) {
    let lane = ends.findIndex((e) => e <= b.from);
    if (lane < 0) lane = ends.push(0) - 1;
    ends[lane] = end(b);
    b.lane = lane;
  }
  return Math.max(1, ends.length);
}

function stay(b, doomed, part) {
  const said = `${who(b)}, ${t("bo.guests", { n: b.guests })}, ${clock(b.from)}–${clock(b.to)}, ${t(`bo.is.${b.status}`)}`;
  return html`<li .style=${`--from:${part(b.from).toFixed(4)};--to:${part(end(b)).toFixed(4)};--lane:${b.lane}`}>
    <button class="stay ${b.status} ${b.booking_id === chosen?.booking_id ? "chosen" : ""} ${doomed.includes(b) ? "doomed" : ""}" tabindex="-1" data-b=${b.booking_id} aria-label=${said} title=${said} @click=${() => choose(b, true)}><b>${who(b)}</b> <span>${b.guests}</span></button></li>`;
}

// The chart is one stop of Tab; arrows walk in it.
function walk(e) {
  const every = [...e.currentTarget.querySelectorAll("button.stay")];
  const now = e.target.closest("button.stay");
  if (!now) { if (/^Arrow/.test(e.key) && every.length) { (every.find((x) => x.matches(".pending")) ?? every[0]).focus(); e.preventDefault(); } return; }
  const row = now.closest(".line");
  let to = null;
  if (e.key === "ArrowRight" || e.key === "ArrowLeft") { const mine = [...row.querySelectorAll("button.stay")]; to = mine[mine.indexOf(now) + (e.key === "ArrowRight" ? 1 : -1)]; }
  else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
    const x = now.getBoundingClientRect().left;
    for (let r = row; (r = e.key === "ArrowDown" ? r.nextElementSibling : r.previousElementSibling) && !to; ) {
      to = [...r.querySelectorAll("button.stay")].sort((a, b) => Math.abs(a.getBoundingClientRect().left - x) - Math.abs(b.getBoundingClientRect().left - x))[0];
    }
  } else return;
  e.preventDefault();
  to?.focus();
}

const isBusy = (b) => (busy.has(b.booking_id) ? "true" : "false");

function told(b) {
  if (refusal?.id !== b.booking_id) return nothing;
  const { error, verb, body } = refusal;
  const clash = error.code === "table_taken" ? taken(b) : null;
  if (clash) return refused(t(error.facts.rule === "buffer" ? "bo.taken.buffer" : "bo.taken"), t("bo.taken.1", { who: who(clash), from: clock(clash.from), to: clock(clash.to) }));
  const { title, text } = words(error);
  const override = verb === "confirm" && (error.facts.rule || error.code === "outside_rules" || error.code === "table_closed");
  return refused(title, text, override ? html`<button class="do small" @click=${() => act(b, verb, { ...body, override: true })}>${t("bo.override")}</button>` : nothing);
}

function request(b) {
  const others = rivals(b), clash = taken(b), here = b.booking_id === chosen?.booking_id;
  const names = others.map((x) => `${who(x)} ${clock(x.from)}`).join(", ");
  const key = (e) => { if (!store.singleKeys || e.target.closest("input")) return; if (e.key === "y") act(b, "confirm", { rivals: "decline" }); if (e.key === "n") act(b, "decline"); };
  return html`
    <li class="request ${here ? "chosen" : ""}" id="ask-${b.booking_id}" tabindex="-1" @click=${() => { if (!here) choose(b); }} @focusin=${() => { if (chosen?.booking_id !== b.booking_id) choose(b); }} @keydown=${key}>
      <p class="spread"><b>${who(b)}</b><span class="meta">${t("bo.asked", { time: ago(Date.parse(b.created_at)) })}</span></p>
      <p class="soft">${clock(b.from)}–${clock(b.to)} · ${tableName(b.table_id)} · ${t("bo.guests", { n: b.guests })}</p>
      ${here ? html`<p class="effect ${others.length ? "held" : "over"}">${others.length ? t("bo.effect", { n: others.length, who: names }) : clash ? nothing : t("bo.effect.0")}</p>` : nothing}
      ${clash && refusal?.id !== b.booking_id ? html`<p class="effect wrong">${t("bo.clash", { who: who(clash), from: clock(clash.from), to: clock(clash.to) })}</p>` : nothing}
      ${told(b)}
      <div class="ways">
        <button class="do small ${here ? "main" : "go"}" aria-busy=${isBusy(b)} @click=${(e) => { e.stopPropagation(); act(b, "confirm", { rivals: "decline" }); }}>${others.length ? t("bo.confirm.n", { n: others.length }) : t("bo.confirm")}</button>
        <button class="do small" aria-busy=${isBusy(b)} @click=${(e) => { e.stopPropagation(); act(b, "decline"); }}>${t("bo.decline")}</button>
        ${here ? html`<button class="do small" @click=${(e) => { e.stopPropagation(); openForm("move", b); }}>${t("bo.move")}</button>` : nothing}
        ${here && others.length ? html`<button class="do small plain" @click=${(e) => { e.stopPropagation(); act(b, "confirm", { rivals: "keep" }); }}>${t("bo.keep")}</button>` : nothing}
      </div>
    </li>`;
}

/** A booking that is no request: who it is, and what can be done with it now. */
function card(b) {
  const twice = (verb, key, main = "") => html`<button class="do small ${main}" aria-busy=${isBusy(b)} @click=${() => { if (sure === verb) act(b, verb); else { sure = verb; changed(); } }}>${t(sure === verb ? `${key}.sure` : key)}</button>`;
  const at = (verb, key, main = "") => html`<button class="do small ${main}" aria-busy=${isBusy(b)} @click=${() => act(b, verb)}>${t(key)}</button>`;
  const ways = b.status === "confirmed" ? [at("seat", "bo.seat", "main"), Date.now() > b.from ? at("no-show", "bo.noshow") : nothing, html`<button class="do small" @click=${() => openForm("move", b)}>${t("bo.move")}</button>`, twice("cancel", "bo.cancel")]
    : b.status === "seated" ? [at("finish", "bo.finish", "main"), html`<button class="do small" @click=${() => openForm("move", b)}>${t("bo.move")}</button>`] : [];
  const reach = [b.phone, b.email].filter(Boolean);
  return html`
    <section class="request chosen card" id="chosen" tabindex="-1" aria-labelledby="chosen-name">
      <p class="spread"><b id="chosen-name">${who(b)}</b>${state(KINDS[b.status], t(`bo.is.${b.status}`))}</p>
      <p class="soft">${clock(b.from)}–${clock(b.to)} · ${tableName(b.table_id)} · ${t("bo.guests", { n: b.guests })}</p>
      <p class="meta">${reach.length ? html`${reach.join(" · ")} · ` : nothing}${money(b.price_at_booking)}</p>
      ${told(b)}
      <div class="ways">${ways}<button class="do small plain" @click=${back}>${t("close")}</button></div>
    </section>`;
}

export function body() {
  if (!rules) return nothing;
  if (!tables.length) return none(t("bo.tables.none"), t("bo.tables.none.2"), html`<button class="do main" @click=${() => document.getElementById("tables").showModal()}>${t("bo.tables.add")}</button>`);
  const shown = ofDay(), asked = requests();
  const doomed = chosen?.status === "pending" ? rivals(chosen) : [];
  const [open, shut] = hours(), today = on();
  const start = zone.moment(today, open * 60, tz()), length = zone.moment(today, shut * 60, tz()) - start;
  const part = (at) => Math.max(0, Math.min(1, (at - start) / length));
  const now = Date.now();
  const isHere = chosen && isOf(chosen, day);
  const rows = tables.filter((s) => s.is_open || shown.some((b) => b.table_id === s.table_id));
  return html`<div class="day">
    <section class="requests" aria-labelledby="requests">
      ${chosen && chosen.status !== "pending" ? card(chosen) : nothing}
      <h2 id="requests" tabindex="-1">${t("bo.requests")} <span class="soft">${asked.length || nothing}</span></h2>
      ${asked.length ? html`<ul>${repeat(asked, (b) => b.booking_id, request)}</ul>` : html`<p class="soft">${t("bo.requests.none")}</p>`}
    </section>
    <div class="chart-scroll" tabindex="0" role="group" aria-label=${t("bo.day", { day: zone.dayName(today) })} @keydown=${walk}>
      <div class="floor" .style=${`--hours:${shut - open}`}>
        <div class="hours-line" aria-hidden="true"><span></span><div .style=${`grid-template-columns:repeat(${shut - open},1fr)`}>${Array.from({ length: shut - open }, (_, i) => html`<span>${(open + i) % 24}</span>`)}${day === 0 && now > start && now < start + length ? html`<em .style=${`--from:${part(now).toFixed(4)}`}>${clock(now)}</em>` : nothing}</div></div>
        ${repeat(rows, (s) => s.table_id, (s) => {
          const mine = shown.filter((b) => b.table_id === s.table_id), n = lanes(mine);
          return html`<div class="line" role="group" aria-label=${`${tableName(s.table_id)}, ${t("bo.seats", { n: s.seats })}`} .style=${`--lanes:${n}`}><p><b>${tableName(s.table_id)}</b><span class="meta">${number(s.seats)}</span></p><ul>${mine.map((b) => stay(b, doomed, part))}</ul></div>`;
        })}
        ${day === 0 && now > start && now < start + length ? html`<div class="now-line" aria-hidden="true" .style=${`--from:${part(now).toFixed(4)}`}></div>` : nothing}
        ${isHere ? html`<div class="span" aria-hidden="true" .style=${`--from:${part(chosen.from).toFixed(4)};--to:${part(end(chosen)).toFixed(4)}`}></div>` : nothing}
      </div>
    </div>
  </div>`;
}

// Placing and moving: one dialog.
function openForm(kind, b) {
  const rounded = Math.ceil(zone.minutes(Date.now(), on(0), tz()) / 15) * 15;
  const at = b ? zone.minutes(b.from, zone.day(b.from, tz()), tz()) : day === 0 ? Math.min(rounded, 1425) : hours()[0] * 60 + 60;
  form = { kind, b, error: null, busy: false, day: b ? zone.day(b.from, tz()) : on(), from: zone.field(at), to: b?.to ? zone.field(zone.minutes(b.to, zone.day(b.from, tz()), tz())) : "", table: b?.table_id ?? tables.find((s) => s.is_open)?.table_id };
  changed();
  drawn(() => { const dialog = document.getElementById("place"); dialog.querySelector("form").reset(); dialog.showModal(); });
}
async function submit(e, override = false) {
  e.preventDefault?.();
  const f = e.target.closest("form").elements, value = (name) => f[name]?.value.trim() || undefined;
  if (form.busy) return;
  const from = zone.ofField(f.from.value), on_ = f.day.value;
  const until = value("to") ? zone.ofField(f.to.value) : null;
  const iso = (m) => new Date(zone.moment(on_, m, tz())).toISOString();
  const times = { table_id: Number(f.table.value), starts_at: iso(from), ...(until === null ? {} : { ends_at: iso(until <= from ? until + 1440 : until) }), ...(override ? { override: true } : {}) };
  form.busy = true; form.error = null; changed();
  try {
    if (form.kind === "place") {
      const made = await post("bookings/place", { ...times, guests: Number(f.guests.value), ...pick({ name: value("name"), phone: value("phone"), email: value("email") }) });
      say(t("bo.did.place", { who: value("name") ?? value("phone") ?? value("email") ?? t("bo.nobody"), table: tableName(made.table_id), time: clock(Date.parse(made.starts_at)) }));
    } else {
      await post(`bookings/${form.b.booking_id}/move`, times);
      say(t("bo.did.move", { who: who(form.b), table: tableName(times.table_id), time: clock(Date.parse(times.starts_at)) }));
    }
    document.getElementById("place").close();
    await quietly(read());
  } catch (error) { form.error = error; form.times = { ...times, from: Date.parse(times.starts_at), to: times.ends_at ? Date.parse(times.ends_at) : Date.parse(times.starts_at) + 1, booking_id: form.b?.booking_id }; await quietly(read()); }
  form.busy = false; changed();
}
const pick = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));

function formRefusal() {
  if (!form.error) return nothing;
  const { error } = form;
  const clash = error.code === "table_taken" ? taken(form.times) : null;
  if (clash) return refused(t("bo.taken"), t("bo.taken.1", { who: who(clash), from: clock(clash.from), to: clock(clash.to) }));
  const { title, text } = words(error);
  const liftable = error.code === "outside_rules" || error.code === "table_closed" || error.facts.rule === "buffer";
  return refused(title, text, liftable ? html`<button class="do small" type="button" @click=${(e) => submit(e, true)}>${t("bo.override")}</button>` : nothing);
}

const placeDialog = () => html`
  <dialog id="place" aria-labelledby="place-title">${!form ? nothing : html`<form @submit=${submit}>
    <h2 id="place-title">${form.kind === "place" ? t("bo.place") : t("bo.move.who", { who: who(form.b) })}</h2>
    ${form.kind === "place" ? html`
      <div class="two"><label class="field"><span>${t("bo.name")}</span><input name="name" maxlength="200" autocomplete="off"></label><label class="field"><span>${t("bo.many")}</span><input name="guests" type="number" min="1" max="10000" .defaultValue=${"2"} required></label></div>
      <div class="two"><label class="field"><span>${t("bo.phone")}</span><input name="phone" type="tel" autocomplete="off"></label><label class="field"><span>${t("bo.email")}</span><input name="email" type="email" autocomplete="off"></label></div>` : nothing}
    <div class="two"><label class="field"><span>${t("bo.where")}</span><select name="table">${tables.filter((s) => s.is_open || s.table_id === form.table).map((s) => html`<option value=${s.table_id} ?selected=${s.table_id === form.table}>${tableName(s.table_id)}, ${t("bo.seats", { n: s.seats })}</option>`)}</select></label><label class="field"><span>${t("bo.date")}</span><input name="day" type="date" .defaultValue=${form.day} required></label></div>
    <div class="two"><label class="field"><span>${t("bo.from")}</span><input name="from" type="time" .defaultValue=${form.from} required></label><label class="field"><span>${t("bo.to")}</span><input name="to" type="time" .defaultValue=${form.to} aria-describedby="to-hint"></label></div>
    <p class="meta" id="to-hint">${t(form.kind === "place" ? "bo.to.hint" : "bo.to.hint.move")} ${t("bo.zone", { zone: tz() })}</p>
    ${formRefusal()}
    <div class="ends"><button class="do" type="button" @click=${(e) => e.target.closest("dialog").close()}>${t("close")}</button><button class="do main" aria-busy=${form.busy ? "true" : "false"}>${t(form.kind === "place" ? "bo.place.do" : "bo.move.do")}</button></div>
  </form>`}</dialog>`;

// Tables: what there is, open or closed, and new ones.
async function changeTable(s, change) {
  tableError = null;
  try {
    await patch(`tables/${s.table_id}`, change);
    say(t(change.is_open ? "bo.table.opened" : "bo.table.closed", { table: tableName(s.table_id) }));
    await read();
  } catch (error) { tableError = error; }
  changed();
}
async function addTable(e) {
  e.preventDefault();
  const target = e.target, f = target.elements;
  tableError = null;
  try {
    const made = await post("tables", { kind: f.kind.value, seats: Number(f.seats.value), price: Math.round(Number(f.price.value.replace(",", ".")) * minorUnits()) || 0 });
    target.reset();
    await read();
    say(t("bo.table.added", { table: tableName(made.table_id) }));
  } catch (error) { tableError = error; }
  changed();
}
const tablesDialog = () => html`
  <dialog id="tables" aria-labelledby="tables-title"><div>
    <h2 id="tables-title">${t("bo.tables")}</h2>
    ${tables.length ? html`<ul class="pairs tables">${repeat(tables, (s) => s.table_id, (s) => html`<li><span>${tableName(s.table_id)} <span class="meta">${t("bo.seats", { n: s.seats })} · ${money(s.price)}</span></span>${state(s.is_open ? "sound" : "over", t(s.is_open ? "bo.table.is.open" : "bo.table.is.closed"))}<button class="do small" @click=${() => changeTable(s, { is_open: !s.is_open })}>${t(s.is_open ? "bo.table.close" : "bo.table.open")}</button></li>`)}</ul>` : html`<p class="soft">${t("bo.tables.none.2")}</p>`}
    <form class="add" @submit=${addTable}>
      <label class="field"><span>${t("bo.kind")}</span><select name="kind">${["regular", "cabin", "room"].map((kind) => html`<option value=${kind}>${t(`bo.kind.${kind}`)}</option>`)}</select></label>
      <label class="field"><span>${t("bo.seats.label")}</span><input name="seats" type="number" min="1" max="10000" value="4" required></label>
      <label class="field"><span>${t("bo.price")}</span><input name="price" inputmode="decimal" value="0" required pattern="[0-9]+([.,][0-9]+)?"></label>
      <button class="do main">${t("bo.tables.add")}</button>
    </form>
    ${tableError ? (({ title, text }) => refused(title, text))(words(tableError)) : nothing}
    <div class="ends"><button class="do" @click=${(e) => e.target.closest("dialog").close()}>${t("close")}</button></div>
  </div></dialog>`;

export const over = () => html`${placeDialog()}${tablesDialog()}`;

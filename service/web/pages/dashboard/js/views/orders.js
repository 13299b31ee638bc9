// Orders, newest first: what was ordered, what it holds, whether it is paid. The service decides what can be done.
import { html, nothing, changed, drawn, icon, none, refused, state } from "../screen.js";
import { t, money, number, when } from "../words.js";
import { store, say } from "../store.js";
import { words } from "../errors.js";
import { feed } from "../feed.js";
import { get, post, put, query, remove } from "../api.js";
import { repeat } from "../../vendor/directives/repeat.js";
import { live } from "../../vendor/directives/live.js";

const KINDS = { open: "held", paid: "sound", cancelled: "over", expired: "over" };
let status = "all", find = "", list = null, chosen = null, refusal = null, missing = null, sure = null, form = null;
const busy = new Set();

const nameOf = (id) => feed.items.get(id)?.name ?? id;
const quietly = (promise) => promise.catch(() => {});
const path = (o, rest = "") => `orders/${encodeURIComponent(o.order_id)}${rest}`;
/** The service decides by its database's clock; here an order only looks lapsed. */
const stateOf = (o) => (o.status === "open" && o.expires_at && Date.parse(o.expires_at) < Date.now() ? "expired" : o.status);

async function read() {
  const asked = status;
  const { orders } = await get(`orders${query({ sort: "newest", status: status === "all" ? null : status, limit: 100 })}`);
  if (asked === status) list = orders;
  if (chosen) await quietly(get(path(chosen)).then((o) => { if (chosen?.order_id === o.order_id) chosen = o; }));
  changed();
}
async function look(id) {
  missing = null;
  try { open(await get(`orders/${encodeURIComponent(id)}`)); } catch (error) { missing = { id, error }; }
  changed();
}
export function enter(rest) { quietly(read()); if (rest) quietly(look(rest)); }
export const tick = read;
export const moved = () => { quietly(read()); };
export function forget() { status = "all"; find = ""; list = chosen = refusal = missing = sure = form = null; busy.clear(); }
export function back() {
  const id = chosen?.order_id;
  chosen = refusal = missing = sure = null; find = "";
  changed();
  if (id) drawn(() => [...document.querySelectorAll("tr[data-id]")].find((tr) => tr.dataset.id === id)?.focus());
}
function open(o) { if (o.order_id !== chosen?.order_id) { refusal = null; sure = null; } chosen = o; changed(); }

/** Something is done to the order that is open; a refusal is told beside it. */
async function act(key, work, did, close = () => {}) {
  if (busy.has(key)) return;
  busy.add(key); refusal = null; changed();
  try {
    const after = await work();
    if (after?.lines) chosen = after;
    say(did(after));
    close();
    await quietly(read());
  } catch (error) { refusal = { key, error }; await quietly(read()); }
  busy.delete(key); sure = null; changed();
}
const said = (...keys) => {
  if (!refusal || !keys.includes(refusal.key)) return nothing;
  const { title, text } = words(refusal.error);
  const short = refusal.error.facts.items ?? refusal.error.facts.lines;
  return refused(title, Array.isArray(short) ? html`${short.map((l) => html`${t("or.short", { name: nameOf(l.product_id), q: number(l.quantity), a: number(l.available ?? 0) })} `)}` : text);
};
const no = (o) => number(o.number);

const cancel = (o) => { if (sure !== "cancel") { sure = "cancel"; changed(); return; } act("cancel", () => post(path(o, "/cancel")), () => t("or.did.cancel", { id: no(o) })); };
const checkout = (o) => act("checkout", () => post(path(o, "/checkout")), () => t("or.did.checkout", { id: no(o) }));
const setLine = (o, l, n) => act(`l${l.product_id}`, () => (n ? put(path(o, `/lines/${encodeURIComponent(l.product_id)}`), { quantity: n }) : remove(path(o, `/lines/${encodeURIComponent(l.product_id)}`))), () => t("or.did.line", { id: no(o), name: nameOf(l.product_id), n: n }));
function add(e) {
  e.preventDefault();
  const o = chosen, target = e.target, product = target.elements.product.value.trim(), n = Number(target.elements.quantity.value);
  const it = feed.items.get(product) ?? feed.order.find((each) => each.name === product);
  act("add", async () => { await post("order", { order_id: o.order_id, nomenclature_id: it?.id ?? product, quantity: n }); target.reset(); return get(path(o)); }, () => t("or.did.line", { id: no(o), name: it?.name ?? product, n }));
}
function pay(e) {
  e.preventDefault();
  const o = chosen, reference = e.target.elements.reference.value.trim();
  act("pay", () => post(path(o, "/pay"), { reference }), () => t("or.did.pay", { id: no(o), sum: money(o.total) }), () => e.target.closest("dialog").close());
}
function refund(e) {
  e.preventDefault();
  const o = chosen, f = e.target.elements;
  const lines = o.lines.map((l, i) => ({ product_id: l.product_id, quantity: Number(f[`n${i}`]?.value) || 0, restock: f[`r${i}`]?.checked ?? false })).filter((l) => l.quantity > 0);
  if (!lines.length) return;
  act("refund", () => post(path(o, "/refund"), { lines }), (after) => t("or.did.refund", { id: no(o), sum: money(after.refunded_total - o.refunded_total) }), () => e.target.closest("dialog").close());
}
function create(e) {
  e.preventDefault();
  const target = e.target;
  act("new", () => post("orders", { client: { name: target.elements.client.value.trim(), address: target.elements.address.value.trim() } }), (o) => t("or.did.new", { id: no(o) }), () => { target.reset(); target.closest("dialog").close(); });
}
const dialog = (kind) => { form = kind; refusal = null; changed(); drawn(() => document.getElementById(kind).showModal()); };

export const head = () => html`
  <h1>${t("nav.orders")}</h1>
  <div class="choices" role="group" aria-label=${t("or.status")}>${["all", ...Object.keys(KINDS)].map((s) => html`<button aria-pressed=${s === status ? "true" : "false"} @click=${() => { status = s; list = null; missing = null; quietly(read()); changed(); }}>${t(`or.${s}`)}</button>`)}</div>
  <form class="search" @submit=${(e) => { e.preventDefault(); find = e.target.elements.id.value.trim(); if (find) quietly(look(find)); }}>${icon("search")}<input name="id" type="search" aria-label=${t("or.find")} placeholder=${t("or.find")} .value=${live(find)} @input=${(e) => { find = e.target.value.trim(); if (!find) { missing = null; changed(); } }}><kbd aria-hidden="true">/</kbd></form>
  <button class="do" @click=${() => dialog("neworder")}>${t("or.new")}</button>`;

function keys(e) {
  const tr = e.target.closest("tr[data-id]");
  if (!tr) return;
  const way = { ArrowDown: "nextElementSibling", j: "nextElementSibling", ArrowUp: "previousElementSibling", k: "previousElementSibling" }[e.key];
  const of = (row) => list.find((o) => o.order_id === row.dataset.id);
  if (way) { tr[way]?.focus(); if (chosen && tr[way]) open(of(tr[way])); e.preventDefault(); }
  if (e.key === "Enter") open(of(tr));
}

const until = (o) => (stateOf(o) === "open" ? (o.expires_at ? t("or.held", { time: when(Date.parse(o.expires_at)) }) : t("or.held.ever")) : o.paid_at ? t(`or.paid.${o.paid_from}`, { time: when(Date.parse(o.paid_at)), reference: o.reference ?? "" }) : when(Date.parse(o.created_at)));

const lineOf = (o, l) => html`
  <li><span class="why"><span>${nameOf(l.product_id)}</span><span class="meta">${money(l.price_at_purchase)}${l.refunded ? html` · ${t("or.refunded", { n: l.refunded })}` : nothing}</span></span>
    ${["open", "expired"].includes(o.status) ? html`<span class="steps"><button class="do small square" aria-label=${t("or.fewer", { name: nameOf(l.product_id) })} aria-busy=${busy.has(`l${l.product_id}`) ? "true" : "false"} @click=${() => setLine(o, l, l.quantity - 1)}>−</button><b>${number(l.quantity)}</b><button class="do small square" aria-label=${t("or.more", { name: nameOf(l.product_id) })} aria-busy=${busy.has(`l${l.product_id}`) ? "true" : "false"} @click=${() => setLine(o, l, l.quantity + 1)}>+</button></span>` : html`<span class="soft">${number(l.quantity)} ×</span>`}
    <span class="sumcol">${money(l.quantity * l.price_at_purchase)}</span></li>`;

const detail = (o) => html`
  <aside class="aside" aria-label="${t("or.number")} ${no(o)}">
    <header><div><h2>${t("or.number")} ${no(o)}</h2><span class="soft">${o.client.name}${o.client.address ? html`, ${o.client.address}` : nothing}</span><span class="id">${o.order_id}</span></div><button class="do plain square" aria-label=${t("close")} @click=${back}>${icon("close")}</button></header>
    <section><p class="spread">${state(KINDS[stateOf(o)], t(`or.is.${stateOf(o)}`))}<span class="meta">${until(o)}</span></p></section>
    <section><h3>${t("or.lines")}</h3>
      ${o.lines.length ? html`<ul class="pairs">${repeat(o.lines, (l) => l.product_id, (l) => lineOf(o, l))}
        <li class="total"><span>${t("or.total")}</span><b>${money(o.total)}</b></li>
        ${o.refunded_total ? html`<li><span>${t("or.refunded.total")}</span><b>${money(o.refunded_total)}</b></li>` : nothing}</ul>` : html`<p class="meta">${t("or.lines.none")}</p>`}
    </section>
    ${said(...o.lines.map((l) => `l${l.product_id}`))}
    ${["open", "expired"].includes(o.status) ? html`
      <form class="ask two-one" @submit=${add}>
        <label class="field"><span>${t("or.add.what")}</span><input name="product" required maxlength="1000" autocomplete="off" list="products"></label>
        <label class="field narrow"><span>${t("it.quantity")}</span><input name="quantity" type="number" min="1" max="2147483647" value="1" required></label>
        <button class="do" aria-busy=${busy.has("add") ? "true" : "false"}>${t("or.add")}</button>
      </form>
      <datalist id="products">${feed.order.slice(0, 500).map((it) => html`<option value=${it.name}></option>`)}</datalist>
      ${said("add", "cancel", "checkout")}
      <div class="ends start">${o.lines.length && stateOf(o) === "open" ? html`<button class="do main" @click=${() => dialog("pay")}>${t("or.pay")}</button>` : nothing}<button class="do" aria-busy=${busy.has("checkout") ? "true" : "false"} @click=${() => checkout(o)}>${t(stateOf(o) === "expired" ? "or.again" : "or.checkout")}</button><button class="do" aria-busy=${busy.has("cancel") ? "true" : "false"} @click=${() => cancel(o)}>${t(sure === "cancel" ? "or.cancel.sure" : "or.cancel")}</button></div>` : nothing}
    ${o.status === "paid" && o.lines.some((l) => l.refunded < l.quantity) ? html`<div class="ends start"><button class="do" @click=${() => dialog("refund")}>${t("or.refund")}</button></div>` : nothing}
  </aside>`;

const row = (o) => html`
  <tr data-id=${o.order_id} tabindex="0" aria-selected=${o.order_id === chosen?.order_id ? "true" : "false"} class="link" @click=${() => open(o)}>
    <td><b>${no(o)}</b></td><td>${o.client.name}</td>
    <td class="cut">${o.lines.length ? html`${nameOf(o.lines[0].product_id)}${o.lines.length > 1 ? html` <span class="over">${t("re.more", { n: o.lines.length - 1 })}</span>` : nothing}` : html`<span class="over">${t("or.lines.none")}</span>`}</td>
    <td>${state(KINDS[stateOf(o)], t(`or.is.${stateOf(o)}`))}</td><td class="meta">${when(Date.parse(o.created_at))}</td><td class="num">${money(o.total)}</td>
  </tr>`;

export function body() {
  if (missing) return none(t("or.unknown", { id: missing.id }), words(missing.error).text, html`<button class="do" @click=${back}>${t("st.clear")}</button>`);
  if (!list && !chosen) return nothing;
  const shown = list ?? [];
  return html`<div class="split ${chosen ? "open" : ""}"><div class="scroll">${shown.length ? html`<table class="list" @keydown=${keys}>
    <caption class="unseen">${t("nav.orders")}: ${t(`or.${status}`)}</caption>
    <thead><tr><th scope="col">${t("or.number")}</th><th scope="col">${t("or.client")}</th><th scope="col">${t("or.lines")}</th><th scope="col">${t("or.status")}</th><th scope="col">${t("or.made")}</th><th scope="col" class="num">${t("or.total")}</th></tr></thead>
    <tbody>${repeat(shown, (o) => o.order_id, row)}</tbody></table>` : none(t("or.none"), t("or.none.2"))}</div>
    ${chosen ? detail(chosen) : nothing}</div>`;
}

const closing = (key, label) => html`<div class="ends"><button class="do" type="button" @click=${(e) => e.target.closest("dialog").close()}>${t("close")}</button><button class="do main" aria-busy=${busy.has(key) ? "true" : "false"}>${label}</button></div>`;
export const over = () => html`
  <dialog id="neworder" aria-labelledby="neworder-title"><form @submit=${create}>
    <h2 id="neworder-title">${t("or.new")}</h2>
    <label class="field"><span>${t("or.client")}</span><input name="client" required maxlength="200" autocomplete="off"></label>
    <label class="field"><span>${t("or.address")}</span><input name="address" maxlength="400" autocomplete="off"></label>
    ${said("new")}${closing("new", t("or.new.do"))}
  </form></dialog>
  <dialog id="pay" aria-labelledby="pay-title">${form !== "pay" || !chosen ? nothing : html`<form @submit=${pay}>
    <h2 id="pay-title">${t("or.pay.title", { id: no(chosen), sum: money(chosen.total) })}</h2>
    <p class="soft">${t("or.pay.1")}</p>
    <label class="field"><span>${t("or.reference")}</span><input name="reference" required maxlength="200" autocomplete="off" placeholder=${t("or.reference.1")}></label>
    ${said("pay")}${closing("pay", t("or.pay.do"))}</form>`}</dialog>
  <dialog id="refund" aria-labelledby="refund-title">${form !== "refund" || !chosen ? nothing : html`<form @submit=${refund}>
    <h2 id="refund-title">${t("or.refund.title", { id: no(chosen) })}</h2>
    <ul class="pairs">${chosen.lines.map((l, i) => (l.refunded < l.quantity ? html`<li><label for="n${i}">${nameOf(l.product_id)} <span class="meta">${t("or.of", { n: l.quantity - l.refunded })}</span></label><input id="n${i}" name="n${i}" type="number" min="0" max=${l.quantity - l.refunded} value="0"><label class="tick"><input type="checkbox" name="r${i}"> <span>${t("or.restock")}</span></label></li>` : nothing))}</ul>
    ${said("refund")}${closing("refund", t("or.refund.do"))}</form>`}</dialog>`;

// What could not be delivered, and who is told of what.
import { html, nothing, changed, drawn, icon, none, refused, state } from "../screen.js";
import { t, number, moment } from "../words.js";
import { store, say } from "../store.js";
import { line, words } from "../errors.js";
import { all, get, patch, post, postAsIs, query, remove } from "../api.js";

const STATES = { waiting: "held", delivered: "sound", skipped: "over", failed: "wrong" };
let hooks = null, chosen = null, deliveries = [], secret = null, trouble = null, asked = null;
const busy = new Set();

async function read() {
  hooks = await all("hooks", "hooks");
  chosen = hooks.find((each) => each.hook_id === chosen?.hook_id) ?? null;
  if (chosen) await readDeliveries();
  changed();
}
async function readDeliveries() {
  const hook = chosen;
  const page = await get(`hooks/${hook.hook_id}/deliveries${query({ limit: 50 })}`);
  if (chosen?.hook_id === hook.hook_id) { deliveries = page.deliveries; changed(); }
}
const quietly = (promise) => promise.catch(() => {});
export const enter = () => { quietly(read()); };
export const tick = read;
export function forget() { hooks = chosen = secret = trouble = asked = null; deliveries = []; }
export function back() { chosen = trouble = asked = null; deliveries = []; secret = null; changed(); }

async function once(key, work) {
  if (busy.has(key)) return;
  busy.add(key); trouble = null; changed();
  try { await work(); } catch (error) { trouble = { key, error }; say(line(error)); }
  busy.delete(key); changed();
}

const resend = (letters) => once("dead", async () => {
  let sent = 0;
  try {
    for (const each of letters) { await post(`dead-letters/${each.message_id}/resend`); store.dead = store.dead.filter((x) => x !== each); sent++; }
  } finally { if (sent) say(t("we.did", { n: sent })); }
});
const resendDelivery = (d) => once(`d${d.delivery_id}`, async () => {
  await post(`hooks/${chosen.hook_id}/deliveries/${d.delivery_id}/resend`);
  say(t("we.did", { n: 1 }));
  await readDeliveries();
});
const turn = (hook) => once(`h${hook.hook_id}`, async () => {
  const after = await patch(`hooks/${hook.hook_id}`, { is_active: !hook.is_active });
  say(t(after.is_active ? "we.turned.on" : "we.turned.off", { url: hook.url }));
  await read();
});
const rotate = (hook) => once(`h${hook.hook_id}`, async () => { secret = (await postAsIs(`hooks/${hook.hook_id}/rotate`)).secret; await read(); });
const drop = (hook) => once(`h${hook.hook_id}`, async () => {
  if (asked !== hook.hook_id) { asked = hook.hook_id; return; }
  await remove(`hooks/${hook.hook_id}`);
  say(t("we.removed", { url: hook.url }));
  back(); await read();
});
const add = (e) => {
  e.preventDefault();
  const form = e.target;
  once("new", async () => {
    const events = form.elements.events.value.split(/[\s,]+/).filter(Boolean);
    const hook = await postAsIs("hooks", { url: form.elements.url.value.trim(), ...(events.length ? { events } : {}) }, { tries: 1 });
    secret = hook.secret;
    form.reset();
    form.closest("dialog").close();
    await read();
    choose(hooks.find((each) => each.hook_id === hook.hook_id), hook.secret);
  });
};
function choose(hook, told = null) { chosen = hook; deliveries = []; secret = told; trouble = asked = null; if (hook) quietly(readDeliveries()); changed(); drawn(() => document.getElementById("hook")?.focus()); }

export const head = () => html`<h1>${t("nav.webhooks")}</h1><button class="do" @click=${() => document.getElementById("newhook").showModal()}>${t("we.add")}</button>`;

const said = (key) => {
  if (trouble?.key !== key) return nothing;
  const { title, text } = words(trouble.error);
  return refused(title, text);
};

const letters = () => html`
  <table class="list dead"><caption class="unseen">${t("we.dead")}</caption><thead><tr><th scope="col">${t("we.what")}</th><th scope="col">${t("we.why")}</th><th scope="col" class="num">${t("we.tried")}</th><th scope="col">${t("we.when")}</th><th scope="col"><span class="unseen">${t("we.resend")}</span></th></tr></thead>
    <tbody>${store.dead.map((m) => html`<tr><td>${state("wrong", html`${m.type ? html`<code>${m.type}</code>` : t(`we.${m.channel}`)}`)}</td><td class="why">${m.last_error ?? (m.reply_code ? t("we.replied", { code: String(m.reply_code) }) : nothing)}<br><span class="meta">${m.url ?? t(`we.${m.channel}`)}</span></td><td class="num">${number(m.attempts)}</td><td class="meta">${moment(Date.parse(m.dead_at))}</td><td class="acts"><button class="do small" aria-busy=${busy.has("dead") ? "true" : "false"} @click=${() => resend([m])}>${t("we.resend")}</button></td></tr>`)}</tbody></table>`;

const how = (hook) => (!hook.is_active ? state("over", t(`we.off.${hook.off_reason ?? "staff"}`)) : hook.failing_since ? state("wrong", t("we.failing", { time: moment(Date.parse(hook.failing_since)) })) : state("sound", t("we.works")));

const detail = (hook) => html`
  <aside class="aside" aria-label=${hook.url}>
    <header><div><h2 id="hook" tabindex="-1" class="url">${hook.url}</h2>${how(hook)}</div><button class="do plain square" aria-label=${t("close")} @click=${back}>${icon("close")}</button></header>
    ${secret ? html`<section class="secret"><h3>${t("we.secret")}</h3><code>${secret}</code><p class="meta">${t("we.secret.1")}</p></section>` : nothing}
    <div class="ends start">
      <button class="do small" @click=${() => turn(hook)}>${t(hook.is_active ? "we.turn.off" : "we.turn.on")}</button>
      <button class="do small" @click=${() => rotate(hook)}>${t("we.rotate")}</button>
      <button class="do small grave" @click=${() => drop(hook)}>${t(asked === hook.hook_id ? "we.remove.sure" : "we.remove")}</button>
    </div>
    ${said(`h${hook.hook_id}`)}
    <section><h3>${t("we.deliveries")}</h3>${deliveries.length ? html`<ul class="pairs">${deliveries.map((d) => html`<li><span class="why">${state(STATES[d.status], html`<code>${d.type}</code>`)}<span class="meta">${d.last_error ?? t(`we.is.${d.status}`)}</span></span><span class="meta">${moment(Date.parse(d.ended_at ?? d.created_at))}</span><button class="do small" aria-busy=${busy.has(`d${d.delivery_id}`) ? "true" : "false"} @click=${() => resendDelivery(d)}>${t("we.resend")}</button></li>${said(`d${d.delivery_id}`)}`)}</ul>` : html`<p class="meta">${t("we.deliveries.none")}</p>`}</section>
  </aside>`;

export const body = () => html`
  <div class="split ${chosen ? "open" : ""}"><div class="scroll" tabindex="-1">
  <section class="block" aria-labelledby="dead">
    <header><h2 id="dead">${t("we.dead")} <span class="soft">${store.dead.length || nothing}</span></h2>${store.dead.length > 1 ? html`<button class="do small" aria-busy=${busy.has("dead") ? "true" : "false"} @click=${() => resend([...store.dead])}>${t("we.resend.all", { n: store.dead.length })}</button>` : nothing}</header>
    ${said("dead")}
    ${store.dead.length ? letters() : html`<p class="soft calm">${icon("check")} ${t("we.none")}. ${t("we.none.2")}</p>`}
  </section>
  <section class="block" aria-labelledby="targets">
    <header><h2 id="targets">${t("we.targets")}</h2></header>
    ${!hooks ? nothing : hooks.length ? html`<table class="list targets"><caption class="unseen">${t("we.targets")}</caption><thead><tr><th scope="col">${t("we.url")}</th><th scope="col">${t("we.events")}</th><th scope="col">${t("we.state")}</th><th scope="col"><span class="unseen">${t("open")}</span></th></tr></thead>
      <tbody>${hooks.map((h) => html`<tr aria-selected=${h.hook_id === chosen?.hook_id ? "true" : "false"}><td class="url">${h.url}</td><td class="meta">${h.events ? html`<code>${h.events.join(", ")}</code>` : t("we.events.all")}</td><td>${how(h)}</td><td class="acts"><button class="do small" @click=${() => choose(h)}>${t("open")}</button></td></tr>`)}</tbody></table>` : none(t("we.targets.none"), t("we.targets.none.2"))}
  </section></div>
  ${chosen ? detail(chosen) : nothing}</div>`;

export const over = () => html`
  <dialog id="newhook" aria-labelledby="newhook-title"><form @submit=${add}>
    <h2 id="newhook-title">${t("we.add")}</h2>
    <label class="field"><span>${t("we.url")}</span><input name="url" type="url" required placeholder="https://example.org/events" autocomplete="off"></label>
    <label class="field"><span>${t("we.events")}</span><input name="events" placeholder="booking.requested, stock.low" autocomplete="off" aria-describedby="events-hint"></label>
    <p class="meta" id="events-hint">${t("we.events.hint")}</p>
    ${said("new")}
    <div class="ends"><button class="do" type="button" @click=${(e) => e.target.closest("dialog").close()}>${t("close")}</button><button class="do main" aria-busy=${busy.has("new") ? "true" : "false"}>${t("we.add.do")}</button></div>
  </form></dialog>`;

// Users and keys, for admins; one's own account, for everybody who is here.
import { html, nothing, changed, refused, state } from "../screen.js";
import { t, moment } from "../words.js";
import { store, say } from "../store.js";
import { words } from "../errors.js";
import { all, get, postAsIs, put, remove, storeId } from "../api.js";
import { leaveEverywhere } from "../app.js";

const SCOPES = ["reserve", "stock", "orders", "bookings", "admin"];
let users = [], keys = [], sessions = [], secret = null, sure = null, trouble = null, totp = null;
const busy = new Set();
const isAdmin = () => store.user?.role === "admin";

async function read() {
  const [mine, found, made] = await Promise.all([get("users/me/sessions?limit=100"), isAdmin() ? all("users", "users") : [], isAdmin() ? all("keys", "keys") : []]);
  sessions = mine.sessions; users = found; keys = made;
  changed();
}
const quietly = (promise) => promise.catch(() => {});
export function enter() { secret = sure = trouble = totp = null; quietly(read()); }
export function leave() { secret = totp = null; }
export function forget() { users = []; keys = []; sessions = []; secret = sure = trouble = totp = null; }
export function back() { secret = sure = trouble = null; changed(); }

async function once(key, work) {
  if (busy.has(key)) return;
  busy.add(key); trouble = null; changed();
  try { await work(); await read(); } catch (error) { trouble = { key, error }; }
  busy.delete(key); sure = null; changed();
}
/** What cannot be undone is asked twice, on the button itself. */
const ask = (key, work) => { if (sure === key) return once(key, work); sure = key; trouble = null; changed(); return undefined; };
const said = (key) => {
  if (trouble?.key !== key) return nothing;
  const { title, text } = words(trouble.error);
  return refused(title, text);
};
const do_ = (key, label, work, kind = "") => html`<button class="do small ${kind}" aria-busy=${busy.has(key) ? "true" : "false"} @click=${() => once(key, work)}>${label}</button>`;
const twice = (key, label, work) => html`<button class="do small" aria-busy=${busy.has(key) ? "true" : "false"} @click=${() => ask(key, work)}>${sure === key ? t("pe.sure", { what: label }) : label}</button>`;

const turn = (u) => async () => { await put(`users/${u.user_id}`, { is_active: !u.is_active }); say(t(u.is_active ? "pe.disabled" : "pe.enabled", { login: u.login })); };
const link = (u) => async () => { const made = await postAsIs(`users/${u.user_id}/reset-link`); secret = { title: t("pe.link", { login: u.login }), text: made.reset_link, note: t("pe.link.1") }; };
const out = (u) => async () => { await remove(`users/${u.user_id}/sessions`); say(t("pe.out.did", { login: u.login })); };
const noTotp = (u) => async () => { await remove(`users/${u.user_id}/totp`); say(t("pe.totp.removed", { login: u.login })); };
const revoke = (k) => async () => { await remove(`keys/${k.key_id}`); say(t("pe.revoked", { name: k.name })); };

function makeKey(e) {
  e.preventDefault();
  const form = e.target, scopes = SCOPES.filter((each) => form.elements[each].checked);
  const until = form.elements.until.value;
  once("key", async () => {
    const made = await postAsIs("keys", { name: form.elements.name.value.trim(), ...(scopes.length ? { scopes } : {}), ...(until ? { expires_at: `${until}T23:59:59Z` } : {}) }, { tries: 1 });
    secret = { title: t("pe.key.made", { name: made.name }), text: made.key, note: t("pe.key.once") };
    form.reset();
    form.closest("dialog").close();
  });
}
function changePassword(e) {
  e.preventDefault();
  const form = e.target;
  once("password", async () => {
    await postAsIs("users/me/password", { current_password: form.elements.old.value, password: form.elements.new.value }, { tries: 1 });
    form.reset();
    say(t("pe.password.did"));
    leaveEverywhere();
  });
}
const startTotp = async () => { totp = await postAsIs("users/me/totp", undefined, { tries: 1 }); };
function confirmTotp(e) {
  e.preventDefault();
  const code = e.target.elements.code.value.replace(/\D/g, "");
  once("totp", async () => { await postAsIs("users/me/totp/confirm", { code }, { tries: 1 }); totp = null; say(t("pe.totp.did")); });
}

export const head = () => html`<h1>${t("nav.people")}</h1>${isAdmin() ? html`<button class="do" @click=${() => document.getElementById("newkey").showModal()}>${t("pe.key.add")}</button>` : nothing}`;

const told = () => (secret ? html`<section class="secret wide" role="status"><h2>${secret.title}</h2><code>${secret.text}</code><p class="meta">${secret.note}</p><button class="do small" @click=${() => { secret = null; changed(); }}>${t("pe.noted")}</button></section>` : nothing);

const userRow = (u) => html`
  <tr><td><b>${u.login}</b>${u.email ? html`<br><span class="meta">${u.email}</span>` : nothing}</td><td>${t(`role.${u.role}`)}</td><td>${state(u.is_active ? "sound" : "over", t(u.is_active ? "pe.active" : "pe.inactive"))}</td><td class="meta">${u.has_totp ? t("pe.totp.on") : nothing}</td><td class="meta">${moment(Date.parse(u.created_at))}</td>
    <td class="acts">${u.is_active ? twice(`u${u.user_id}`, t("pe.disable"), turn(u)) : do_(`u${u.user_id}`, t("pe.enable"), turn(u))}${do_(`l${u.user_id}`, t("pe.reset"), link(u))}${twice(`o${u.user_id}`, t("pe.out"), out(u))}${u.has_totp ? twice(`t${u.user_id}`, t("pe.totp.remove"), noTotp(u)) : nothing}</td></tr>
  ${["u", "l", "o", "t"].map((x) => (trouble?.key === x + u.user_id ? html`<tr class="under"><td colspan="6">${said(x + u.user_id)}</td></tr>` : nothing))}`;

const keyRow = (k) => {
  const over = k.revoked_at || (k.expires_at && Date.parse(k.expires_at) < Date.now());
  return html`
  <tr><td><b>${k.name}</b></td><td class="meta"><code>${k.scopes.join(", ")}</code></td><td>${state(over ? "over" : "sound", t(k.revoked_at ? "pe.key.revoked" : over ? "pe.key.ended" : "pe.key.good"))}</td><td class="meta">${k.last_used_at ? t("pe.key.used", { time: moment(Date.parse(k.last_used_at)) }) : t("pe.key.unused")}</td><td class="meta">${k.expires_at ? t("pe.key.until", { time: moment(Date.parse(k.expires_at)) }) : t("pe.key.forever")}</td>
    <td class="acts">${over ? nothing : twice(`k${k.key_id}`, t("pe.key.revoke"), revoke(k))}</td></tr>
  ${trouble?.key === `k${k.key_id}` ? html`<tr class="under"><td colspan="6">${said(`k${k.key_id}`)}</td></tr>` : nothing}`;
};

const own = () => html`
  <section class="block own" aria-labelledby="own">
    <header><h2 id="own">${t("pe.own", { login: store.user.login, role: t(`role.${store.user.role}`), store: storeId() })}</h2></header>
    <div class="cells">
      <form @submit=${changePassword}>
        <h3>${t("pe.password")}</h3>
        <label class="field"><span>${t("pe.password.old")}</span><input name="old" type="password" autocomplete="current-password" required></label>
        <label class="field"><span>${t("pe.password.new")}</span><input name="new" type="password" autocomplete="new-password" required minlength="8"></label>
        ${said("password")}
        <button class="do">${t("pe.password.do")}</button>
      </form>
      <div>
        <h3>${t("pe.totp")}</h3>
        ${totp ? html`<p class="soft">${t("pe.totp.1")}</p><code class="copy">${totp.secret}</code><p class="meta"><a href=${totp.otpauth_url}>${t("pe.totp.link")}</a></p>
          <form class="ask" @submit=${confirmTotp}><label class="field"><span>${t("in.otp")}</span><input name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="7" required></label><button class="do main">${t("pe.totp.do")}</button></form>` : html`<p class="soft">${t("pe.totp.2")}</p>${do_("totp", t("pe.totp.start"), startTotp)}`}
        ${said("totp")}
      </div>
      <div>
        <h3>${t("pe.sessions")}</h3>
        <ul class="pairs">${sessions.map((s) => html`<li><span class="why"><span>${s.is_current ? t("pe.session.this") : s.user_agent.replace(/^.*?(Firefox|Edg|Chrome|Safari)\/([0-9]+).*$/, "$1 $2") || "–"}</span><span class="meta">${s.address} · ${moment(Date.parse(s.last_used_at))}</span></span>${s.is_current ? nothing : do_(`s${s.session_id}`, t("pe.session.end"), () => remove(`users/me/sessions/${s.session_id}`))}</li>`)}</ul>
        ${twice("everywhere", t("pe.everywhere"), leaveEverywhere)}
      </div>
    </div>
  </section>`;

export const body = () => html`<div class="scroll people">
  ${told()}
  ${isAdmin() ? html`
    <section class="block" aria-labelledby="users"><header><h2 id="users">${t("pe.users")} <span class="soft">${users.length || nothing}</span></h2></header>
      <table class="list folk"><caption class="unseen">${t("pe.users")}</caption><thead><tr><th scope="col">${t("in.login")}</th><th scope="col">${t("pe.role")}</th><th scope="col">${t("pe.state")}</th><th scope="col">${t("pe.totp")}</th><th scope="col">${t("pe.since")}</th><th scope="col"><span class="unseen">${t("re.acts")}</span></th></tr></thead><tbody>${users.map(userRow)}</tbody></table></section>
    <section class="block" aria-labelledby="apikeys"><header><h2 id="apikeys">${t("pe.keys")} <span class="soft">${keys.length || nothing}</span></h2></header>
      ${keys.length ? html`<table class="list folk"><caption class="unseen">${t("pe.keys")}</caption><thead><tr><th scope="col">${t("pe.name")}</th><th scope="col">${t("pe.scopes")}</th><th scope="col">${t("pe.state")}</th><th scope="col">${t("pe.key.last")}</th><th scope="col">${t("pe.key.end")}</th><th scope="col"><span class="unseen">${t("re.acts")}</span></th></tr></thead><tbody>${keys.map(keyRow)}</tbody></table>` : html`<p class="soft calm">${t("pe.keys.none")}</p>`}</section>` : nothing}
  ${own()}
</div>`;

export const over = () => html`
  <dialog id="newkey" aria-labelledby="newkey-title"><form @submit=${makeKey}>
    <h2 id="newkey-title">${t("pe.key.add")}</h2>
    <label class="field"><span>${t("pe.name")}</span><input name="name" required maxlength="100" autocomplete="off" placeholder=${t("pe.key.name")}></label>
    <fieldset><legend>${t("pe.scopes")}</legend>${SCOPES.map((each) => html`<label class="tick"><input type="checkbox" name=${each}> <span>${t(`scope.${each}`)}</span></label>`)}<p class="meta">${t("pe.scopes.1")}</p></fieldset>
    <label class="field"><span>${t("pe.key.end")}</span><input name="until" type="date"></label>
    ${said("key")}
    <div class="ends"><button class="do" type="button" @click=${(e) => e.target.closest("dialog").close()}>${t("close")}</button><button class="do main" aria-busy=${busy.has("key") ? "true" : "false"}>${t("pe.key.do")}</button></div>
  </form></dialog>`;

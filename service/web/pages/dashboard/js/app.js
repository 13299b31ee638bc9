// The frame: rail, head, the view of now, the line that says what the last action did, and the keys.
import { html, nothing, screen, changed, drawn, icon, mark, phone } from "./screen.js";
import { t, lang, speak, second, number, LANGUAGES } from "./words.js";
import { store, kept } from "./store.js";
import { feed, begin, close as closeFeed, open as openFeed, onChange } from "./feed.js";
import { get, forget, query, signed, signOut, storeId, whenSessionEnds } from "./api.js";
import { pulse } from "./chart.js";
import { signin, told } from "./views/signin.js";
import * as overview from "./views/overview.js";
import * as stock from "./views/stock.js";
import * as reservations from "./views/reservations.js";
import * as orders from "./views/orders.js";
import * as bookings from "./views/bookings.js";
import * as webhooks from "./views/webhooks.js";
import * as people from "./views/people.js";

const VIEWS = { overview, stock, reservations, orders, bookings, webhooks, people };
const LETTERS = { o: "overview", s: "stock", r: "reservations", d: "orders", b: "bookings", w: "webhooks", p: "people" };
const POLL_MS = 5000;

const theme = () => document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const other = () => (theme() === "dark" ? "light" : "dark");
function switchTheme() {
  document.documentElement.dataset.theme = other();
  kept.set("theme", theme());
  changed();
}
const nextLanguage = () => { const all = Object.keys(LANGUAGES); return all[(all.indexOf(lang.now) + 1) % all.length]; };
async function switchLanguage() {
  await speak(nextLanguage());
  kept.set("lang", lang.now);
  document.title = title();
  changed();
}

export const tools = () => html`
  <div class="tools">
    <button class="do plain square" aria-label=${t("theme.switch", { other: t(`theme.${other()}`).toLowerCase() })} @click=${switchTheme}>${icon(theme() === "dark" ? "sun" : "moon")}</button>
    <button class="do plain tongue" lang=${nextLanguage()} @click=${switchLanguage}>${t("lang.switch")}</button>
    ${store.user ? html`
      <button class="do plain square" aria-label=${t("keys")} @click=${showKeys}>${icon("key")}</button>
      <button class="do plain square" aria-label=${t("signout")} @click=${leave}>${icon("out")}</button>` : nothing}
  </div>`;

const counts = {
  bookings: () => [store.requests.length, "held"],
  webhooks: () => [store.dead.length, "wrong"],
};
const count = (name) => {
  const [n, kind] = counts[name]?.() ?? [0];
  return n ? html`<em class=${kind}>${number(n)}</em>` : nothing;
};
const mayOpen = (name) => !VIEWS[name].allowed || VIEWS[name].allowed();
const link = (name) => html`
  <a href="#${name}" aria-current=${store.view === name ? "page" : nothing} @click=${() => { store.more = false; changed(); }}>${icon(name)}<span>${t(`nav.${name}`)}</span>${count(name)}</a>`;

const STATES = { live: "sound", opening: "held", lost: "held", full: "held" };
const rail = () => html`
  <div class="rail ${store.more ? "shown" : ""}" id="more">
    <div class="brand">${mark()}<div><b>Holdfast</b><span class="meta">${store.name ?? storeId()}</span></div></div>
    <nav aria-label=${t("nav.main")}>${Object.keys(VIEWS).filter(mayOpen).map(link)}</nav>
    <div class="foot">
      <div class="feed" data-feed=${feed.state}>
        ${pulse(feed.ticks)}
        <p class="meta"><span class="state ${STATES[feed.state]}">${t(`feed.${feed.state}`)}</span><span>${feed.state === "live" ? t("feed.rate", { n: feed.ticks.reduce((a, b) => a + b, 0) }) : feed.heard ? t("feed.since", { time: second(feed.heard) }) : nothing}</span></p>
      </div>
      ${tools()}
    </div>
  </div>`;

const dock = () => html`
  <nav class="dock" aria-label=${t("nav.main")}>
    ${["overview", "stock", "reservations", "bookings"].map((name) => html`<a href="#${name}" aria-current=${store.view === name ? "page" : nothing}>${icon(name)}${t(`nav.${name}`)}${name === "bookings" ? count(name) : nothing}</a>`)}
    <button aria-expanded=${store.more ? "true" : "false"} aria-controls="more" @click=${() => { store.more = !store.more; changed(); }}>${icon("more")}${t("nav.more")}</button>
  </nav>`;

const lost = () => html`
  <div class="lost" role="status"><span>${feed.state === "full" ? t("feed.banner.full") : t("feed.banner", { time: feed.heard ? second(feed.heard) : "—", s: feed.retry })}</span>
    <button class="do small" @click=${openFeed}>${t("feed.now")}</button></div>`;

const KEYS = [["g o s r d b w p", "k.go"], ["/", "k.find"], ["↑ ↓ j k", "k.move"], ["Enter", "k.open"], ["Esc", "k.back"], ["c r", "k.commit"], ["y n", "k.confirm"], ["?", "k.this"]];
const keysDialog = () => html`
  <dialog id="keys" aria-labelledby="keys-title"><div>
    <h2 id="keys-title">${t("keys")}</h2>
    <dl class="keys">${KEYS.map(([keys, w]) => html`<dt>${keys.split(" ").map((x) => html`<kbd>${x}</kbd> `)}</dt><dd>${t(w)}</dd>`)}</dl>
    <div class="ends"><button class="do" aria-pressed=${store.singleKeys ? "true" : "false"} @click=${() => { store.singleKeys = !store.singleKeys; kept.set("keys", store.singleKeys ? "on" : "off"); changed(); }}>${t("k.single")}: ${t(store.singleKeys ? "on" : "off")}</button><button class="do main" @click=${() => document.getElementById("keys").close()}>${t("close")}</button></div>
  </div></dialog>`;

const frame = () => {
  const view = VIEWS[store.view];
  const isLost = feed.state === "lost" || feed.state === "full";
  return html`
    <a class="skip" href="#${store.view}" @click=${(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>${t("nav.skip")}</a>
    <div class="frame ${isLost ? "stale" : ""}">
      ${rail()}
      <div class="sheet">
        <header class="head">${view.head()}</header>
        ${isLost ? lost() : nothing}
        <main id="main" tabindex="-1">${view.body()}</main>
        <div class="said">${store.said || nothing}</div>
      </div>
      ${phone.matches ? dock() : nothing}
    </div>
    ${view.over?.() ?? nothing}
    ${keysDialog()}`;
};

function showKeys() { document.getElementById("keys").showModal(); }
const title = () => `${store.user ? t(`nav.${store.view}`) : t("in.title")} · Holdfast`;

function go() {
  const [name, rest] = decodeURIComponent(location.hash.slice(1)).split(/\/(.*)/);
  const turned = name !== store.view;
  const before = store.view;
  store.view = VIEWS[name] && mayOpen(name) ? name : "overview";
  store.more = false;
  if (!store.user) return changed();
  if (turned && before !== store.view) VIEWS[before].leave?.();
  VIEWS[store.view].enter?.(rest, turned);
  document.title = title();
  // A change of section moves the focus to the section, so that the next Tab and a screen reader go on from there.
  if (turned) drawn(() => { const main = document.getElementById("main"); if (main) { main.scrollTop = 0; main.focus({ preventScroll: true }); } });
  changed();
}

let timer = null;
/** What every view may need: figures, who waits for an answer, what could not be delivered. */
async function poll() {
  clearTimeout(timer);
  if (!signed()) return;
  if (!document.hidden || Date.now() - store.figuresAt > 60000) {
    try {
      await overview.refresh();
      await VIEWS[store.view].tick?.();
    } catch { /* said where it matters: the feed's state, and each action */ }
  }
  timer = setTimeout(poll, POLL_MS);
  changed();
}
onChange(() => { if (!document.hidden) VIEWS[store.view].moved?.(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });

/** Who has signed in, then everything else. */
export async function enter() {
  const me = await get(`users/me${query({ limit: 1 })}`);
  if (me.role !== "staff" && me.role !== "admin") { forget(); throw Object.assign(new Error(), { code: "not_staff" }); }
  store.user = { id: me.user_id, login: me.login, role: me.role };
  store.said = "";
  get("../../stores?limit=1000").then((all) => { store.name = all.stores.find((each) => each.store_id === storeId())?.name || null; changed(); }, () => {});
  begin();
  store.view = "";
  store.view = "overview";
  go();
  poll();
}

async function leave(everywhere = false) {
  const gone = signOut(everywhere === true);
  end("");
  await gone;
}
export const leaveEverywhere = () => leave(true);

function end(code) {
  clearTimeout(timer);
  closeFeed();
  for (const view of Object.values(VIEWS)) view.forget?.();
  Object.assign(store, { user: null, name: null, said: "", figures: null, figuresAt: 0, outbox: [], requests: [], dead: [], more: false });
  told(code);
  document.title = title();
  changed();
}
whenSessionEnds((code) => end(code || "unauthorized"));

// Keys of one letter act only outside of fields, can be switched off, and are always a second way.
let afterG = 0;
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || !store.user) return;
  const writing = e.target.closest("input, select, textarea, dialog");
  if (e.key === "Escape" && !e.target.closest("dialog")) { VIEWS[store.view].back?.(e); return; }
  if (writing) return;
  if (e.key === "/") { const find = document.querySelector(".search input"); if (find) { e.preventDefault(); find.focus(); find.select(); } return; }
  if (!store.singleKeys) return;
  if (e.key === "?") return showKeys();
  if (performance.now() - afterG < 1500 && LETTERS[e.key] && mayOpen(LETTERS[e.key])) { afterG = 0; location.hash = LETTERS[e.key]; e.preventDefault(); return; }
  if (e.key === "g") afterG = performance.now();
});
addEventListener("hashchange", go);

await speak(lang.now);
screen(document.getElementById("app"), () => (store.user ? frame() : signin()));
document.title = title();
if (signed()) enter().catch((refused) => end(refused.code ?? ""));

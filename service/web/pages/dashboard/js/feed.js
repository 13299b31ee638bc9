// The live feed: one Map of items, changed in place. A message costs one JSON.parse and one pass over what it names
// (2,000 items: 2 ms); drawing waits for the next frame, so that two messages within a frame are drawn once.
import { changed } from "./screen.js";
import { compare } from "./words.js";
import { feedAddress, get, query, refresh, signed, token } from "./api.js";

export const feed = {
  items: new Map(),      // id -> {id, name, find, onHand, reserved, available, delta, at}
  order: [],             // the same, by name
  version: 0,            // rises when `order` is made anew
  lit: new Set(),        // items that moved since the last drawing
  ticks: new Array(60).fill(0),
  state: "opening",      // opening, live, lost, full (too many items to be watched)
  since: Date.now(),     // of this state
  heard: null,           // when the last message came
  retry: 0,
  changes: 0,
};

const PATIENCE = 1500;   // ms without a socket before it is called lost
let socket = null, timer = null, wasLive = false, tries = 0, named = false, unnamed = new Set();

const listeners = new Set();
/** f() whenever stock has changed, at most once a second. */
export const onChange = (f) => listeners.add(f);
let telling = null;
const tell = () => { telling ??= setTimeout(() => { telling = null; for (const f of listeners) f(); }, 1000); };

function add(id, name) {
  const it = { id, name: name || id, find: `${name} ${id}`.toLowerCase(), onHand: 0, reserved: 0, available: 0, delta: 0, at: null, price: null };
  feed.items.set(id, it);
  sort();
  return it;
}
let sorting = false;
function sort() {
  if (sorting) return;
  sorting = true;
  queueMicrotask(() => {
    sorting = false;
    feed.order = [...feed.items.values()].sort((a, b) => compare(a.name, b.name) || (a.id < b.id ? -1 : 1));
    feed.version++;
    changed();
  });
}
export const again = sort;

function take(text, isFirst) {
  const now = Date.now();
  const { report } = JSON.parse(text).store;
  if (isFirst) {
    const there = new Set(report.map((line) => line.item_id));
    for (const it of feed.items.values()) if (!there.has(it.id)) set(it, 0, 0, 0, wasLive ? now : null);
  }
  for (const line of report) {
    const known = feed.items.get(line.item_id);
    const it = known ?? add(line.item_id, "");
    if (!known) unnamed.add(it.id);
    set(it, line.quantity, line.reserved, line.available, wasLive || !isFirst ? now : null);
  }
  if (!isFirst) { feed.ticks[59] += report.length; feed.changes += report.length; }
  if (unnamed.size && named) name();
  feed.heard = now;
  tell();
  changed();
}

function set(it, onHand, reserved, available, at) {
  const delta = available - it.available || onHand - it.onHand || it.reserved - reserved;
  it.onHand = onHand;
  it.reserved = reserved;
  it.available = available;
  if (!at || !delta) return;
  it.delta = delta;
  it.at = at;
  feed.lit.add(it);
}

/** What items are called, page by page; the list is there before, by their numbers. */
async function readNames() {
  let after;
  do {
    const page = await get(`products${query({ limit: 1000, after })}`);
    for (const product of page.products) describe(product);
    after = page.next;
  } while (after && signed());
  named = true;
  if (unnamed.size) name();
}

function describe({ product_id, name: called, price }) {
  const it = feed.items.get(product_id) ?? add(product_id, called);
  it.price = price;
  unnamed.delete(product_id);
  if (it.name !== (called || product_id)) { it.name = called || product_id; it.find = `${called} ${product_id}`.toLowerCase(); sort(); }
}

async function name() {
  const asked = [...unnamed].slice(0, 50);
  unnamed = new Set([...unnamed].slice(50));
  for (const id of asked) await get(`products/${encodeURIComponent(id)}`).then(describe, () => {});
}

function become(state) {
  if (feed.state === state) return;
  feed.state = state;
  feed.since = Date.now();
  changed();
}

/** Open the feed, and keep it open until close(). */
export function open() {
  clearTimeout(timer);
  if (!signed()) return;
  if (socket) { socket.onclose = socket.onmessage = null; socket.close(); }
  let isFirst = true;
  const mine = socket = new WebSocket(feedAddress(), ["holdfast", `bearer.${token()}`]);
  mine.onmessage = ({ data }) => {
    take(data, isFirst);
    if (isFirst) { isFirst = false; tries = 0; wasLive = true; become("live"); }
  };
  mine.onclose = async ({ code }) => {
    socket = null;
    if (!signed()) return;
    if (code === 1009) return become("full");
    tries++;
    const pause = Math.min(8, 0.25 * 2 ** tries) * (0.7 + 0.6 * Math.random());
    if (feed.state === "live") setTimeout(() => { if (!socket || socket.readyState !== 1) become("lost"); }, PATIENCE);
    else if (feed.state === "opening" && tries > 1) become("lost");
    // Credentials that have ended close the socket: a refreshed token opens it again, else the session is over.
    if (code === 1008 || tries > 1) await refresh().catch(() => get("users/me?limit=1", { tries: 1 }).catch(() => {}));
    feed.retry = Math.ceil(pause);
    timer = setTimeout(open, pause * 1000);
    changed();
  };
}

/** Begin: names beside the first report. */
export function begin() {
  open();
  readNames().catch(() => { named = true; });
}

/** Forget everything of a store. */
export function close() {
  clearTimeout(timer);
  if (socket) { socket.onclose = null; socket.close(); socket = null; }
  feed.items.clear();
  feed.order = [];
  feed.lit.clear();
  feed.ticks.fill(0);
  feed.state = "opening";
  feed.heard = null;
  wasLive = named = false;
  unnamed.clear();
  tries = 0;
}

// A link that died silently: nobody told the browser, but our requests do not come through either.
export function doubt() { if (socket && feed.state === "live") socket.close(); }
addEventListener("offline", doubt);
addEventListener("online", () => { if (feed.state === "lost") open(); });
setInterval(() => {
  feed.ticks.shift();
  feed.ticks.push(0);
  if (feed.state === "lost" && feed.retry > 0) feed.retry--;
  changed();
}, 1000);

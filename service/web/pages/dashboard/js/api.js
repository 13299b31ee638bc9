// The API: the same that everybody calls. Every error has one shape, which becomes a Refused; what may be repeated by
// the contract is repeated: 503 after its Retry-After, and a lost connection, with the same Idempotency-Key or id.
import { facts } from "./store.js";

const BASE = new URL("api/v1/", document.baseURI);
const SESSION = "holdfast.session";
const TRIES = 5;

/** What the service refused: code, message, detail, and the facts of this case. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.message ?? "");
    this.status = status;
    this.code = body.code ?? "unreachable";
    this.detail = body.detail ?? "";
    this.facts = body;
  }
}

let session = null;
try { session = JSON.parse(sessionStorage.getItem(SESSION)); } catch { /* nobody has signed in */ }
let refreshing = null;
let onEnd = () => {};

/** Called when the session is over, with the code that said so. */
export const whenSessionEnds = (f) => { onEnd = f; };
export const signed = () => session !== null;
export const storeId = () => session?.store ?? facts.store;
export const token = () => session?.token;

function keep(store, answer) {
  session = { store, token: answer.access_token, until: Date.now() + answer.expires_in * 1000, seconds: answer.expires_in };
  sessionStorage.setItem(SESSION, JSON.stringify(session));
}
export function forget() { session = null; sessionStorage.removeItem(SESSION); }

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const at = (store, path) => new URL(`stores/${encodeURIComponent(store)}${path ? `/${path}` : ""}`, BASE);

/** The answer's document. `url` is absolute; `bearer` null for nobody. */
async function send(method, url, body, { bearer = session?.token, key, tries = TRIES } = {}) {
  const headers = { Accept: "application/json" };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  for (let number = 1; ; number++) {
    let answer, document;
    try {
      answer = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "omit", cache: "no-store" });
      document = await answer.json();
    } catch {
      if (number >= tries) throw new Refused(0, {});
      await wait(250 * number);
      continue;
    }
    if (answer.ok) return document;
    const refused = new Refused(answer.status, document);
    const again = answer.status === 503 || refused.code === "request_in_progress";
    if (!again || number >= tries) throw refused;
    await wait(1000 * Math.min(5, Number(answer.headers.get("Retry-After")) || 1) * (0.5 + Math.random() / 2));
  }
}

/** Sign in; Refused otp_required asks for the code of the authenticator. What got lost is not repeated: it counts. */
export async function signIn(store, login, password, otp) {
  keep(store, await send("POST", at(store, "auth"), { login, password, ...(otp ? { otp } : {}) }, { bearer: null, tries: 1 }));
}

/** Every session of the user ends, here and elsewhere; here in any case. */
export async function signOut(everywhere) {
  const bearer = session?.token, store = storeId();
  forget();
  try {
    if (everywhere) await send("POST", at(store, "auth/logout"), undefined, { bearer });
    else {
      const { sessions } = await send("GET", at(store, "users/me/sessions?limit=1000"), undefined, { bearer, tries: 1 });
      const mine = sessions.find((each) => each.is_current);
      if (mine) await send("DELETE", at(store, `users/me/sessions/${mine.session_id}`), undefined, { bearer, tries: 1 });
    }
  } catch { /* then it ends by itself */ }
}

/** A new token well before the present one ends; one refresh at a time. */
export function refresh() {
  refreshing ??= send("POST", at(session.store, "auth/refresh"))
    .then((answer) => keep(session.store, answer))
    .finally(() => { refreshing = null; });
  return refreshing;
}

async function ask(method, path, body, how) {
  if (!session) throw new Refused(401, { code: "unauthorized" });
  if (Date.now() > session.until - session.seconds * 333) await refresh().catch(() => {});
  const bearer = session?.token;
  try {
    return await send(method, at(storeId(), path), body, how);
  } catch (refused) {
    if (refused.status === 401 && session && session.token === bearer) { forget(); onEnd(refused.code); }
    throw refused;
  }
}

/** A query string of what is not empty. */
export const query = (values) => {
  const found = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return found.length ? `?${new URLSearchParams(found)}` : "";
};

export const get = (path, how) => ask("GET", path, undefined, how);
/** A POST that happens once however often it is sent: the key is made here, once for all tries. */
export const post = (path, body) => ask("POST", path, body, { key: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` });
/** A POST that brings an id of its own, or whose answer holds a secret: without a key. */
export const postAsIs = (path, body, how) => ask("POST", path, body, how);
export const put = (path, body) => ask("PUT", path, body);
export const patch = (path, body) => ask("PATCH", path, body);
export const remove = (path) => ask("DELETE", path);

/** Every page of a list. */
export async function all(path, name, values = {}, most = 100000) {
  const found = [];
  let after;
  do {
    const page = await get(path + query({ ...values, limit: 1000, after }));
    found.push(...page[name]);
    after = page.next;
  } while (after !== null && after !== undefined && found.length < most);
  return found;
}

/** The feed's address; the token goes along as a subprotocol. */
export const feedAddress = () => {
  const url = new URL(`ws/stores/${encodeURIComponent(storeId())}?mode=changes`, BASE);
  url.protocol = url.protocol.replace("http", "ws");
  return url;
};

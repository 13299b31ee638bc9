// What the page knows, in one object. Views read it; actions change it and say changed().
import { changed } from "./screen.js";

const meta = document.querySelector("meta[name=holdfast]").dataset;

/** What the service says of itself in the page. */
export const facts = { store: meta.store, currency: meta.currency, environment: meta.environment };

/** Something that is remembered on this machine, or nothing where that is not allowed. */
export const kept = {
  get: (name) => { try { return localStorage.getItem(`holdfast.${name}`); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(`holdfast.${name}`, value); } catch { /* then it is forgotten */ } },
};

export const store = {
  view: "overview",
  user: null,              // {login, role} of who has signed in
  said: "",
  more: false,             // the rail of a phone
  singleKeys: kept.get("keys") !== "off",
  figures: null,           // what GET /stores/{id}/figures told last
  figuresAt: 0,
  outbox: [],              // points of the outbox's lag since the page was opened
  requests: [],            // bookings that wait for an answer
  dead: [],                // dead letters
};

/** One line at the foot of the sheet, and for screen readers: what the last action did. */
export function say(words) {
  store.said = words;
  document.getElementById("spoken").textContent = words;
  changed();
}

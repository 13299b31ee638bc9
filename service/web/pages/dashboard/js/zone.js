// Times of a house in its own time zone, whatever zone the browser is in. Days are given as "2026-11-25".
import { lang, LANGUAGES } from "./words.js";

const formats = new Map();
function format(zone, options) {
  const key = `${lang.now} ${zone} ${JSON.stringify(options)}`;
  let found = formats.get(key);
  if (!found) formats.set(key, (found = new Intl.DateTimeFormat(options.hourCycle ? "en-GB" : LANGUAGES[lang.now], { timeZone: zone, ...options })));
  return found;
}
const PARTS = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
function parts(at, zone) {
  const p = Object.fromEntries(format(zone, PARTS).formatToParts(at).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(p.year, p.month - 1, p.day, p.hour, p.minute, p.second);
}

/** The moment of a day's wall clock, in milliseconds; a time that a change of the clock skips is an hour later. */
export function moment(day, minutes, zone) {
  const [y, m, d] = day.split("-").map(Number);
  const wall = Date.UTC(y, m - 1, d, 0, minutes);
  let at = wall - (parts(wall, zone) - wall);
  at += wall - parts(at, zone);
  return at;
}
/** The day of a moment, some days on. */
export const day = (at, zone, further = 0) => new Date(parts(at, zone) + further * 86400e3).toISOString().slice(0, 10);
/** Minutes since that day's midnight, by the wall clock; the next day's go on from 1,440. */
export const minutes = (at, on, zone) => Math.round((parts(at, zone) - Date.parse(`${on}T00:00Z`)) / 60e3);
export const clock = (at, zone) => format(zone, { hour: "2-digit", minute: "2-digit" }).format(at);
export const dayName = (on, zone) => format("UTC", { weekday: "long", day: "numeric", month: "long" }).format(Date.parse(`${on}T12:00Z`));
export const shortDay = (on) => format("UTC", { day: "numeric", month: "long" }).format(Date.parse(`${on}T12:00Z`));
/** mon … sun. */
export const weekday = (on) => ["sun", "mon", "tue", "wed", "thu", "fri", "sat"][new Date(`${on}T12:00Z`).getUTCDay()];
/** "18:30" of minutes, as a field of type time takes it. */
export const field = (m) => `${String(Math.floor((m % 1440) / 60)).padStart(2, "0")}:${String(m % 60).padStart(2, "0")}`;
export const ofField = (text) => { const [h, m] = text.split(":").map(Number); return h * 60 + m; };

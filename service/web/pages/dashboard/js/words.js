// Words of the page: languages/en.json and languages/ru.json. Forms of a plural stand between bars: English one|other,
// Russian one|few|many; {x} is filled in. A language is one file: add it to LANGUAGES.
import { facts } from "./store.js";

export const LANGUAGES = { en: "en-GB", ru: "ru-RU" };
const ORDER = { en: ["one", "other"], ru: ["one", "few", "many"] };

export const lang = { now: document.documentElement.lang in LANGUAGES ? document.documentElement.lang : "en" };
const read = {};
let words = {}, tools;

/** Load a language, once; from then on everything is said in it. */
export async function speak(language) {
  read[language] ??= await (await fetch(new URL(`../languages/${language}.json`, import.meta.url))).json();
  words = read[language];
  lang.now = language;
  document.documentElement.lang = language;
  make();
}

// Making an Intl object takes about 50 µs: made once per language, never per cell.
function make() {
  const locale = LANGUAGES[lang.now];
  const format = (o) => new Intl.DateTimeFormat(locale, o);
  const money = new Intl.NumberFormat(locale, { style: "currency", currency: facts.currency });
  tools = {
    plural: new Intl.PluralRules(locale),
    number: new Intl.NumberFormat(locale),
    signed: new Intl.NumberFormat(locale, { signDisplay: "exceptZero" }),
    tenth: new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 }),
    money, minor: 10 ** money.resolvedOptions().maximumFractionDigits,
    time: format({ hour: "2-digit", minute: "2-digit" }),
    second: format({ hour: "2-digit", minute: "2-digit", second: "2-digit" }),
    moment: format({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }),
    ago: new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" }),
    collator: new Intl.Collator(locale, { numeric: true }),
  };
}

/** Whether there are words for a key. */
export const has = (key) => key in words;

/** The words of a key in the language of now; `n` picks the form of a plural. */
export function t(key, fill) {
  let text = words[key];
  if (text === undefined) return key;
  if (text.includes("|")) text = text.split("|").at(ORDER[lang.now].indexOf(tools.plural.select(fill?.n ?? 0)));
  return fill ? text.replace(/\{(\w+)\}/g, (_, k) => (typeof fill[k] === "number" ? tools.number.format(fill[k]) : fill[k] ?? "")) : text;
}

export const number = (n) => tools.number.format(n);
export const tenth = (n) => tools.tenth.format(n);
export const signed = (n) => tools.signed.format(n).replace("-", "−");
/** Minor units as money. */
export const money = (minor) => tools.money.format(minor / tools.minor);
export const minorUnits = () => tools.minor;
export const time = (at) => tools.time.format(at);
export const second = (at) => tools.second.format(at);
/** Day and time. */
export const moment = (at) => tools.moment.format(at);
/** The time alone where it is of the last 12 hours, else the day, too. */
export const when = (at) => (Math.abs(Date.now() - at) < 12 * 3600e3 ? second(at) : moment(at));
/** "39 min ago" of a moment that is past. */
export const ago = (at) => {
  const s = Math.max(0, (Date.now() - at) / 1000);
  const [n, unit] = s < 60 ? [0, "minute"] : s < 3600 ? [s / 60, "minute"] : s < 86400 ? [s / 3600, "hour"] : [s / 86400, "day"];
  return n ? tools.ago.format(-Math.floor(n), unit) : t("time.now");
};
export const compare = (a, b) => tools.collator.compare(a, b);
/** 75 s is 1:15, 7,265 s is 2:01:05. */
export const span = (s) => {
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : s < 86400 ? `${Math.floor(s / 3600)}:${two((s % 3600) / 60)}:${two(s % 60)}` : t("time.days", { n: Math.floor(s / 86400) });
};

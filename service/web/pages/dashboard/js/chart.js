// A small chart: an SVG path over the last points. SVG takes its colours from the style sheet, so a change of theme
// needs no redrawing, and the browser scales it; 120 points cost less than 0.1 ms to write.
import { html, svg, nothing, changed } from "./screen.js";
import { t, number } from "./words.js";

const W = 240;
const H = 56;

const path = (points, top) => {
  if (points.length < 2) return `M0 ${H - 1}H${W}`;
  let d = "";
  for (let i = 0; i < points.length; i++) d += `${i ? "L" : "M"}${((i * W) / (points.length - 1)).toFixed(1)} ${(H - 1 - (points[i] / top) * (H - 4)).toFixed(1)}`;
  return d;
};

/** lines: [{points, kind}] with kind area, line or faint; the first one is read out and shown under the pointer. */
export function chart({ name, unit, lines, show = number, note, at, step, now }) {
  const all = lines.flatMap((l) => l.points);
  const top = Math.max(...all, 0) * 1.12 || 1;
  const [lead] = lines;
  const latest = now ?? lead.points.at(-1) ?? 0;
  const says = t("ch.says", { name, now: show(latest), low: show(Math.min(...lead.points, latest)), high: show(Math.max(...lead.points, 0)) });
  const i = at.chart === name && at.i < lead.points.length ? at.i : null;
  const over = (e) => {
    const box = e.currentTarget.getBoundingClientRect();
    at.chart = name;
    at.i = Math.max(0, Math.min(lead.points.length - 1, Math.round(((e.clientX - box.left) / box.width) * (lead.points.length - 1))));
    changed();
  };
  return html`
    <figure class="chart">
      <figcaption><span>${name}</span>${i === null ? nothing : html`<span class="meta">−${Math.round((lead.points.length - 1 - i) * step / 6) / 10} ${t("ch.min")}</span>`}</figcaption>
      <p class="now"><b>${show(i === null ? latest : lead.points[i])}</b> <span class="meta">${unit}</span></p>
      <svg viewBox="0 0 ${W} ${H}" preserveAspectRatio="none" role="img" aria-label=${says} @pointermove=${over} @pointerleave=${() => { at.chart = null; changed(); }}>
        <path class="base" d="M0 ${H - 0.5}H${W}"></path>
        ${lines.map((l) => svg`<path class=${l.kind} d=${path(l.points, top) + (l.kind === "area" ? `L${W} ${H}L0 ${H}Z` : "")}></path>${l.kind === "area" ? svg`<path class="line" d=${path(l.points, top)}></path>` : nothing}`)}
        ${i === null ? nothing : svg`<path class="cross" d=${`M${((i * W) / (lead.points.length - 1)).toFixed(1)} 0V${H}`}></path>`}
      </svg>
      <p class="meta note"><span>${note}</span><span>${t(lead.points.length * step > 90 ? "ch.ten" : "ch.minute")}</span></p>
    </figure>`;
}

/** 60 ticks, one a second: how much the feed has told. */
export function pulse(ticks) {
  let d = "";
  for (let i = 0; i < ticks.length; i++) {
    const h = ticks[i] ? Math.min(18, 3 + Math.log2(1 + ticks[i]) * 2.4) : 1.5;
    d += `M${i * 3} ${(20 - h).toFixed(1)}h1.6v${h.toFixed(1)}h-1.6Z`;
  }
  return svg`<svg viewBox="0 0 180 20" preserveAspectRatio="none" aria-hidden="true"><path d=${d}></path></svg>`;
}

/** 24 hours of deliveries, failures on top. */
export function hours(list, says) {
  const top = Math.max(...list.map(([a, b]) => a + b)) || 1;
  return svg`<svg class="hours" viewBox="0 0 144 24" role="img" aria-label=${says}>${list.map(([ok, bad], i) => {
    const a = (ok / top) * 22, b = bad ? Math.max(3, (bad / top) * 22) : 0;
    return svg`<path class="ok" d=${`M${i * 6} ${24 - Math.max(a, 1)}h4v${Math.max(a, 1)}h-4Z`}></path>${b ? svg`<path class="bad" d=${`M${i * 6} ${24 - a - b - 1}h4v${b}h-4Z`}></path>` : nothing}`;
  })}</svg>`;
}

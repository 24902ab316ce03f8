// ALiBi's slopes: a ladder of them, and how far each head can see.
import { ACCENT, MUTED, SCHEMES, axes, fixed, handle, panel, range, short, stage } from "./kit.js";

const AUTHORS = "the authors'", OWN = "my own";
const PERCENT = 0.01;

/** Slopes of the authors' code: a geometric ladder, where n is no power of two filled up from the one twice as long. */
export function alibiSlopes(n) {
  const power = 2 ** Math.floor(Math.log2(n));
  const geometric = (count) => range(count, 1).map((h) => 2 ** ((-8 * h) / count));
  return [...geometric(power), ...geometric(2 * power).filter((_, h) => h % 2 === 0).slice(0, n - power)];
}

export const ladderOf = (heads, ladder, steepest, ratio) =>
  ladder === AUTHORS ? alibiSlopes(heads) : range(heads).map((h) => steepest * ratio ** h);

/** Distance at which a head's weight has fallen to 1% of that at distance 0, contents being equal. */
export const onePercent = (slope) => -Math.log(PERCENT) / slope;

const shade = (share) => `hsl(${280 - 200 * share} 60% ${30 + 22 * share}%)`;

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "Slopes of ALiBi", dragged: ["distance"] });
  const weights = panel(figure, { width: 360, height: 300, label: "Weight against distance, a line per head" });
  const bars = panel(figure, { width: 360, height: 300, label: "Distance to 1% of each head" });
  let at = null;
  const show = handle(weights, {
    label: "distance of the marker", low: 1, high: 16384, log: true, get: () => get("distance"),
    set: (value) => set("distance", value), from: (px, py) => at.value(px, py)[0],
  });
  let own = [get("steepest"), get("ratio")].join();

  return run(() => {
    const [heads, steepest, ratio, length, distance] = ["heads", "steepest", "ratio", "length", "distance"].map(get);
    const moved = own !== (own = [steepest, ratio].join());
    if (moved && get("ladder") === AUTHORS) set("ladder", OWN); // who turns these dials wants a ladder of their own
    const slopes = ladderOf(heads, get("ladder"), steepest, ratio);
    const ends = slopes.map(onePercent);
    const x = { low: 1, high: 1e5, log: true, ticks: [1, 10, 100, 1e3, 1e4, 1e5], names: ["1", "10", "100", "1,000", "10⁴", "10⁵"] };
    at = axes(weights, {
      title: "Weight / weight at distance 0", x: { ...x, label: "distance (tokens)" },
      y: { low: 1e-3, high: 1.2, log: true, ticks: [1e-3, 1e-2, 0.1, 1], names: ["0.1%", "1%", "10%", "100%"] },
    });
    at.box(length, 1e5, 1e-3, 1.2, { fill: MUTED, opacity: 0.15 });
    at.text(1e5, 1.2, "beyond the text", { "text-anchor": "end", dx: -4, dy: 15 });
    at.rule({ y: PERCENT }, { stroke: MUTED, "stroke-dasharray": "5 4" });
    slopes.forEach((slope, h) => {
      const color = shade(heads > 1 ? h / (heads - 1) : 0);
      const far = Math.min(1e5, Math.log(1000) / slope);
      const xs = range(60).map((i) => far ** (i / 59));
      at.line(xs, xs.map((d) => Math.max(1e-3, Math.exp(-slope * d))), { stroke: color, "stroke-width": 1.8 });
      if (ends[h] >= 1 && ends[h] <= 1e5) at.dot(ends[h], PERCENT, { fill: color, r: 3 });
    });
    at.rule({ x: distance }, { stroke: ACCENT, "stroke-width": 2 });
    const see = ends.filter((end) => end > distance).length;
    show(...at.at(distance, 0.0022), `${distance} tokens: ${see} of ${heads} heads above 1%`);

    const row = axes(bars, {
      title: "How far each sees", x: { ...x, ticks: [1, 100, 1e4], names: ["1", "100", "10⁴"], label: "tokens to 1%" },
      y: { low: heads + 0.7, high: 0.3, label: "head", ticks: heads <= 12 ? range(heads, 1) : range(8, 1).map((i) => Math.round((i * heads) / 8)) },
    });
    ends.forEach((end, h) => {
      const seen = Math.min(Math.max(end, 1), 1e5);
      row.box(1, seen, h + 0.65, h + 1.35, { fill: end > distance ? SCHEMES.alibi[0] : MUTED });
      if (heads <= 16) row.text(Math.min(seen, 2e3), h + 1, short(Math.round(end)), { dx: 4, dy: 4.5 });
    });
    row.rule({ x: distance }, { stroke: ACCENT, "stroke-width": 2 });
    const falls = slopes.every((slope, h) => h === 0 || slope <= slopes[h - 1]);
    say(`${fixed(distance, 0)} tokens back, ${see} of ${heads} heads still give more than 1% of their largest weight. ` +
      `Slopes from ${short(Math.max(...slopes))} to ${short(Math.min(...slopes))}${falls ? "" : ", not in order"}: 1% at ` +
      `${fixed(Math.min(...ends), 0)} to ${fixed(Math.max(...ends), 0)} tokens. ` +
      `${ends.filter((end) => end <= length).length} heads reach it within the text of ${fixed(length, 0)}.`);
  });
}
export default { render };

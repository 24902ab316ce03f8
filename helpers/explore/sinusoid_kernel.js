// What two rows of the sinusoidal table have in common: waves at two positions, and the dot product by distance.
import { ACCENT, INK, MUTED, SCHEMES, axes, fixed, handle, panel, range, stage, sum } from "./kit.js";

const FARTHEST = 100; // distances are drawn from 0 to here

/** Radians per position of every pair, from fast to slow. */
export function frequencies(width, base) {
  return range(width / 2).map((i) => base ** ((-2 * i) / width));
}

/** cos(k w_i): what each pair adds to the dot product of two rows k positions apart. */
export function agreements(offset, width, base) {
  return frequencies(width, base).map((w) => Math.cos(offset * w));
}

/** PE(p) . PE(p + k) over its value at k = 0, for every distance k. */
export function kernel(distances, width, base) {
  return distances.map((k) => sum(agreements(k, width, base)) / (width / 2));
}

/** The first distance k with g(k + 1) > g(k), up to `farthest`; null if it only falls. */
export function first_rise(width, base, farthest = FARTHEST) {
  const g = kernel(range(farthest + 1), width, base);
  const found = range(farthest).find((k) => g[k + 1] > g[k] + 1e-12);
  return found === undefined ? null : found;
}

/** The pairs whose waves are drawn: at most five, evenly from the fastest to the slowest. */
export function drawn(width) {
  const [pairs, lanes] = [width / 2, Math.min(5, width / 2)];
  return range(lanes).map((lane) => Math.floor((2 * lane * (pairs - 1) + lanes - 1) / (2 * (lanes - 1))));
}

const BLUE = SCHEMES.sinusoidal[0];
const LANE = 2.6; // from one wave to the next, in amplitudes

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "Waves, and the dot product of two positions" });
  const waves = panel(figure, { width: 360, height: 320, label: "sine waves of some pairs" });
  const curve = panel(figure, { width: 360, height: 320, label: "dot product by distance" });
  const at = {}; // the axes drawn last, for the handles
  const shared = { low: 0, high: FARTHEST, get: () => get("offset"), set: (k) => set("offset", k) };
  const first = handle(waves, {
    label: "position p", color: INK, low: 0, high: FARTHEST, get: () => get("position"), set: (p) => set("position", p),
    from: (x, y) => at.waves.value(x, y)[0],
  });
  const second = handle(waves, { ...shared, label: "distance k, at position p + k", from: (x, y) => at.waves.value(x, y)[0] - get("position") });
  const third = handle(curve, { ...shared, label: "distance k", from: (x, y) => at.curve.value(x, y)[0] });

  return run(() => {
    const [base, p, k] = ["base", "position", "offset"].map(get);
    const width = 2 * Math.round(get("width") / 2);
    const [pairs, w, shares] = [drawn(width), frequencies(width, base), agreements(k, width, base)];
    const lane = (i) => LANE * (pairs.length - 1 - i);
    at.waves = axes(waves, {
      x: { low: 0, high: 2 * FARTHEST, label: "position" },
      y: { low: -1.4, high: LANE * (pairs.length - 1) + 2, label: "pair i", ticks: pairs.map((_, i) => lane(i)), names: pairs.map(String) },
      title: "Waves sin(p ω)", margin: { right: 62 },
    });
    const xs = range(601).map((i) => i / 3);
    pairs.forEach((pair, i) => {
      const height = (x) => lane(i) + Math.sin(x * w[pair]);
      at.waves.line(xs, xs.map(height), { stroke: BLUE, "stroke-width": 1.3 });
      at.waves.dot(p, height(p), { r: 4 });
      at.waves.dot(p + k, height(p + k), { r: 4, fill: ACCENT });
      at.waves.text(2 * FARTHEST, lane(i), fixed(shares[pair]), { dx: 56, dy: 4, "text-anchor": "end" });
    });
    at.waves.text(2 * FARTHEST, lane(-0.62), "cos(k ω)", { dx: 58, "text-anchor": "end" });
    at.waves.rule({ x: p }, { "stroke-dasharray": "4 3" });
    at.waves.rule({ x: p + k }, { "stroke-dasharray": "4 3", stroke: ACCENT });
    const top = LANE * (pairs.length - 1) + 1.55;
    first(...at.waves.at(p, top), `position ${p}`);
    second(...at.waves.at(p + k, top), `distance ${k}, position ${p + k}`);

    const g = kernel(range(FARTHEST + 1), width, base);
    at.curve = axes(curve, {
      x: { low: 0, high: FARTHEST, label: "distance k (positions)" },
      y: { low: Math.min(0, ...g) - 0.05, high: 1.05, label: "PE(p) · PE(p + k) / (d/2)" }, title: "Dot product by distance",
    });
    at.curve.rule({ y: 0 }, { stroke: MUTED });
    at.curve.line(range(FARTHEST + 1), g, { stroke: BLUE, "stroke-width": 1.8 });
    const rise = first_rise(width, base);
    if (rise !== null) at.curve.dot(rise, g[rise], { r: 5.5, fill: "#fff", stroke: INK, "stroke-width": 1.5 });
    third(...at.curve.at(k, g[k]), `distance ${k}, dot product ${fixed(g[k])} of the largest`);
    const next = rise === null ? "Up to 100 it only falls" : `It first rises after k = ${rise} (open circle)`;
    say(`p = ${p}, k = ${k}: mean of cos(k ω) over ${width / 2} pairs = ${fixed(g[k], 3)}. ${next}.`);
  });
}
export default { render };

// RoPE's logit against distance, for a query and a key whose angles are equal, random, or aimed at one distance.
import { ACCENT, INK, MUTED, SCHEMES, axes, clamp, fixed, handle, hashedVector, panel, range, stage, sum } from "./kit.js";

const CONTENTS = ["equal", "random", "aimed"];

/** Radians per position of every pair, from fast to slow. */
export function frequencies(head_dim, base) {
  return range(head_dim / 2).map((i) => base ** ((-2 * i) / head_dim));
}

/** Angle of the query against the key in every pair, before positions turn them. */
export function phases(content, head_dim, base, aim) {
  if (content === "random") return hashedVector("phase", head_dim / 2).map((share) => Math.PI * share);
  return frequencies(head_dim, base).map((w) => (content === "aimed" ? -aim * w : 0));
}

/** Logit at each distance over the largest that these norms allow: mean over pairs of cos(distance * w + phase). */
export function logits(distances, content, head_dim, base, aim) {
  const [w, phase] = [frequencies(head_dim, base), phases(content, head_dim, base, aim)];
  return distances.map((distance) => sum(w.map((turn, i) => Math.cos(distance * turn + phase[i]))) / w.length);
}

/** Pairs that turn by less than a full circle over `length` positions. */
export function unfinished(head_dim, base, length) {
  return frequencies(head_dim, base).filter((w) => length * w < 2 * Math.PI).length;
}

/** About 400 whole distances from 1 to length, evenly on a log scale, none twice. */
export function grid(length, most = 400) {
  return [...new Set(range(most).map((i) => Math.round(length ** (i / (most - 1)))))];
}

const LOOKS = {
  equal: { stroke: SCHEMES.rope[0] },
  random: { stroke: MUTED, "stroke-dasharray": "1.5 2.5" },
  aimed: { stroke: SCHEMES.sinusoidal[0], "stroke-dasharray": "6 3" },
};

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "RoPE's logit against distance", dragged: ["aim"] });
  const curve = panel(figure, { width: 400, height: 320, label: "logit by distance", basis: 340 });
  const turns = panel(figure, { width: 320, height: 320, label: "turns of each pair", basis: 260, most: 366 });
  let drawn = null; // the axes on the left, for the handle
  const aimed = handle(curve, {
    label: "distance that the aimed angles agree at", color: SCHEMES.sinusoidal[0], low: 1, high: 131072, log: true,
    get: () => get("aim"),
    set: (aim) => set("aim", clamp(aim, 1, get("length"))),
    from: (x, y) => drawn.value(x, y)[0],
  });

  return run(() => {
    const [base, content, length] = ["base", "content", "length"].map(get);
    const head_dim = 2 * Math.round(get("head_dim") / 2);
    const aim = Math.min(get("aim"), length);
    const distances = grid(length);
    drawn = axes(curve, {
      x: { low: 1, high: length, log: true, label: "distance m − n (positions)" },
      y: { low: -1, high: 1.1, ticks: [-1, -0.5, 0, 0.5, 1], label: "logit / largest possible" }, title: "Logit by distance",
    });
    drawn.rule({ y: 0 });
    const strongLast = [...CONTENTS].sort((a, b) => (a === content) - (b === content));
    for (const name of strongLast) {
      const strong = name === content;
      const y = logits(distances, name, head_dim, base, aim);
      drawn.line(distances, y, { ...LOOKS[name], "stroke-width": strong ? 2.2 : 1, opacity: strong ? 1 : 0.6 });
    }
    drawn.rule({ x: aim }, { stroke: LOOKS.aimed.stroke, "stroke-dasharray": "2 3" });
    CONTENTS.forEach((name, i) => drawn.text(1, -0.62, name, { dx: 10, dy: 17 * i, style: `fill:${LOOKS[name].stroke};font-weight:${name === content ? 700 : 400}` }));
    aimed(...drawn.at(aim, 1), `aimed at distance ${aim}`);

    const w = frequencies(head_dim, base);
    const full = w.map((turn) => (length * turn) / (2 * Math.PI));
    const slow = unfinished(head_dim, base, length);
    const plot = axes(turns, {
      x: { low: -0.5, high: w.length - 0.5, label: "pair i" },
      y: { low: Math.min(0.1, full.at(-1)) / 1.5, high: full[0] * 1.5, log: true, label: `turns in ${fixed(length, 0)} positions` },
      title: "Turns of each pair",
    });
    plot.rule({ y: 1 }, { "stroke-dasharray": "4 3" });
    full.forEach((count, i) => plot.dot(i, count, { r: 3.2, ...(count < 1 ? { fill: "#fff", stroke: ACCENT, "stroke-width": 1.3 } : { fill: INK }) }));
    const [near, far] = logits([1, length], content, head_dim, base, aim);
    say(
      `${content[0].toUpperCase()}${content.slice(1)}: ${fixed(near)} of the largest logit at distance 1, ${fixed(far)} at ${fixed(length, 0)}. ` +
      `Pairs that never finish a turn: ${slow} of ${w.length} (open circles).`,
    );
  });
}
export default { render };

// Identical words under a causal mask, one layer, no encoding: what each position sees of the first word.
import { ACCENT, INK, axes, cividis, clamp, fixed, handle, panel, range, softmax, stage, svg } from "./kit.js";

/** Attention weights, row by row what each position sees. All logits are equal, but another first word has `pull` more. */
export function weights(words, first, causal, pull) {
  const logit = (j) => (j === 0 && first === "another word" ? pull : 0);
  const seen = (i, j) => causal !== "causal" || j <= i;
  return range(words).map((i) => softmax(range(words).map((j) => (seen(i, j) ? logit(j) : -Infinity))));
}

/** Share of the other word's value in each position's output: 0 everywhere if all words are the same. */
export function shares(words, first, causal, pull) {
  return weights(words, first, causal, pull).map((row) => (first === "another word" ? row[0] : 0));
}

/** How many different outputs there are. */
export function distinct(values) {
  return new Set(values.map((value) => Math.round(value * 1e9))).size;
}

const OTHER = "#d9e4ec";

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "What a causal mask tells about position", dragged: ["position"] });
  const left = panel(figure, { width: 360, height: 330, label: "attention weights" });
  const right = panel(figure, { width: 360, height: 330, label: "what each output is mixed from" });
  let drawn = null; // the axes on the left, for the handle
  const row = handle(left, {
    label: "query position", color: INK, low: 0, high: 15, big: 4,
    get: () => Math.min(get("position"), get("words") - 1),
    set: (position) => set("position", clamp(position, 0, get("words") - 1)),
    from: (x, y) => drawn.value(x, y)[1] - 0.5,
  });
  return run(() => {
    const [words, first, causal, pull] = ["words", "first", "causal", "pull"].map(get);
    const position = Math.min(get("position"), words - 1);
    const [seen, share] = [weights(words, first, causal, pull), shares(words, first, causal, pull)];
    const every = words > 8 ? 3 : 1;
    const marks = range(words).filter((i) => i % every === 0);
    const rows = { low: words, high: 0, ticks: marks.map((i) => i + 0.5), names: marks };
    drawn = axes(left, { x: { ...rows, low: 0, high: words, label: "key position" }, y: { ...rows, label: "query position" }, title: "Attention weights", margin: { right: 26 } });
    seen.forEach((line, i) => line.forEach((weight, j) => {
      if (weight > 0) drawn.box(j + 0.04, j + 0.96, i + 0.04, i + 0.96, { fill: cividis(weight) }).append(svg("title", {}, fixed(weight, 3)));
    }));
    const frame = { fill: "none", stroke: INK, "stroke-width": 2 };
    drawn.box(0, words, position, position + 1, frame);
    row(...drawn.at(words, position + 0.5), `position ${position}, share of the first word ${fixed(share[position], 3)}`);

    const bars = axes(right, { x: { low: 0, high: 1, ticks: [0, 0.5, 1], label: "share in the output" }, y: rows, title: "First word (orange) and all others", margin: { right: 52 } });
    share.forEach((value, i) => {
      bars.box(value, 1, i + 0.12, i + 0.88, { fill: OTHER });
      bars.box(0, value, i + 0.12, i + 0.88, { fill: ACCENT });
      const bold = i === position ? "font-weight:700" : "";
      if (i % every === 0 || bold) bars.text(1, i + 0.5, fixed(value, 3), { dx: 8, dy: 4.5, style: bold });
    });
    bars.box(0, 1, position, position + 1, frame);
    const count = distinct(share);
    const here = share[position];
    const before = position > 0 ? `, one position earlier ${fixed(share[position - 1], 3)}` : "";
    const read = first === "another word" ? `Position ${position} has ${fixed(here, 3)} of the first word in its output${before}.` : `Position ${position} mixes ${seen[position].filter((weight) => weight > 0).length} equal values.`;
    say(`${read} Different outputs at ${words} positions: ${count}.`);
  });
}

export default { render };

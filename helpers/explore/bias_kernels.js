// Biases by distance, and the attention that they leave where contents are equal.
import { ACCENT, MUTED, axes, fixed, handle, look, panel, range, short, softmax, stage, sum, svg } from "./kit.js";

const SCHEME = { ALiBi: "alibi", "KERPLE log": "kerple", "KERPLE power": "kerple", Sandwich: "sandwich", T5: "t5", FIRE: "fire" };
const single = Math.fround;

/** Sandwich at one distance, as published: 64 waves counted from 1, the constant d/2 taken off. */
const sandwich = (distance) => WAVES.reduce((total, wave) => total + Math.cos(distance * wave), -64);
const WAVES = range(64, 1).map((c) => 10000 ** ((-2 * c) / 128));

/** The recorded T5 bias: 32 buckets of a decoder. */
function t5(distance, { max_distance: far, bias } = DATA.t5) {
  const exact = bias.length / 2;
  if (distance < exact) return bias[distance];
  const growth = single(single(Math.log(single(distance / exact))) / single(Math.log(far / exact)));
  return bias[Math.min(exact + Math.floor(single(growth * exact)), bias.length - 1)];
}

/** The recorded FIRE: a small network of the distance's share of the query's own position. */
function fire(distance, query, { c, threshold, hidden, out } = DATA.fire) {
  const share = Math.log1p(c * distance) / Math.log1p(c * Math.max(threshold, query));
  return hidden[0].reduce((total, w, i) => total + out[0][i] * Math.max(0, w * share + hidden[1][i]), out[1][0]);
}

/** A kernel at strength 1 for distances 0 .. window - 1 from the last query. */
function shape(kernel, power, window) {
  const at = {
    ALiBi: (d) => -d,
    "KERPLE log": (d) => -Math.log1p(power * d),
    "KERPLE power": (d) => -(d ** power),
    Sandwich: sandwich,
    T5: (d) => t5(d),
    FIRE: (d) => fire(d, window - 1),
  }[kernel];
  return range(window).map(at);
}

/** Bias in logits at distance 0 .. window - 1 from the last query. */
export const biasOf = (kernel, strength, power, window) => shape(kernel, power, window).map((b) => strength * b);

/** About `count` distances from 0 to window - 1, denser near the query. */
const thinned = (window, count = 260) => [...new Set(range(count).map((i) => Math.round(window ** (i / (count - 1)) - 1)))];

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "Kernels of the distance", dragged: ["distance"] });
  const added = panel(figure, { width: 360, height: 300, label: "Bias against distance" });
  const left = panel(figure, { width: 360, height: 300, label: "Attention weight against distance" });
  let at = null;
  const show = handle(left, {
    label: "distance of the marker", low: 0, high: 4095, get: () => get("distance"), log: true,
    set: (value) => set("distance", Math.min(value, get("window") - 1)), from: (px, py) => at.value(px, py)[0] - 1,
  });
  const known = new Map(); // shapes that no dial but the window moves
  const shapeOf = (kernel, power, window) => {
    if (kernel.startsWith("KERPLE")) return shape(kernel, power, window);
    const key = kernel === "FIRE" ? `FIRE ${window}` : kernel;
    if (!known.has(key)) {
      if (known.size > 40) known.clear();
      known.set(key, shape(kernel, power, kernel === "FIRE" ? window : 4096));
    }
    return known.get(key).slice(0, window);
  };

  return run(() => {
    const [kernel, strength, power, window] = ["kernel", "strength", "power", "window"].map(get);
    const distance = Math.min(get("distance"), window - 1);
    const names = [...Object.keys(SCHEME).filter((name) => name !== kernel), kernel]; // the chosen one on top
    const distances = thinned(window);
    const marks = [0, 1, 4, 16, 64, 256, 1024, 4096].filter((d) => d <= window);
    const x = { low: 1, high: window + 1, log: true, ticks: marks.map((d) => d + 1), names: marks.map(short), label: "distance (tokens)" };
    const below = axes(added, { title: "What is added", x, y: { low: -12, high: 0.5, label: "bias, largest set to 0" } });
    const tiny = [1e-6, 1e-4, 1e-2, 1];
    at = axes(left, {
      title: "Attention weight, contents equal", x,
      y: { low: 1e-6, high: 1.3, log: true, ticks: tiny, names: ["10⁻⁶", "10⁻⁴", "0.01", "1"] },
    });
    at.rule({ y: 1 / window }, { stroke: MUTED, "stroke-dasharray": "5 4" });
    at.text(1, 1 / window, "all alike", { dx: 4, dy: -4 });
    let mine = null;
    for (const name of names) {
      const bias = shapeOf(name, power, window).map((b) => strength * b);
      const weight = softmax(bias);
      const top = Math.max(...bias);
      const style = { ...look(SCHEME[name], name === kernel ? 4 : 1.5), opacity: name === kernel ? 1 : 0.7 };
      if (name === "KERPLE power") style["stroke-dasharray"] = "2 2";
      const visible = (values, low) => distances.filter((d) => values[d] > low);
      const [high, wide] = [visible(bias, top - 12), visible(weight, 1e-6)];
      below.line(high.map((d) => d + 1), high.map((d) => bias[d] - top), style);
      at.line(wide.map((d) => d + 1), wide.map((d) => weight[d]), style);
      if (name === kernel) mine = { bias, weight };
    }
    Object.keys(SCHEME).forEach((name, i) => {
      const y = below.bottom - 96 + 17 * i;
      const style = { ...look(SCHEME[name], name === kernel ? 4 : 1.5) };
      if (name === "KERPLE power") style["stroke-dasharray"] = "2 2";
      const key = { x1: below.left + 8, x2: below.left + 36, y1: y, y2: y, ...style };
      added.back.append(svg("line", key), svg("text", { x: below.left + 42, y: y + 4.5 }, name));
    });
    for (const axis of [below, at]) axis.rule({ x: distance + 1 }, { stroke: ACCENT, "stroke-width": 1.5 });
    const beyond = sum(mine.weight.slice(distance + 1));
    const times = mine.weight[distance] * window;
    show(...at.at(distance + 1, Math.max(mine.weight[distance], 1e-6)), `${distance}: ${fixed(100 * beyond, 1)}% beyond it`);
    let [half, within] = [0, mine.weight[0]];
    while (within < 0.5) within += mine.weight[++half];
    say(`${kernel}, strength ${short(strength)}, ${fixed(window, 0)} tokens: at distance ${fixed(distance, 0)} the bias is ` +
      `${fixed(mine.bias[distance])}, the weight ${short(times)} times an equal share. ${fixed(100 * beyond, 1)}% of the ` +
      `attention goes beyond it; half lies within distance ${fixed(half, 0)}.`);
  });
}
export default { render };

// YaRN's temperature: what each convention multiplies a logit by, when only a part of a head turns.
import { INK, axes, fixed, handle, panel, range, short, stage, svg } from "./kit.js";

const LOOK = { "cos and sin": ["#d55e00", ""], logits: ["#0173b2", "6 4"], "mscale pair": ["#029e73", "9 3 2 3"] };

/** YaRN's sqrt(1/t) for a factor. */
export const temperatureFactor = (factor, mscale = 1) => 0.1 * mscale * Math.log(factor) + 1;

/** [on cos and sin, on the softmax scale]. A number of the pair that is 0 counts as absent. */
export function multipliers(factor, convention, mscale, mscaleAllDim) {
  const f = temperatureFactor(factor);
  if (convention === "cos and sin") return [f, 1];
  if (convention === "logits") return [1, f ** 2];
  const below = temperatureFactor(factor, mscaleAllDim);
  return [mscale && mscaleAllDim ? temperatureFactor(factor, mscale) / below : f, below ** 2];
}

/** [rotated part, the rest, the whole if all channels bring the same] of a logit are multiplied by these. */
export function ofLogit([onCosSin, onScale], share) {
  const rotated = onScale * onCosSin ** 2;
  return [rotated, onScale, share * rotated + (1 - share) * onScale];
}

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "YaRN's temperature" });
  const curves = panel(figure, { width: 360, height: 290, label: "Multiplier of a logit against the factor" });
  const head = panel(figure, { width: 360, height: 290, label: "Multiplier of each part of a head" });
  let at = null, share = null;
  const showFactor = handle(curves, {
    label: "factor s", color: INK, low: 1, high: 64, step: 0.5, log: true, get: () => get("factor"),
    set: (value) => set("factor", value), from: (px, py) => at.value(px, py)[0],
  });
  const showShare = handle(head, {
    label: "rotated share of the head", color: INK, low: 0.05, high: 1, step: 0.01, get: () => get("rotated_share"),
    set: (value) => set("rotated_share", value), from: (px, py) => share.value(px, py)[0],
  });

  return run(() => {
    const [factor, part, convention] = ["factor", "rotated_share", "convention"].map(get);
    const times = (s, name) => ofLogit(multipliers(s, name, get("mscale"), get("mscale_all_dim")), part);
    const xs = range(49).map((i) => 64 ** (i / 48));
    const high = Math.max(2.1, ...Object.keys(LOOK).map((name) => times(64, name)[2]));
    at = axes(curves, {
      title: "The whole logit is multiplied by",
      x: { low: 1, high: 64, log: true, ticks: [1, 2, 4, 8, 16, 32, 64], names: [1, 2, 4, 8, 16, 32, 64], label: "factor s" },
      y: { low: 0.95, high: high * 1.02 },
    });
    Object.entries(LOOK).forEach(([name, [stroke, dashes]], i) => {
      const width = name === convention ? 4 : 2;
      at.line(xs, xs.map((s) => times(s, name)[2]), { stroke, "stroke-dasharray": dashes, "stroke-width": width });
      const y = at.top + 14 + 18 * i;
      const key = { x1: at.left + 8, x2: at.left + 38, y1: y, y2: y, stroke, "stroke-dasharray": dashes, "stroke-width": width };
      curves.back.append(svg("line", key), svg("text", { x: at.left + 44, y: y + 4.5 }, name));
    });
    const [rotated, rest, whole] = times(factor, convention);
    showFactor(...at.at(factor, whole), `${short(factor)}: logit times ${fixed(whole, 3)}`);

    const names = Object.keys(LOOK);
    share = axes(head, {
      title: "Each part of a head, times", x: { low: 0, high: 1, ticks: [0, 0.25, 0.5, 0.75, 1], label: "share of the head: turning | not" },
      y: { low: 3.2, high: -0.4, ticks: [0.25, 1.25, 2.25], names }, margin: { left: 92 },
    });
    names.forEach((name, row) => {
      const [turned, kept] = times(factor, name);
      const edge = name === convention ? { stroke: INK, "stroke-width": 2 } : {};
      share.box(0, part, row - 0.1, row + 0.6, { fill: LOOK[name][0], "fill-opacity": 0.55, ...edge });
      share.box(part, 1, row - 0.1, row + 0.6, { fill: LOOK[name][0], "fill-opacity": 0.18, ...edge });
      if (part >= 0.14) share.text(part / 2, row + 0.25, fixed(turned), { "text-anchor": "middle", dy: 5 });
      if (part <= 0.86) share.text((1 + part) / 2, row + 0.25, fixed(kept), { "text-anchor": "middle", dy: 5 });
    });
    share.rule({ x: part }, { "stroke-width": 2 });
    showShare(...share.at(part, 2.9), `${fixed(100 * part, 0)}%`);
    const [onCosSin, onScale] = multipliers(factor, convention, get("mscale"), get("mscale_all_dim"));
    say(`s = ${short(factor)}, temperature on ${convention}: cos and sin times ${fixed(onCosSin, 4)}, softmax scale times ` +
      `${fixed(onScale, 4)}. The rotated ${fixed(100 * part, 0)}% of a logit is multiplied by ${fixed(rotated, 3)}, the ` +
      `rest by ${fixed(rest, 3)}; the whole, if all channels bring the same, by ${fixed(whole, 3)}.`);
  });
}
export default { render };

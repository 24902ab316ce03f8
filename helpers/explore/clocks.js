// A row of the sinusoidal table as clocks: each pair (sin, cos) is the tip of a hand that starts at twelve.
import { MUTED, SCHEMES, diverging, fixed, handle, panel, range, readable, stage, sum, svg } from "./kit.js";

const [FARTHEST, MOST] = [1000, 8]; // the last position; hands of the widest row

/** Radians per position of every hand, from fast to slow. */
export function frequencies(width, base) {
  return range(width / 2).map((i) => base ** ((-2 * i) / width));
}

/** [sin, cos] of every pair: x and y of a hand's tip. */
export function hands(position, width, base) {
  return frequencies(width, base).map((w) => [Math.sin(position * w), Math.cos(position * w)]);
}

/** Positions that each hand needs for a full turn. */
export function periods(width, base) {
  return frequencies(width, base).map((w) => (2 * Math.PI) / w);
}

/** [the position up to 1000 whose row is nearest to this one's, the norm of the difference of the two rows]. */
export function nearest(position, width, base) {
  const w = frequencies(width, base);
  const squares = range(FARTHEST).map((k) => sum(w.map((frequency) => 2 - 2 * Math.cos((k + 1) * frequency))));
  let best = -1;
  squares.forEach((square, i) => {
    const within = position + i + 1 <= FARTHEST || position - i - 1 >= 0;
    if (within && (best < 0 || square < squares[best] - 1e-9)) best = i;
  });
  const other = position + best + 1 <= FARTHEST ? position + best + 1 : position - best - 1;
  return [other, Math.sqrt(Math.max(0, squares[best]))];
}

const spoken = (period) => fixed(period, period < 99.95 ? 1 : 0);
const R = 44, SIDE = 104; // radius of a clock, and of its panel

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "A row of the sinusoidal table as clocks" });
  const clocks = range(MOST).map((i) => {
    const plot = panel(figure, { width: SIDE, height: SIDE + 38, label: `clock ${i}`, basis: 104, most: 104 });
    const place = (position) => {
      const angle = position * frequencies(get("width"), get("base"))[i];
      return [SIDE / 2 + R * Math.sin(angle), SIDE / 2 - R * Math.cos(angle)];
    };
    const grip = handle(plot, {
      label: `position, by hand ${i}`, color: SCHEMES.sinusoidal[0], low: 0, high: FARTHEST,
      get: () => get("position"),
      set: (position) => set("position", position),
      from(x, y) { // the nearest turn of this hand: dragging a slow one spins the fast ones
        const w = frequencies(get("width"), get("base"))[i];
        const wanted = Math.atan2(x - SIDE / 2, SIDE / 2 - y) - get("position") * w;
        return get("position") + Math.atan2(Math.sin(wanted), Math.cos(wanted)) / w;
      },
    });
    return { plot, place, grip };
  });
  const row = panel(figure, { height: 66, label: "the row of the table" });

  return run(() => {
    const [position, base] = [get("position"), get("base")];
    const width = 2 * Math.round(get("width") / 2);
    const [turns, tips] = [periods(width, base), hands(position, width, base)];
    clocks.forEach(({ plot, place, grip }, i) => {
      plot.root.style.display = i < turns.length ? "" : "none";
      if (i >= turns.length) return;
      const [x, y] = place(position);
      const hours = range(12).map((hour) => {
        const [dx, dy] = [Math.sin((hour * Math.PI) / 6), -Math.cos((hour * Math.PI) / 6)];
        return svg("line", { x1: SIDE / 2 + 0.88 * R * dx, y1: SIDE / 2 + 0.88 * R * dy, x2: SIDE / 2 + R * dx, y2: SIDE / 2 + R * dy, stroke: MUTED });
      });
      const words = (text, line) => svg("text", { x: SIDE / 2, y: SIDE + 14 + 17 * line, "text-anchor": "middle" }, text);
      plot.back.replaceChildren(
        svg("circle", { cx: SIDE / 2, cy: SIDE / 2, r: R, fill: "#fff", stroke: MUTED }), ...hours,
        svg("line", { x1: SIDE / 2, y1: SIDE / 2, x2: x, y2: y, stroke: SCHEMES.sinusoidal[0], "stroke-width": 3 }),
        words(`a turn in ${spoken(turns[i])}`, 0), words(`${fixed(tips[i][0])}, ${fixed(tips[i][1])}`, 1),
      );
      grip(x, y, `position ${position}, hand ${i} has turned ${fixed(position / turns[i])} times`);
    });
    strip(row, tips.flat());
    const [other, apart] = nearest(position, width, base);
    say(
      `Position ${position}: the first hand has turned ${fixed(position / turns[0])} times, ` +
      `the last ${fixed(position / turns.at(-1), 3)} times. Of all positions to 1,000, ${fixed(other, 0)} has the nearest row: ${fixed(apart)} away.`,
    );
  });
}

/** The row as cells in the order of its channels: sin and cos of each hand in turn. */
function strip(plot, entries) {
  plot.fit();
  const cell = Math.min(60, plot.width / entries.length);
  plot.back.replaceChildren(svg("text", { x: 2, y: 14, class: "title" }, "The row: sin and cos of each hand in turn"));
  entries.forEach((entry, channel) => {
    const color = diverging(entry);
    const middle = cell * (channel + 0.5);
    plot.back.append(svg("rect", { x: cell * channel + 1, y: 22, width: cell - 2, height: 24, fill: color }));
    if (cell > 40) plot.back.append(svg("text", { x: middle, y: 38, "text-anchor": "middle", style: `fill:${readable(color)}` }, fixed(entry)));
    plot.back.append(svg("text", { x: middle, y: 62, "text-anchor": "middle" }, channel));
  });
}
export default { render };

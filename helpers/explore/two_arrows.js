// Two arrows: a query and a key turn with their positions; only their distance decides the logit.
import { MUTED, SCHEMES, axes, fixed, handle, panel, range, stage, svg } from "./kit.js";

export const NORMS = { q: 1, k: 0.8 };

/** The vector of this norm and content angle (radians) after its position has turned it: [x, y]. */
export function turned(norm, angle, position, theta) {
  const [x, y] = [norm * Math.cos(angle), norm * Math.sin(angle)];
  const [cos, sin] = [Math.cos(position * theta), Math.sin(position * theta)];
  return [x * cos - y * sin, y * cos + x * sin];
}

/** Dot product of the turned query and the turned key. */
export function logit(m, n, theta, qAngle, kAngle) {
  const [q, k] = [turned(NORMS.q, qAngle, m, theta), turned(NORMS.k, kAngle, n, theta)];
  return q[0] * k[0] + q[1] * k[1];
}

/** Distances from -20 to 20, in quarters for a smooth curve. */
export const DISTANCES = range(161).map((i) => i / 4 - 20);

/** An angle brought to (-pi, pi]. */
export const principal = (angle) => Math.atan2(Math.sin(angle), Math.cos(angle));

const COLOR = { q: SCHEMES.sinusoidal[0], k: SCHEMES.rope[0] };
const NAME = { q: "query", k: "key" };
const [SIZE, SCALE] = [340, 125]; // units of the panel, and of a vector of norm 1

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "Two arrows that turn", dragged: ["q_angle", "k_angle"] });
  const circle = panel(figure, { width: SIZE, height: SIZE, label: "query and key as arrows" });
  const curve = panel(figure, { width: SIZE, height: SIZE, label: "logit by distance" });
  const px = ([x, y]) => [SIZE / 2 + SCALE * x, SIZE / 2 - SCALE * y];
  const position = (who) => get(who === "q" ? "m" : "n");
  const grips = Object.fromEntries(["k", "q"].map((who) => [who, handle(circle, {
    label: `content angle of the ${NAME[who]}`, color: COLOR[who], wrap: true,
    low: -Math.PI, high: Math.PI, step: Math.PI / 36, fine: Math.PI / 360, big: 6,
    get: () => get(`${who}_angle`),
    set: (angle) => set(`${who}_angle`, angle),
    from: (x, y) => Math.atan2(SIZE / 2 - y, x - SIZE / 2) - position(who) * get("theta"),
  })]));

  function arrow(who, [x, y], attributes) {
    const [x2, y2] = px([x, y]);
    circle.back.append(svg("line", { x1: SIZE / 2, y1: SIZE / 2, x2, y2, stroke: COLOR[who], ...attributes }));
    return [x2, y2];
  }

  return run(() => {
    const [m, n, theta, qAngle, kAngle] = ["m", "n", "theta", "q_angle", "k_angle"].map(get);
    const angle = { q: qAngle, k: kAngle };
    const middle = SIZE / 2;
    circle.back.replaceChildren(
      svg("circle", { cx: middle, cy: middle, r: SCALE, fill: "none", stroke: "#bbb" }),
      svg("path", { d: `M10 ${middle}H${SIZE - 10}M${middle} 10V${SIZE - 10}`, stroke: "#e6e6e6" }),
    );
    for (const who of ["k", "q"]) {
      arrow(who, turned(NORMS[who], angle[who], 0, theta), { "stroke-dasharray": "5 4", "stroke-width": 1.5 });
      const now = turned(NORMS[who], angle[who], position(who), theta);
      const tip = arrow(who, now, { "stroke-width": 3.5 });
      const [x, y] = px(now.map((part) => (part * 1.24) / NORMS[who]));
      circle.back.append(svg("text", { x, y: y + 5, "text-anchor": "middle", class: "title", style: `fill:${COLOR[who]}` }, who));
      grips[who](...tip, `${fixed((angle[who] * 180) / Math.PI, 0)} degrees`);
    }
    const from = kAngle + n * theta;
    const between = principal(qAngle + m * theta - from);
    const arc = range(31).map((i) => px([0.3 * Math.cos(from + (between * i) / 30), 0.3 * Math.sin(from + (between * i) / 30)]));
    circle.back.append(svg("polyline", { points: arc.join(" "), fill: "none", stroke: "#333", "stroke-width": 1.5 }));
    const degrees = `${fixed((between * 180) / Math.PI, 0)}°`;
    const [x, y] = px([0.48 * Math.cos(from + between / 2), 0.48 * Math.sin(from + between / 2)]);
    circle.back.append(svg("text", { x, y: y + 4, "text-anchor": "middle" }, degrees));

    const plot = axes(curve, {
      x: { low: -20, high: 20, label: "distance m − n" }, y: { low: -1, high: 1, label: "logit" }, title: "The same contents, any distance",
    });
    plot.rule({ y: 0 }, { stroke: MUTED });
    plot.line(DISTANCES, DISTANCES.map((d) => logit(d, 0, theta, qAngle, kAngle)), { stroke: MUTED, "stroke-width": 1.5 });
    const value = logit(m, n, theta, qAngle, kAngle);
    plot.dot(m - n, value, { r: 6 });
    say(`Query at ${m}, key at ${n}: distance ${fixed(m - n, 0)}, angle ${degrees}, logit ${fixed(value, 3)}.`);
  });
}
export default { render };

// What the explorables share: dials, panels with axes, handles to drag, colors. Each module is drawn again from its
// state after every change; only dials and handles stay, so that they keep the keyboard's focus.
//
//   function render({ model, el }) {
//     const { figure, get, set, say, run } = stage({ model, el, label: "Two arrows", dragged: ["q_angle"] });
//     const plot = panel(figure, { width: 360, height: 300, label: "..." });
//     return run(() => { const at = axes(plot, {...}); at.line(...); say("..."); });
//   }

// ------------------------------------------------------------------------------------------------ numbers and words

/** A number in [-1, 1) that depends on the text alone: FNV-1a over UTF-8, mixed as in MurmurHash3 (_hash.py). */
export function hashed(text) {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) >>> 0;
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 31 - 1;
}

/** hashed("text 0"), hashed("text 1"), ... */
export const hashedVector = (text, width) => Array.from({ length: width }, (_, i) => hashed(`${text} ${i}`));

export const range = (count, start = 0) => Array.from({ length: count }, (_, i) => start + i);
export const sum = (values) => values.reduce((total, value) => total + value, 0);
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** The softmax of a row of logits; -Infinity gets weight 0. */
export function softmax(logits) {
  const top = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - top));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

/** A number with that many digits behind the point, a true minus, and no "−0.00". */
export function fixed(value, digits = 2) {
  const text = Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return value < 0 && /[1-9]/.test(text) ? `−${text}` : text;
}

/** A number as it stands at an axis: 1,000, 0.25, 10⁶. */
export function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  const power = Math.floor(Math.log10(size) + 1e-9);
  if (power > 4 || power < -3) {
    const mantissa = Number((value / 10 ** power).toPrecision(2));
    const raised = String(power).replace(/./g, (digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]);
    return `${mantissa === 1 ? "" : `${mantissa}·`}10${raised}`;
  }
  return fixed(value, Math.max(0, Math.min(4, 2 - power))).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

/** Round to that many significant digits. */
export const significant = (value, digits = 2) => Number(value.toPrecision(digits));

/** About `count` round numbers from low to high; on a log scale powers of ten, with 2 and 5 where there are few. */
export function ticks(low, high, count = 5, log = false) {
  if (log) {
    const decades = range(Math.floor(Math.log10(high) + 1e-9) - Math.floor(Math.log10(low)) + 1);
    const powers = decades.map((i) => 10 ** (Math.floor(Math.log10(low)) + i));
    const every = Math.ceil(decades.length / (count + 1));
    const wanted = decades.length > 2 ? powers.filter((_, i) => i % every === 0) : powers.flatMap((p) => [p, 2 * p, 5 * p]);
    return wanted.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return range(Math.floor(high / step + 1e-9) - first + 1).map((i) => Number(((first + i) * step).toPrecision(12)));
}

// ------------------------------------------------------------------------------------------------ colors (plotting.py)

export const INK = "#333333", MUTED = "#949494", ACCENT = "#d55e00";
/** Color and dashes of every scheme. */
export const SCHEMES = {
  none: ["#949494", "1.5 2.5"],
  sinusoidal: ["#0173b2", ""],
  learned: ["#de8f05", "6 3"],
  t5: ["#ca9161", "9 3 2 3"],
  shaw: ["#8c613c", "2 2"],
  deberta: ["#b8850a", "8 2 2 2"],
  transformer_xl: ["#00656b", "6 2 2 2 2 2"],
  rope: ["#d55e00", ""],
  pope: ["#cc78bc", "6 3"],
  xpos: ["#a34700", "10 2 2 2"],
  alibi: ["#029e73", ""],
  kerple: ["#56b4e9", "9 3 2 3"],
  fire: ["#b03060", "10 2"],
  sandwich: ["#5d6d7e", "6 2 2 2"],
  cope: ["#7f3c8d", "4 2"],
  window: ["#4d4d4d", "2 4"],
};
/** SVG attributes of a scheme's line. */
export const look = (scheme, width = 2) => ({
  stroke: SCHEMES[scheme][0], "stroke-dasharray": SCHEMES[scheme][1], "stroke-width": width, fill: "none",
});

const STOPS = {
  cividis: "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838",
  diverging: "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f",
};
const mixed = (stops, share) => {
  const at = clamp(share, 0, 1) * (stops.length - 1);
  const left = Math.min(Math.floor(at), stops.length - 2);
  const channel = (stop, i) => parseInt(stops[stop].slice(2 * i, 2 * i + 2), 16);
  const parts = range(3).map((i) => Math.round(channel(left, i) + (at - left) * (channel(left + 1, i) - channel(left, i))));
  return `rgb(${parts.join(",")})`;
};
/** Color map for 0 to 1. */
export const cividis = (share) => mixed(STOPS.cividis.split(" "), share);
/** Color map for -1 to 1, white at zero (RdBu_r). */
export const diverging = (value) => mixed(STOPS.diverging.split(" "), (value + 1) / 2);
/** Black or white, whichever can be read on this color "rgb(r,g,b)". */
export const readable = (rgb) => {
  const [red, green, blue] = rgb.match(/\d+/g).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#1a1a1a" : "#ffffff";
};

// ------------------------------------------------------------------------------------------------ elements

const fill = (node, attributes, children) => {
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(key, value);
  node.append(...children);
  return node;
};
/** An HTML element with attributes and children. */
export const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
/** An SVG element with attributes and children. */
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const CSS = `
.explore { color-scheme: light; font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #333;
  background: #fff; width: 100%; max-width: 760px; padding: 10px 12px; box-sizing: border-box; text-align: left; }
.explore * { box-sizing: border-box; }
.explore .dials { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 165px), 1fr)); gap: 6px 22px; }
.explore .dials > .wide { grid-column: 1 / -1; }
.explore .dial { display: block; margin: 0; padding: 0; border: 0; min-width: 0; font: inherit; color: inherit; }
.explore .dial legend { padding: 0; font: inherit; }
.explore .dial output { font-weight: 600; font-variant-numeric: tabular-nums; color: inherit; }
.explore input[type=range] { display: block; width: 100%; height: 26px; margin: 0; accent-color: #0173b2; }
.explore input[type=text], .explore select { font: inherit; width: 100%; padding: 4px 8px; color: #1a1a1a; background: #fff;
  border: 1px solid #888; border-radius: 4px; }
.explore .options { display: flex; flex-wrap: wrap; gap: 2px 16px; }
.explore .options label { display: inline-flex; align-items: center; gap: 5px; min-height: 26px; margin: 0; font: inherit; }
.explore .options input { margin: 0; accent-color: #0173b2; }
.explore .figure { display: flex; flex-wrap: wrap; gap: 8px 16px; margin-top: 10px; }
.explore .figure > svg { min-width: 0; max-width: 100%; height: auto; }
.explore svg text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #333; }
.explore svg .title { font-weight: 600; }
.explore .handle { cursor: grab; outline: none; touch-action: none; user-select: none; -webkit-user-select: none; }
.explore .handle:active { cursor: grabbing; }
.explore .handle .ring { fill: none; stroke: transparent; stroke-width: 2.5; }
.explore .handle:focus-visible .ring { stroke: #000; }
.explore button { font: inherit; padding: 2px 12px; min-height: 30px; color: #1a1a1a; background: #f3f5f7; border: 1px solid #888;
  border-radius: 4px; cursor: pointer; }
.explore .buttons { display: flex; flex-wrap: wrap; gap: 6px 10px; flex: 1 1 100%; }
.explore :is(input, select, button):focus-visible { outline: 2.5px solid #000; outline-offset: 1px; }
.explore .say { margin: 8px 0 0; font-variant-numeric: tabular-nums; }
@media (prefers-reduced-motion: no-preference) { .explore .glides { transition: transform 0.18s; } }`;

/** The frame of an explorable: dials from the model's list, room for the drawing, a line that says the numbers.
 *
 * label: what it is, for a screen reader. dragged: keys of the state that have no dial.
 * Returns figure (append panels here), get(key), set(key, value), say(text), and run(draw): draws now and after every
 * change, and gives back what `render` returns.
 */
export function stage({ model, el, label, dragged = [] }) {
  const dials = html("div", { class: "dials" });
  const figure = html("div", { class: "figure" });
  const line = html("p", { class: "say", "aria-live": "polite" });
  const css = html("style");
  css.textContent = CSS;
  // The attribute and stopPropagation keep JupyterLab from reading arrow keys as "next cell".
  const root = html("div", { class: "explore", role: "group", "aria-label": label, "data-lm-suppress-shortcuts": "true" });
  root.append(css, dials, figure, line);
  root.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(root);

  let rest = null;
  const get = (key) => model.get(key);
  const set = (key, value) => {
    model.set(key, value);
    clearTimeout(rest);
    rest = setTimeout(() => model.save_changes(), 300); // the kernel hears of it when the hand rests
  };
  const list = model.get("dials");
  const refresh = list.map((dial) => {
    const { node, show } = BUILD[dial.kind](dial, get, set);
    dials.append(node);
    return show;
  });
  const say = (text) => {
    if (line.textContent !== text) line.textContent = text;
  };
  function run(draw) {
    let waiting = false;
    const all = () => {
      waiting = false;
      refresh.forEach((show) => show());
      draw();
    };
    const changed = () => {
      if (!waiting) queueMicrotask(all); // several keys at once: one drawing
      waiting = true;
    };
    const events = [...list.map((dial) => dial.key), ...dragged].map((key) => `change:${key}`);
    events.forEach((event) => model.on(event, changed));
    all();
    const observer = new ResizeObserver(changed);
    observer.observe(figure);
    return () => {
      events.forEach((event) => model.off(event, changed));
      observer.disconnect();
      clearTimeout(rest);
      root.remove();
    };
  }
  return { figure, get, set, say, run };
}

const digitsOf = (step) => (step % 1 === 0 ? 0 : String(step).split(".")[1].length);

const BUILD = {
  slider(dial, get, set) {
    const [steps, ratio] = [400, dial.high / dial.low];
    const settings = dial.log ? { min: 0, max: steps, step: 1 } : { min: dial.low, max: dial.high, step: dial.step };
    const toValue = (at) => (dial.log ? clamp(significant(dial.low * ratio ** (at / steps)), dial.low, dial.high) : Number(at));
    const toPlace = (value) => (dial.log ? (steps * Math.log(value / dial.low)) / Math.log(ratio) : value);
    const input = html("input", { type: "range", ...settings, "data-key": dial.key });
    const output = html("output");
    input.addEventListener("input", () => set(dial.key, toValue(input.value)));
    const show = () => {
      const value = get(dial.key);
      if (toValue(input.value) !== value) input.value = toPlace(value);
      const digits = dial.log ? Math.max(0, 1 - Math.floor(Math.log10(value))) : digitsOf(dial.step);
      output.textContent = `${fixed(value, Number.isInteger(value) ? 0 : digits)}${dial.unit ? ` ${dial.unit}` : ""}`;
      input.setAttribute("aria-valuetext", output.textContent);
    };
    return { node: html("label", { class: "dial" }, `${dial.label}: `, output, input), show };
  },

  choice(dial, get, set) {
    if (dial.options.length > 4) {
      const options = dial.options.map((option) => html("option", { value: option }, option));
      const select = html("select", { "data-key": dial.key }, ...options);
      select.addEventListener("change", () => set(dial.key, select.value));
      const show = () => (select.value = get(dial.key));
      return { node: html("label", { class: "dial" }, dial.label, select), show };
    }
    const name = `${dial.key}-${Math.random().toString(36).slice(2)}`; // radio buttons of two instances are two groups
    const inputs = dial.options.map((value) => html("input", { type: "radio", name, value, "data-key": dial.key }));
    inputs.forEach((input) => input.addEventListener("change", () => set(dial.key, input.value)));
    const labels = inputs.map((input) => html("label", {}, input, input.value));
    const node = html("fieldset", { class: "dial" }, html("legend", {}, dial.label), html("div", { class: "options" }, ...labels));
    return { node, show: () => inputs.forEach((input) => (input.checked = input.value === get(dial.key))) };
  },

  text(dial, get, set) {
    const input = html("input", { type: "text", maxlength: dial.longest, spellcheck: "false", autocomplete: "off", "data-key": dial.key });
    input.addEventListener("input", () => set(dial.key, input.value));
    const show = () => {
      if (input.value !== get(dial.key)) input.value = get(dial.key);
    };
    return { node: html("label", { class: "dial wide" }, dial.label, input), show };
  },
};

// ------------------------------------------------------------------------------------------------ panels and axes

/** An SVG of width x height units, which are about pixels: two panels of 360 stand side by side or below each other.
 *
 * basis: the width in pixels from which on a panel wants a line of its own; most: it never gets wider.
 * Without a width it takes the whole line: call fit() before drawing, and read plot.width.
 */
export function panel(figure, { width = 0, height = 280, label, basis = 320, most = null }) {
  const root = svg("svg", { role: "group", "aria-label": label });
  root.style.flex = `1 1 ${width ? `${basis}px` : "100%"}`;
  if (most) root.style.maxWidth = `${most}px`;
  const back = svg("g"), front = svg("g"); // drawn anew each time; handles, which stay
  root.append(back, front);
  figure.append(root);
  const plot = { root, back, front, width, height, place, fit };
  function fit() {
    if (!width) plot.width = Math.max(320, figure.clientWidth || 720);
    root.setAttribute("viewBox", `0 0 ${plot.width} ${height}`);
  }
  fit();
  /** Where an event is, in the panel's units. */
  function place(event) {
    const box = root.getBoundingClientRect();
    return [((event.clientX - box.left) * plot.width) / box.width, ((event.clientY - box.top) * height) / box.height];
  }
  return plot;
}

/** Empty the panel, draw axes, and give back what draws in them.
 *
 * x, y: { low, high, log, label, ticks (values), names (texts at them) }. Places are in data units:
 * line(xs, ys, attributes), dot(x, y, attributes), text(x, y, words, attributes), rule({ x } or { y }, attributes),
 * box(x0, x1, y0, y1, attributes). at(x, y) gives panel units; value(px, py) the data units back.
 */
export function axes(plot, { x, y, title = "", margin = {} }) {
  const edge = { left: 54, right: 14, top: title ? 26 : 10, bottom: 42, ...margin };
  const [left, right] = [edge.left, plot.width - edge.right];
  const [top, bottom] = [edge.top, plot.height - edge.bottom];
  const scale = (axis, from, to) => {
    const f = axis.log ? Math.log : (value) => value;
    const [low, high] = [f(axis.low), f(axis.high)];
    return {
      go: (value) => from + ((f(value) - low) / (high - low)) * (to - from),
      back: (pixel) => {
        const inner = low + ((pixel - from) / (to - from)) * (high - low);
        return axis.log ? Math.exp(inner) : inner;
      },
    };
  };
  const [sx, sy] = [scale(x, left, right), scale(y, bottom, top)];
  plot.back.replaceChildren();
  const put = (node) => plot.back.appendChild(node);
  const words = (text, attributes) => put(svg("text", attributes, text));
  if (title) words(title, { x: left, y: 15, class: "title" });
  const marks = (axis) => axis.ticks ?? ticks(axis.low, axis.high, 5, axis.log);
  const name = (axis, tick, i) => (axis.names ? axis.names[i] : short(tick));
  marks(x).forEach((tick, i) => {
    put(svg("line", { x1: sx.go(tick), x2: sx.go(tick), y1: top, y2: bottom, stroke: "#e6e6e6" }));
    words(name(x, tick, i), { x: sx.go(tick), y: bottom + 16, "text-anchor": "middle" });
  });
  marks(y).forEach((tick, i) => {
    put(svg("line", { x1: left, x2: right, y1: sy.go(tick), y2: sy.go(tick), stroke: "#e6e6e6" }));
    words(name(y, tick, i), { x: left - 6, y: sy.go(tick) + 4.5, "text-anchor": "end" });
  });
  put(svg("path", { d: `M${left} ${top}V${bottom}H${right}`, stroke: "#888", fill: "none" }));
  if (x.label) words(x.label, { x: (left + right) / 2, y: bottom + 36, "text-anchor": "middle" });
  if (y.label) {
    const middle = (top + bottom) / 2;
    words(y.label, { x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` });
  }
  const at = (u, v) => [sx.go(u), sy.go(v)];
  const points = (xs, ys) => xs.map((u, i) => `${i ? "L" : "M"}${sx.go(u).toFixed(2)} ${sy.go(ys[i]).toFixed(2)}`);
  return {
    at,
    value: (px, py) => [sx.back(px), sy.back(py)],
    left, right, top, bottom,
    line: (xs, ys, attributes) => put(svg("path", { d: points(xs, ys).join(""), fill: "none", ...attributes })),
    dot: (u, v, attributes) => put(svg("circle", { cx: sx.go(u), cy: sy.go(v), r: 4, fill: INK, ...attributes })),
    text: (u, v, text, attributes) => words(text, { x: sx.go(u), y: sy.go(v), ...attributes }),
    rule: ({ x: u, y: v }, attributes) => {
      const ends = u === undefined ? { x1: left, x2: right, y1: sy.go(v), y2: sy.go(v) } : { x1: sx.go(u), x2: sx.go(u), y1: top, y2: bottom };
      return put(svg("line", { ...ends, stroke: INK, ...attributes }));
    },
    box: (u0, u1, v0, v1, attributes) => {
      const [[px0, py0], [px1, py1]] = [at(u0, v0), at(u1, v1)];
      const size = { width: Math.abs(px1 - px0), height: Math.abs(py1 - py0) };
      return put(svg("rect", { x: Math.min(px0, px1), y: Math.min(py0, py1), ...size, ...attributes }));
    },
  };
}

/** Something to drag, in a panel: also a slider for the keyboard and for screen readers.
 *
 * label: what it moves. low, high: of the value. step: of an arrow key; page up and down move `big` of them. fine: what
 * dragging rounds to. wrap: goes round (angles). log: keys move by equal ratios. get(), set(value). from(px, py): the value at a place of the panel.
 * Returns show(px, py, text): where it stands, and its value in words. Call it whenever the state is drawn.
 */
export function handle(plot, { label, color = ACCENT, low, high, step = 1, fine = step, big = 10, wrap = false, log = false, get, set, from }) {
  const round = (value) => Number((Math.round(value / fine) * fine).toPrecision(12));
  const put = (value) => {
    const inside = wrap ? low + ((((value - low) % (high - low)) + high - low) % (high - low)) : value;
    set(clamp(round(inside), low, high));
  };
  const node = svg("g", { class: "handle", tabindex: 0, role: "slider", "aria-label": label, "aria-valuemin": low, "aria-valuemax": high });
  node.append(svg("circle", { r: 18, fill: "transparent" }), svg("circle", { r: 8, fill: color, stroke: "#fff", "stroke-width": 1.5 }));
  node.append(svg("circle", { r: 11, class: "ring" }));
  plot.front.append(node);
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    node.focus();
    event.preventDefault();
  });
  node.addEventListener("pointermove", (event) => {
    if (node.hasPointerCapture(event.pointerId)) put(from(...plot.place(event)));
  });
  node.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: big, PageDown: -big }[event.key];
    const end = { Home: low, End: high }[event.key];
    if (steps === undefined && end === undefined) return;
    event.preventDefault();
    if (end !== undefined) put(end);
    else if (log) put(steps > 0 ? Math.max(get() + step, get() * 1.05 ** steps) : Math.min(get() - step, get() * 1.05 ** steps));
    else put(get() + steps * step);
  });
  return (px, py, text) => {
    node.setAttribute("transform", `translate(${px} ${py})`);
    node.setAttribute("aria-valuenow", get());
    node.setAttribute("aria-valuetext", text);
  };
}

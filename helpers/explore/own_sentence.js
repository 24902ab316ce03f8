// One's own words through one attention head, in two orders: does each word's output move along with the word?
import {
  ACCENT, MUTED, clamp, diverging, fixed, hashedVector, html, panel, range, softmax, stage, sum, svg,
} from "./kit.js";

const [WIDTH, MOST, SAME] = [8, 8, 1e-9];

/** The first eight words, as they stand between blanks. */
export function words_of(sentence) {
  return sentence.split(/\s+/).filter(Boolean).slice(0, MOST);
}

/** The order to begin with: second and last word change places. */
export function swapped(count) {
  const order = range(count);
  if (count > 2) [order[1], order[count - 1]] = [order[count - 1], order[1]];
  return order;
}

/** A projection of the head, eight rows of eight. */
export function matrix(name) {
  const gain = Math.sqrt(((name === "value" ? 1 : 2) * 3) / WIDTH);
  const entries = hashedVector(name, WIDTH * WIDTH).map((entry) => gain * entry);
  return range(WIDTH).map((row) => entries.slice(row * WIDTH, (row + 1) * WIDTH));
}
const HEAD = Object.fromEntries(["query", "key", "value"].map((name) => [name, matrix(name)]));

const dot = (a, b) => sum(a.map((value, i) => value * b[i]));
const norm = (a, b) => Math.hypot(...a.map((value, i) => value - b[i]));
const mean = (rows) => range(WIDTH).map((channel) => sum(rows.map((row) => row[channel])) / rows.length);

/** Row of the sinusoidal table, base 10,000: sin and cos in turn. */
export function sinusoidal_row(position) {
  const angle = (channel) => position * 10000 ** (-2 * Math.floor(channel / 2) / WIDTH);
  return range(WIDTH).map((channel) => (channel % 2 ? Math.cos : Math.sin)(angle(channel)));
}

/** One head: [attention weights, outputs], a row for each word. */
export function attend(words, positions, mask) {
  const x = words.map((word, place) => {
    const row = positions === "sinusoidal" ? sinusoidal_row(place) : Array(WIDTH).fill(0);
    return hashedVector(word, WIDTH).map((entry, i) => entry + row[i]);
  });
  const project = (name) => x.map((vector) => HEAD[name].map((row) => dot(row, vector)));
  const [q, k, v] = ["query", "key", "value"].map(project);
  const hidden = (i, j) => mask === "causal" && j > i;
  const weights = q.map((query, i) => softmax(k.map((key, j) => (hidden(i, j) ? -Infinity : dot(query, key) / Math.sqrt(WIDTH)))));
  return [weights, weights.map((row) => range(WIDTH).map((channel) => sum(row.map((weight, j) => weight * v[j][channel]))))];
}

/** [how far each word's output moves, in the order typed; how far the mean of all outputs does]. */
export function changes(words, order, positions, mask) {
  const before = attend(words, positions, mask)[1];
  const after = attend(order.map((i) => words[i]), positions, mask)[1];
  const moved = words.map((_, i) => norm(after[order.indexOf(i)], before[i]));
  return [moved, norm(mean(after), mean(before))];
}

/** The order if it is one of that many words, else the one to begin with. */
export function order_for(count, order) {
  return order.length === count && range(count).every((i) => order.includes(i)) ? order : swapped(count);
}

/** The order after word i has moved to a place; the others close up. */
export function moved_to(order, i, place) {
  const others = order.filter((word) => word !== i);
  return [...others.slice(0, place), i, ...others.slice(place)];
}

// Where things stand in the panel: words and outputs as typed, lines, words and outputs in the other order.
const CELL = 11, STRIP = WIDTH * CELL;
const [TOP, BOTTOM] = [34, 200]; // baselines of the two lines of words
const HEIGHT = BOTTOM + STRIP + 66;
const cells = (vector, width) => vector.map((entry, i) => svg("rect", {
  x: 2 - width / 2, y: 12 + i * CELL, width: width - 4, height: CELL - 0.5, fill: diverging(entry),
}));
const cut = (word, width) => (word.length * 8.5 < width ? word : `${word.slice(0, Math.max(2, Math.floor(width / 8.5) - 1))}…`);

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "Your sentence in two orders", dragged: ["order"] });
  const shown = () => words_of(get("sentence"));
  const now = () => order_for(shown().length, get("order"));
  const plot = panel(figure, { height: HEIGHT, label: "output vectors of every word, as typed and in your order" });
  const orders = { "as typed": () => range(shown().length), reversed: () => range(shown().length).reverse(), "swap two": () => swapped(shown().length) };
  const buttons = Object.entries(orders).map(([name, order]) => {
    const button = html("button", { type: "button" }, name);
    button.addEventListener("click", () => set("order", order()));
    return button;
  });
  figure.append(html("div", { class: "buttons" }, ...buttons));
  let column = 100; // width of a word's column, set when drawn
  const center = (place) => column * (place + 0.5);

  // One group for each word of the other order: the word to drag, its output vector, and how far that has changed.
  const groups = range(MOST).map((i) => {
    const node = svg("g", { class: "handle", tabindex: 0, role: "slider", "aria-valuemin": 1 });
    plot.front.append(node);
    node.addEventListener("pointerdown", (event) => {
      node.setPointerCapture(event.pointerId);
      node.focus();
      event.preventDefault();
    });
    node.addEventListener("pointermove", (event) => {
      if (!node.hasPointerCapture(event.pointerId)) return;
      const place = clamp(Math.floor(plot.place(event)[0] / column), 0, shown().length - 1);
      if (now().indexOf(i) !== place) set("order", moved_to(now(), i, place));
    });
    node.addEventListener("keydown", (event) => {
      const [place, last] = [now().indexOf(i), shown().length - 1];
      const goal = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last }[event.key];
      if (goal === undefined) return;
      event.preventDefault();
      set("order", moved_to(now(), i, clamp(goal, 0, last)));
    });
    return node;
  });

  function still(word, vector, place, baseline) {
    const group = svg("g", { transform: `translate(${center(place)} ${baseline})` });
    group.append(svg("title", {}, word), svg("text", { "text-anchor": "middle" }, cut(word, column)), ...cells(vector, column));
    plot.back.append(group);
  }

  function draw() {
    plot.fit();
    const words = shown(), order = now();
    groups.forEach((node, i) => (node.style.display = i < words.length ? "" : "none"));
    plot.back.replaceChildren();
    if (!words.length) return say("Write at least one word.");
    column = Math.min(110, plot.width / (words.length + 1.4));
    const [positions, mask] = [get("positions"), get("mask")];
    const before = attend(words, positions, mask)[1];
    const after = attend(order.map((i) => words[i]), positions, mask)[1];
    const [moved, meanMoved] = changes(words, order, positions, mask);
    const meanAt = words.length + 0.4;
    const note = (text, y) => plot.back.append(svg("text", { x: 2, y, class: "title" }, text));
    note("Output vectors, as typed", 14);
    note("Output vectors, in your order: drag the words", BOTTOM - 22);
    words.forEach((word, i) => still(word, before[i], i, TOP));
    still("mean", mean(before), meanAt, TOP);
    still("mean", mean(after), meanAt, BOTTOM);
    order.forEach((i, place) => plot.back.append(svg("line", {
      x1: center(i), y1: TOP + STRIP + 16, x2: center(place), y2: BOTTOM - 40,
      stroke: i === place ? "#c4c4c4" : ACCENT, "stroke-width": 1.5,
    })));
    const number = (value, x, y) => svg("text", {
      x, y, "text-anchor": "middle", style: value > SAME ? `fill:${ACCENT};font-weight:600` : "",
    }, fixed(value));
    const under = 12 + STRIP + 17;
    plot.back.append(number(meanMoved, center(meanAt), BOTTOM + under));
    plot.back.append(svg("text", { x: 2, y: BOTTOM + under + 22 }, "Change of each vector (norm of the difference)"));
    words.forEach((word, i) => {
      const place = order.indexOf(i);
      groups[i].replaceChildren(
        svg("title", {}, word),
        svg("rect", { x: 2 - column / 2, y: -15, width: column - 4, height: 22, rx: 4, fill: "#eef3f7", stroke: MUTED }),
        svg("rect", { class: "ring", x: -column / 2, y: -17, width: column, height: STRIP + 50, rx: 4 }),
        svg("text", { "text-anchor": "middle" }, cut(word, column)), ...cells(after[place], column), number(moved[i], 0, under),
      );
      if (groups[i].hasAttribute("transform")) groups[i].classList.add("glides"); // not on the way to its first place
      groups[i].setAttribute("transform", `translate(${center(place)} ${BOTTOM})`);
      const about = { "aria-label": `place of “${word}”`, "aria-valuemax": words.length, "aria-valuenow": place + 1 };
      for (const [key, value] of Object.entries(about)) groups[i].setAttribute(key, value);
      groups[i].setAttribute("aria-valuetext", `place ${place + 1}, its vector changed by ${fixed(moved[i])}`);
    });
    say(told(words, order, moved, meanMoved));
  }
  return run(draw);
}

function told(words, order, moved, meanMoved) {
  if (order.every((i, place) => i === place)) return "Drag a word to another place.";
  const changed = words.map((word, i) => [word, moved[i]]).filter(([, value]) => value > SAME);
  const each = changed.map(([word, value]) => `${word} ${fixed(value)}`).join(", ");
  const vectors = changed.length
    ? `Vectors that changed: ${changed.length} of ${words.length} (${each}).`
    : `All ${words.length} words took their vectors along unchanged: equivariant.`;
  return `${vectors} Mean of all: ${meanMoved > SAME ? `changed by ${fixed(meanMoved)}.` : "unchanged, invariant."}`;
}
export default { render };

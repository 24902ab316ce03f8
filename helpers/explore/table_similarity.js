// Four position tables: the cosine of one row with every other.
import { ACCENT, MUTED, SCHEMES, axes, clamp, diverging, fixed, handle, panel, range, stage, sum, svg, ticks } from "./kit.js";

const WIDTH = 384;
const TABLES = ["MiniLM (trained)", "Whisper's encoder", "sinusoidal", "random"];
const SHADES = [SCHEMES.learned[0], SCHEMES.transformer_xl[0], SCHEMES.sinusoidal[0], MUTED];
export const rowsOf = (name) => (name === TABLES[1] ? 1500 : 512);

/** A number in [-1, 1) for each index (MurmurHash3's finalizer). */
export function noise(index) {
  let x = Math.imul(index, 0x9e3779b1);
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return ((x ^ (x >>> 16)) >>> 0) / 2 ** 31 - 1;
}

/** Rows at norm 1, one after the other, and how wide they are. MiniLM's are a factor of rank 96 in 8 bits. */
function unitRows(name) {
  if (name === TABLES[0]) {
    const bytes = Int8Array.from(atob(DATA.int8), (letter) => letter.charCodeAt(0));
    return { width: DATA.rank, values: Float64Array.from(bytes, (byte, i) => byte * DATA.scale[i % DATA.rank]) };
  }
  const values = Float64Array.from({ length: 512 * WIDTH }, (_, i) => noise(i));
  for (let start = 0; start < values.length; start += WIDTH) {
    const row = values.subarray(start, start + WIDTH);
    const norm = Math.sqrt(row.reduce((total, value) => total + value * value, 0));
    row.forEach((value, i) => (row[i] = value / norm));
  }
  return { width: WIDTH, values };
}

/** A function (row, other) -> cosine. In sinusoidal tables it depends on the distance alone. */
function cosineOf(name) {
  const rows = rowsOf(name);
  if (name === TABLES[1] || name === TABLES[2]) {
    const steps = name === TABLES[1] ? WIDTH / 2 - 1 : WIDTH / 2; // the original code's spacing, and the paper's
    const waves = range(WIDTH / 2).map((i) => 10000 ** (-i / steps));
    const byDistance = range(rows).map((d) => sum(waves.map((w) => Math.cos(d * w))) / waves.length);
    return (row, other) => byDistance[Math.abs(row - other)];
  }
  const { width, values } = unitRows(name);
  return (row, other) => {
    let total = 0;
    for (let i = 0; i < width; i++) total += values[row * width + i] * values[other * width + i];
    return total;
  };
}

/** Cosine of one row with every row. */
export const cosines = (name, row, cosine = cosineOf(name)) => range(rowsOf(name)).map((other) => cosine(row, other));

/** The map of a table as a picture, of every row or every second or third with every other. */
function picture(cosine, rows, every) {
  const size = rows / every;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(size, size);
  const words = new Uint32Array(pixels.data.buffer); // one word a pixel: alpha, blue, green, red
  const colors = range(201).map((i) => {
    const [red, green, blue] = diverging(i / 100 - 1).match(/\d+/g).map(Number);
    return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
  });
  for (let y = 0; y < size; y++) {
    for (let x = 0; x <= y; x++) {
      const value = cosine(y * every, x * every);
      words[y * size + x] = words[x * size + y] = colors[clamp(Math.round(100 * value) + 100, 0, 200)];
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "Similarity of position vectors" });
  const map = panel(figure, { width: 360, height: 360, label: "Cosine of every row with every other" });
  const curve = panel(figure, { width: 360, height: 360, label: "Cosine of the chosen row with every other" });
  const [functions, maps] = [new Map(), new Map()];
  const known = (store, name, make) => store.get(name) ?? store.set(name, make()).get(name);
  const cosine = (name) => known(functions, name, () => cosineOf(name));
  let at = null;
  const show = handle(map, {
    label: "row", low: 0, high: 1499, get: () => Math.min(get("row"), rowsOf(get("table")) - 1),
    set: (value) => set("row", Math.min(value, rowsOf(get("table")) - 1)), from: (px, py) => at.value(px, py)[1],
  });

  return run(() => {
    const name = get("table");
    const rows = rowsOf(name);
    const row = Math.min(get("row"), rows - 1);
    const sides = { low: 0, high: rows, ticks: ticks(0, rows - 1) };
    at = axes(map, { title: "Every row with every row", x: { ...sides, label: "position" }, y: { ...sides, low: rows, high: 0, label: "row" } });
    const href = known(maps, name, () => picture(cosine(name), rows, { [TABLES[1]]: 3, [TABLES[3]]: 2 }[name] ?? 1));
    const box = { x: at.left, y: at.top, width: at.right - at.left, height: at.bottom - at.top };
    map.back.append(svg("image", { href, ...box, preserveAspectRatio: "none" }));
    at.rule({ y: row + 0.5 }, { stroke: ACCENT, "stroke-width": 2 });
    show(at.right, at.at(0, row + 0.5)[1], `row ${row}`);

    const values = cosines(name, row, cosine(name));
    const one = axes(curve, {
      title: `Row ${row} with every row`, x: { ...sides, label: "position" }, y: { low: -0.8, high: 1.05, ticks: [-0.5, 0, 0.5, 1], label: "cosine" },
    });
    one.rule({ y: 0 }, { stroke: MUTED });
    one.line(range(rows), values.map((value) => clamp(value, -0.8, 1.05)), { stroke: SHADES[TABLES.indexOf(name)], "stroke-width": 1.6 });
    one.rule({ x: row }, { stroke: ACCENT, "stroke-width": 2 });

    const far = range(rows).filter((other) => Math.abs(other - row) > 5);
    const [lowest, highest] = [Math.min, Math.max].map((pick) => pick(...far.map((other) => values[other])));
    const best = far.find((other) => values[other] === highest);
    const near = row + 1 < rows ? row + 1 : row - 1;
    say(`${name}, row ${row}: cosine ${fixed(values[near])} with row ${near}. More than five rows away it lies between ` +
      `${fixed(lowest)} and ${fixed(highest)}; the most similar of those is row ${best}, ${fixed(Math.abs(best - row), 0)} away.`);
  });
}
export default { render };

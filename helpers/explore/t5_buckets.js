// T5's buckets: which distances share one learned number.
import { ACCENT, MUTED, SCHEMES, axes, clamp, fixed, handle, panel, range, short, stage, svg, ticks } from "./kit.js";

const FAR = 600;
const DECODER = "causal decoder";
const single = Math.fround; // the published code takes this logarithm in single precision

/** Bucket of a signed distance, key minus query. */
export function bucketOf(distance, buckets, maxDistance, direction) {
  const both = direction !== DECODER;
  const side = both ? buckets / 2 : buckets;
  const n = both ? Math.abs(distance) : Math.max(0, -distance);
  const exact = Math.floor(side / 2);
  const future = both && distance > 0 ? side : 0;
  if (n < exact) return n + future;
  const growth = single(single(Math.log(single(n / exact))) / single(Math.log(maxDistance / exact)));
  return Math.min(exact + Math.floor(single(growth * (side - exact))), side - 1) + future;
}

/** The distances from -FAR to FAR that each bucket holds, as [nearest to -FAR, nearest to FAR]; null for none. */
export function spans(buckets, maxDistance, direction) {
  const found = range(buckets).map(() => null);
  for (const distance of range(2 * FAR + 1, -FAR)) {
    const bucket = bucketOf(distance, buckets, maxDistance, direction);
    found[bucket] = [found[bucket]?.[0] ?? distance, distance];
  }
  return found;
}

/** "−12 to −10", "−3", "113 and more", "everything from 0 on". */
function words([low, high]) {
  const number = (value) => fixed(value, 0);
  if (high === FAR) return low <= 0 ? `${number(low)} and everything ahead` : `${number(low)} and more`;
  if (low === -FAR) return `${number(high)} and everything further back`;
  return low === high ? number(low) : `${number(low)} to ${number(high)}`;
}

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "Buckets of T5", dragged: ["distance"] });
  const stairs = panel(figure, { width: 360, height: 320, label: "Bucket against distance" });
  const counts = panel(figure, { width: 360, height: 320, label: "How many distances each bucket holds" });
  let at = null;
  const show = handle(stairs, {
    label: "distance, key minus query", low: -FAR, high: FAR, big: 10, get: () => get("distance"),
    set: (value) => set("distance", value), from: (px, py) => clamp(at.value(px, py)[0], -edge(), edge()),
  });
  const edge = () => Math.min(FAR, Math.round(1.25 * get("max_distance")));

  return run(() => {
    const [buckets, maxDistance, direction, distance] = ["buckets", "max_distance", "direction", "distance"].map(get);
    const held = spans(buckets, maxDistance, direction);
    const mine = bucketOf(distance, buckets, maxDistance, direction);
    const unused = range(buckets).filter((bucket) => !held[bucket]);
    const shown = Math.max(edge(), Math.abs(distance));
    const y = { low: -1, high: buckets, label: "bucket", ticks: ticks(0, buckets - 1) };
    at = axes(stairs, { title: "Each step is one bucket", x: { low: -shown, high: shown, label: "key minus query (tokens)" }, y });
    const inside = ([low, high]) => [Math.max(low - 0.5, -shown), Math.min(high + 0.5, shown)];
    at.box(...inside(held[mine]), -1, buckets, { fill: ACCENT, opacity: 0.15 });
    held.forEach((span, bucket) => {
      if (!span) return;
      const [low, high] = inside(span);
      const attributes = bucket === mine ? { stroke: ACCENT, "stroke-width": 5 } : { stroke: SCHEMES.t5[0], "stroke-width": 3 };
      if (high > low) at.line([low, high], [bucket, bucket], attributes);
    });
    for (const bucket of unused) {
      at.rule({ y: bucket }, { stroke: MUTED, "stroke-dasharray": "2 4" });
      at.text(-shown, bucket, `${bucket}: no distance`, { dx: 4, dy: -4 });
    }
    show(...at.at(distance, mine), `${distance}: bucket ${mine}`);

    const sizes = held.map((span) => (span ? span[1] - span[0] + 1 : 0));
    const bars = axes(counts, { title: "Distances in it", x: { low: 0.7, high: 1300, log: true, ticks: [1, 10, 100, 1000], label: `distances (to ±${FAR})` }, y, margin: { left: 40 } });
    sizes.forEach((size, bucket) => {
      if (size) bars.box(0.7, size, bucket - 0.4, bucket + 0.4, { fill: bucket === mine ? ACCENT : SCHEMES.t5[0] });
      else counts.back.append(svg("text", { x: bars.left + 4, y: bars.at(1, bucket)[1] + 4 }, `${bucket}: none`));
    });
    const where = distance === 0 ? "the query itself" : distance < 0 ? "back" : "ahead";
    const last = direction === DECODER ? buckets - 1 : buckets / 2 - 1;
    const never = unused.length ? `Never used: bucket ${unused.join(", ")}. ` : "Every bucket is used. ";
    say(`Distance ${fixed(distance, 0)} (${where}): bucket ${mine}, which holds ${words(held[mine])}. ` +
      `The last bucket of the past, ${last}, starts ${short(-held[last][1])} back, with max_distance ${maxDistance}. ${never}`);
  });
}
export default { render };

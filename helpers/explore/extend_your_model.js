// A published configuration, or the reader's own, under every rule of context extension.
import { ACCENT, INK, MUTED, axes, fixed, handle, html, panel, range, short, stage, ticks } from "./kit.js";

// ------------------------------------------------------------------------------------------------ frequencies

const clamped = (value) => Math.min(Math.max(value, 0), 1);
const frequencies = (width, base) => range(width / 2).map((i) => base ** ((-2 * i) / width));
const turnsOf = (inverse, length) => inverse.map((f) => (length * f) / (2 * Math.PI));
const blend = (plain, factor, keep) => plain.map((f, i) => keep[i] * f + ((1 - keep[i]) * f) / factor);
const temperature = (factor, mscale = 1) => 0.1 * mscale * Math.log(factor) + 1;
const largerBase = ({ width, base, factor }) => base * factor ** (width / (width - 2));

function yarn({ width, base, factor, original, beta_fast = 32, beta_slow = 1, truncate = true }) {
  const pairAt = (turns) => (width * Math.log(original / (2 * Math.PI * turns))) / (2 * Math.log(base));
  const round = truncate ? [Math.floor, Math.ceil] : [(x) => x, (x) => x];
  const low = Math.max(round[0](pairAt(beta_fast)), 0);
  let high = Math.min(round[1](pairAt(beta_slow)), width - 1);
  if (high === low) high += 0.001;
  return blend(frequencies(width, base), factor, range(width / 2).map((i) => 1 - clamped((i - low) / (high - low))));
}

/** The ramp in turns: NTK by parts has 1 and 32, Llama 3 has 1 and 4. */
function byTurns({ width, base, factor, original }, slow, fast) {
  const plain = frequencies(width, base);
  const keep = turnsOf(plain, original).map((r) => (fast > slow ? clamped((r - slow) / (fast - slow)) : Number(r >= slow)));
  return blend(plain, factor, keep);
}

function longrope({ width, base, factor, original, length, lists, attention }) {
  const divisors = length > original ? lists.long_factor : lists.short_factor;
  const inverse = frequencies(width, base).map((f, i) => f / divisors[i]);
  return { inverse, attention: attention ?? Math.sqrt(1 + Math.log(factor) / Math.log(original)) };
}

const AS_PUBLISHED = "as the file says";
/** Each rule: shape {width, base, factor, original, length, baseTimes} -> {inverse, attention}. */
const RULES = {
  "position interpolation": (s) => ({ inverse: frequencies(s.width, s.base).map((f) => f / s.factor) }),
  "NTK-aware": (s) => ({ inverse: frequencies(s.width, largerBase(s)) }),
  "dynamic NTK": (s) => {
    const growth = Math.max(s.length, s.original) / s.original;
    return { inverse: frequencies(s.width, largerBase({ ...s, factor: 1 + s.factor * (growth - 1) })) };
  },
  "NTK by parts": (s) => ({ inverse: byTurns(s, 1, 32) }),
  YaRN: (s) => ({ inverse: yarn(s), attention: temperature(s.factor) }),
  "Llama 3": (s) => ({ inverse: byTurns(s, 1, 4) }),
  "larger base": (s) => ({ inverse: frequencies(s.width, s.base * s.baseTimes) }),
};

/** The frequencies of a file's own rule at a length in tokens. */
function published({ kind, rope, width, base, factor, original }, length) {
  const shape = { width, base, factor, original, length };
  if (kind === "default") return { inverse: frequencies(width, base) };
  if (kind === "linear") return RULES["position interpolation"](shape);
  if (kind === "dynamic") return RULES["dynamic NTK"](shape);
  if (kind === "llama3") return { inverse: byTurns(shape, rope.low_freq_factor, rope.high_freq_factor) };
  if (kind === "longrope") return longrope({ ...shape, lists: rope, attention: rope.attention_factor });
  const { beta_fast, beta_slow, truncate, mscale, mscale_all_dim } = rope;
  const given = Object.fromEntries(Object.entries({ beta_fast, beta_slow, truncate }).filter(([, value]) => value != null));
  const pair = mscale && mscale_all_dim ? temperature(factor, mscale) / temperature(factor, mscale_all_dim) : temperature(factor);
  return { inverse: yarn({ ...shape, ...given }), attention: rope.attention_factor ?? pair };
}

/** What a rule makes of a text of factor x original tokens; null for LongRoPE where the file has no lists. */
export function extended(found, rule, factor, original, baseTimes) {
  const length = Math.round(factor * original);
  const { width, base } = found;
  let made;
  if (rule === AS_PUBLISHED) made = published(found, length);
  else if (rule !== "LongRoPE") made = RULES[rule]({ width, base, factor, original, length, baseTimes });
  else if (found.kind !== "longrope") return null;
  else made = published({ ...found, rope: { ...found.rope, attention_factor: null } }, Math.round(found.factor * found.original));
  return { inverse: made.inverse, attention: made.attention ?? 1 };
}

// ------------------------------------------------------------------------------------------------ config.json

// What helpers/encodings/config.py reads, without its rarer families. What is missing is named, never guessed.
const NAMES = {
  hidden_size: ["hidden_size", "n_embd", "n_embed", "d_model"],
  num_attention_heads: ["num_attention_heads", "n_head", "n_heads", "num_heads"],
  max_position_embeddings: ["max_position_embeddings", "n_positions", "max_seq_len", "seq_length"],
  rope_theta: ["rope_theta", "rotary_emb_base"],
  partial_rotary_factor: ["partial_rotary_factor", "rotary_pct"],
  original_max_position_embeddings: ["original_max_position_embeddings", "initial_context_length"],
};
const BASE_IN_CODE = ["codegen", "falcon", "gptj", "llama", "roformer"]; // 10,000
const SAME_CODE = { kimi_k2: "deepseek_v3", RefinedWeb: "falcon", RefinedWebModel: "falcon" };
const NOT_ROTATED = `bert bart deberta deberta-v2 distilbert electra gpt2 gpt_bigcode gpt_neo opt roberta vit
  bloom mpt mosaic_gpt replit_lm mt5 switch_transformers t5 umt5`.split(/\s+/);
const NEEDS = {
  default: [], linear: ["factor"], dynamic: ["factor"], yarn: ["factor"], longrope: ["short_factor", "long_factor"],
  llama3: ["factor", "low_freq_factor", "high_freq_factor"],
};
const KINDS = { su: "longrope", mrope: "default" };

function refuse(words) {
  throw new Error(words);
}
function value(text, name, why) {
  const found = (NAMES[name] ?? [name]).filter((key) => text[key] !== undefined && text[key] !== null);
  if (!found.length && why) refuse(`"${name}" is missing: ${why}.`);
  for (const key of found) if (text[key] !== text[found[0]]) refuse(`"${found[0]}" and "${key}" say different things.`);
  return found.length ? text[found[0]] : undefined;
}
function positive(name, number, whole = false) {
  if (typeof number !== "number" || !(number > 0) || !Number.isFinite(number) || (whole && !Number.isInteger(number)))
    refuse(`"${name}" is ${JSON.stringify(number)}: it must be a ${whole ? "whole " : ""}number above 0.`);
  return number;
}

/** What a configuration says of its rotation. Throws an Error that names the key that is missing or wrong. */
function readConfig(config) {
  if (typeof config !== "object" || config === null || Array.isArray(config)) refuse("This is not one JSON object { ... }.");
  const inner = ["text_config", "llm_config", "language_config"].map((key) => config[key]).find((each) => each && typeof each === "object");
  const text = inner ?? config;
  const type = String(text.model_type ?? "").replace(/_text$/, "");
  const family = SAME_CODE[type] ?? type;
  if (NOT_ROTATED.includes(family) || text.alibi === true) refuse(`Models of type "${family}" do not rotate: no frequencies to set.`);
  let rope = text.rope_parameters ?? text.rope_scaling ?? {};
  const sets = Object.entries(rope).filter(([key, each]) => key.endsWith("attention") && each && typeof each === "object");
  if (sets.length) rope = (sets.find(([key]) => key === "full_attention") ?? sets[0])[1]; // the layers that see furthest
  const named = rope.rope_type ?? rope.type ?? "default";
  const kind = KINDS[named] ?? named;
  if (!(kind in NEEDS)) refuse(`"rope_type" is ${JSON.stringify(named)}; this page knows ${Object.keys(NEEDS).join(", ")}.`);
  for (const key of NEEDS[kind]) if (rope[key] == null) refuse(`"${key}" is missing: rope_type "${kind}" needs it.`);

  let part = text.qk_rope_head_dim, headDim = text.head_dim;
  const last = part != null;
  if (last) headDim = positive("qk_rope_head_dim", part, true) + positive("qk_nope_head_dim", value(text, "qk_nope_head_dim", "it completes the head"), true);
  else if (headDim == null) {
    const hidden = positive("hidden_size", value(text, "hidden_size", "hidden_size / num_attention_heads is the width of a head"), true);
    const heads = positive("num_attention_heads", value(text, "num_attention_heads", "hidden_size / num_attention_heads is the width of a head"), true);
    headDim = hidden / heads;
  }
  part ??= positive("head_dim", headDim, true);
  const share = rope.partial_rotary_factor ?? value(text, "partial_rotary_factor");
  const width = text.rotary_dim ?? (share == null ? part : Math.trunc(part * positive("partial_rotary_factor", share)));
  if (width % 2 || width < 4 || width > part) refuse(`The rotated width would be ${width} of ${part} channels; it must be even, and at least 4.`);

  const inCode = BASE_IN_CODE.includes(family) ? 10000 : undefined;
  const base = positive("rope_theta", rope.rope_theta ?? value(text, "rope_theta", inCode ? "" : "it is the base of the frequencies") ?? inCode);
  const declared = value(text, "max_position_embeddings");
  let original = rope.original_max_position_embeddings ?? value(text, "original_max_position_embeddings");
  if (["yarn", "longrope", "llama3"].includes(kind)) {
    if (original == null) refuse(`"original_max_position_embeddings" is missing: rope_type "${kind}" counts from it.`);
  } else original = declared;
  if (original == null) refuse('"max_position_embeddings" is missing: the length that the model was trained on.');
  positive("the original length", original, true);
  let factor = rope.factor ?? undefined;
  if (kind === "longrope" && factor == null) {
    factor = positive("max_position_embeddings", value(text, "max_position_embeddings", "divided by the original length it is the factor")) / original;
  }
  if (factor != null) positive("factor", factor);
  if (kind === "longrope") {
    for (const key of NEEDS.longrope) if (rope[key].length !== width / 2) refuse(`"${key}" has ${rope[key].length} numbers, one per rotated pair would be ${width / 2}.`);
  }
  return { family, kind, rope, width, headDim, last, base, declared: declared ?? null, original, factor: factor ?? null };
}

/** { found, problem } of the text of a config.json; one of them is null. */
export function read(text) {
  try {
    return { found: readConfig(JSON.parse(text)), problem: null };
  } catch (error) {
    return { found: null, problem: error instanceof SyntaxError ? `This is not JSON yet: ${error.message}` : error.message };
  }
}

/** The keys to write, or null with the reason: { keys, note }. */
export function edit(found, rule, factor, original, baseTimes, spelling) {
  const length = Math.round(factor * original);
  const at = { factor, original_max_position_embeddings: original };
  let [rope, base, limit, note] = [null, found.base, length, ""];
  if (rule === AS_PUBLISHED) return { keys: null, note: "The file stays as it is." };
  if (rule === "LongRoPE" && found.kind !== "longrope") {
    return { keys: null, note: "This file has no lists. LongRoPE's divisors are found by search: no formula gives them." };
  }
  if (rule === "LongRoPE") {
    return { keys: null, note: `The file has its lists, for factor ${short(found.factor)}; the dials do not move them. Another length needs a new search.` };
  }
  if (rule === "position interpolation") rope = { rope_type: "linear", factor };
  if (rule === "NTK-aware") {
    base = Number(largerBase({ ...found, factor }).toPrecision(12));
    note = "NTK-aware is another base, and no kind of its own.";
  }
  if (rule === "dynamic NTK") {
    [rope, limit] = [{ rope_type: "dynamic", factor }, original];
    note = "The code counts from max_position_embeddings, so that stays the original length; drawn at the wanted length.";
  }
  if (rule === "NTK by parts") {
    rope = { rope_type: "llama3", ...at, low_freq_factor: 1, high_freq_factor: 32 };
    note = "transformers has no kind of that name. Its llama3 with 1 and 32 turns is the same ramp.";
  }
  if (rule === "YaRN") rope = { rope_type: "yarn", ...at };
  if (rule === "Llama 3") rope = { rope_type: "llama3", ...at, low_freq_factor: 1, high_freq_factor: 4 };
  if (rule === "larger base") {
    base = found.base * baseTimes;
    note = "A larger base asks for training on long texts.";
  }
  if (["codegen", "gptj", "roformer"].includes(found.family)) note += " This model's code has its frequencies built in and reads no key.";
  if (/^phi3/.test(found.family)) note += " For this type transformers takes only default and longrope.";
  const share = found.width < found.headDim && !found.last ? { partial_rotary_factor: found.width / found.headDim } : {};
  const keys = spelling === "rope_parameters"
    ? { rope_parameters: { rope_type: "default", ...rope, rope_theta: base, ...share }, max_position_embeddings: limit }
    : { rope_theta: base, rope_scaling: rope, ...share, max_position_embeddings: limit };
  return { keys, note: note.trim() };
}

// ------------------------------------------------------------------------------------------------ the drawing

/** A box for a config.json of one's own; taken(found or null) is called when it can be read, or is emptied. */
function pasteBox(taken) {
  const box = html("textarea", { rows: 5, spellcheck: "false", "aria-label": "config.json", style: "width:100%;font:13px monospace;color:#1a1a1a;background:#fff" });
  const verdict = html("p", { "aria-live": "polite", style: "margin:4px 0" });
  box.addEventListener("input", () => {
    verdict.textContent = "";
    if (!box.value.trim()) return taken(null);
    const { found, problem } = read(box.value);
    verdict.textContent = problem ?? `Read: ${found.width / 2} pairs, base ${fixed(found.base, 0)}, original length ${fixed(found.original, 0)}, rope_type ${found.kind}.`;
    taken(found);
  });
  return html("details", { style: "margin-top:8px" }, html("summary", {}, "Paste a config.json of your own (it stays in this page)"), box, verdict);
}

function render({ model, el }) {
  const { figure, get, set, say, run } = stage({ model, el, label: "Extend a model", dragged: ["pair"] });
  const slow = panel(figure, { width: 360, height: 280, label: "By how much each pair is slowed" });
  const turn = panel(figure, { width: 360, height: 280, label: "Turns of each pair" });
  const code = html("pre", { tabindex: 0, "aria-label": "edit of config.json", style: "margin:0;padding:8px;background:#f5f5f5;color:#1a1a1a;overflow:auto;font-size:13px;white-space:pre-wrap" });
  const note = html("p", { style: "margin:4px 0 0" });
  let [own, at, chosen] = [null, null, get("model")];
  const listed = new Map(Object.entries(DATA).map(([name, { config }]) => [name, readConfig(config)]));
  const current = () => own ?? listed.get(get("model"));
  const paste = pasteBox((found) => {
    if (found || own) set("original", (found ?? listed.get(get("model"))).original);
    own = found;
    draw();
  });
  figure.after(html("div", { style: "margin-top:8px" }, "Write into config.json:", code, note), paste);
  const show = handle(slow, {
    label: "pair", low: 0, high: 127, get: () => Math.min(get("pair"), current().width / 2 - 1),
    set: (value) => set("pair", Math.min(value, current().width / 2 - 1)), from: (px, py) => at.value(px, py)[0],
  });

  function draw() {
    if (get("model") !== chosen) { // another file: its own length, and no longer the pasted one
      [chosen, own] = [get("model"), null];
      set("original", listed.get(chosen).original);
    }
    const found = current();
    const [rule, factor, original, baseTimes, spelling] = ["rule", "factor", "original", "base_times", "spelling"].map(get);
    const length = Math.round(factor * original);
    const plain = frequencies(found.width, found.base);
    const pairs = range(plain.length);
    const pair = Math.min(get("pair"), plain.length - 1);
    const made = [AS_PUBLISHED, ...Object.keys(RULES), "LongRoPE"].map((name) => [name, extended(found, name, factor, original, baseTimes)]);
    const curves = made.filter(([, each]) => each).map(([name, each]) => [name, each.inverse.map((f, i) => plain[i] / f)]);
    const mine = curves.find(([name]) => name === rule)?.[1];
    const high = Math.max(2 * factor, ...(mine ?? []), 2);
    const low = Math.min(0.9, ...(mine ?? []));
    const x = { low: -0.5, high: plain.length - 0.5, label: "pair, fast to slow", ticks: ticks(0, plain.length - 1) };
    at = axes(slow, { title: `Slowed by: ${rule}`, x, y: { low, high, log: true, ticks: range(14).map((i) => 2 ** i).filter((t) => t <= high).filter((_, i, all) => all.length < 9 || i % 2 === 0) } });
    const inside = (values) => values.map((s) => Math.min(Math.max(s, low), high));
    for (const [name, values] of curves) if (name !== rule) at.line(pairs, inside(values), { stroke: MUTED, "stroke-width": 1 });
    if (mine) at.line(pairs, mine, { stroke: ACCENT, "stroke-width": 3.5 });
    at.rule({ x: pair }, { stroke: INK });
    show(...at.at(pair, mine ? mine[pair] : 1), `pair ${pair}${mine ? `, slowed by ${fixed(mine[pair])}` : ""}`);

    const before = turnsOf(plain, original);
    const after = mine ? turnsOf(plain.map((f, i) => f / mine[i]), length) : null;
    const floor = Math.min(...before, ...(after ?? [])) / 1.5;
    const shown = axes(turn, { title: "Turns", x, y: { low: Math.min(floor, 0.5), high: 2 * Math.max(...before, ...(after ?? [])), log: true } });
    const first = before.findIndex((r) => r < 1);
    if (first >= 0) shown.box(first - 0.5, plain.length - 0.5, Math.min(floor, 0.5), 1, { fill: MUTED, opacity: 0.25 });
    shown.rule({ y: 1 }, { stroke: MUTED, "stroke-dasharray": "5 4" });
    shown.line(pairs, before, { stroke: INK, "stroke-width": 2 });
    if (after) shown.line(pairs, after, { stroke: ACCENT, "stroke-width": 2.5, "stroke-dasharray": "6 4" });
    shown.rule({ x: pair }, { stroke: INK });
    const key = (words, row, color) => shown.text(plain.length - 0.5, 2 * Math.max(...before, ...(after ?? [])), words, { "text-anchor": "end", dx: -4, dy: 14 + 17 * row, style: `fill:${color}` });
    key(`as trained, in ${fixed(original, 0)} tokens`, 0, INK);
    if (after) key(`now (dashed), in ${fixed(length, 0)} tokens`, 1, "#a34700");

    const { keys, note: words } = edit(found, rule, factor, original, baseTimes, spelling);
    code.textContent = keys ? JSON.stringify(keys, null, 1) : "(nothing)";
    note.textContent = words;
    const unfinished = before.filter((r) => r < 1).length;
    const attention = made.find(([name]) => name === rule)[1]?.attention;
    say(`${own ? "Your file" : chosen}: ${unfinished} of ${plain.length} pairs ${unfinished === 1 ? "does" : "do"} not finish a turn in ${fixed(original, 0)} tokens. ` +
      `Pair ${pair}: ${short(before[pair])} turns there${mine ? `; slowed by ${fixed(mine[pair])}, ${short(after[pair])} turns in ${fixed(length, 0)}` : ""}. ` +
      (attention && Math.abs(attention - 1) > 1e-9 ? `cos and sin are multiplied by ${fixed(attention, 4)}.` : ""));
  }
  return run(draw);
}
export default { render };

"""What the sentences of notebook 06 rest on, asserted on its own values after the last cell."""

from helpers import scorecard
from helpers.encodings.extension import extend, rotations
from helpers.encodings.rope import rope_frequencies

mean = np.mean


def of(method, factor, length=None):
    return np.array(recorded.values(method, factor, length))


def every(values, low=-np.inf, high=np.inf):
    values = np.asarray(values)
    return bool(((low < values) & (values < high)).all())


# the first picture
by_block = {m: mean(recorded.blocks(m, 8), axis=0) for m in ("none", "pi", "ntk", "yarn")}  # by blocks of 8 positions
assert max(at_500, key=at_500.get) == "as trained" and by_block["none"][:8].mean() < by_block["yarn"][:8].mean()
assert (by_block["ntk"][:32] < by_block["yarn"][:32]).all(), "NTK-aware is ahead until past the middle"
assert (by_block["ntk"][40:] > by_block["yarn"][40:] + 0.3).all() and abs(by_block["pi"][1:] - 3).max() < 0.25

# clocks, and one pair at a time
assert (trained * theta / (2 * math.pi) >= 1).sum() == 3 and round(500 * theta[3].item() / (2 * math.pi), 1) == 2.5
assert (512 * theta[6:]).rad2deg().round().tolist() == [29, 9]
repairs = [of("none", 4) - recorded.pair(p, 256) for p in range(8)]
lost = of("none", 4) - of("none", 8, 64)
assert every(repairs[3], 0.75, 1.05) and every(lost, 0.95, 1.35) and np.argmax([r.mean() for r in repairs]) == 3
assert all((repairs[3] > r).all() for p, r in enumerate(repairs) if p != 3), "on each of the seeds"
assert 0.2 < repaired[1] < 0.4 and 0.2 < repaired[2] < 0.4 and abs(repaired[4:]).max() < 0.06
assert cost.argmax() == 0 and 0.4 < cost[0] < 0.6 and abs(cost[4:]).max() < 0.02
second = context_extension.recorded("fair")
damage = np.array(second.values("none", 4))
back = [damage - second.pair(p, 256) for p in range(8)]
assert every(back[3], 1.3, 1.4) and every(damage - second.values("none", 8, 64), 1.6, 1.8)
assert every(back[1:3], high=0.1)
assert abs(np.array(back[4:])).max() < 0.06

# the rules
every_rule = pictures.nb06.slow_downs(8, 128, 1e4, 4096)
often = rotations(rope_frequencies(128), 4096).numpy() > 32
never = rotations(rope_frequencies(128), 4096).numpy() < 1
assert often.nonzero()[0].max() == 20 and never.nonzero()[0].min() == 46, "the two pairs of the table"
most = {rule: round(float(every_rule[rule][often].max()), 1) for rule in ("pi", "ntk", "dynamic_ntk", "abf")}
assert most == {"pi": 8, "ntk": 1.9, "dynamic_ntk": 1.9, "abf": 3.4} and round(float(every_rule["ntk"][46]), 1) == 4.6
assert (every_rule["p_rope"][often] == 1).all() and np.allclose(every_rule["ntk"], every_rule["dynamic_ntk"])
for rule in ("ntk_by_parts", "yarn_paper", "yarn", "llama3"):
    assert np.allclose(every_rule[rule][often], 1) and np.allclose(every_rule[rule][never], 8), rule
assert (every_rule["ntk"][never] < 8)[:-1].all(), "NTK reaches the factor at the last pair only"
for rule, mine in (("pi", position_interpolation(llama, 8)), ("ntk", ntk_aware(128, 1e4, 8))):
    assert torch.allclose(mine, extend(rule, 128, 1e4, 8, 4096).inv_freq), rule
assert torch.allclose(by_parts(llama, 8, 4096), extend("ntk_by_parts", 128, 1e4, 8, 4096).inv_freq)
assert (by == 1).sum() == 29 == (by > 7.999).sum() and extend("llama3", 128, 5e5, 8, 8192).attention_factor == 1
assert round(yarn_according_to_many_pages(10_000.0, 16, 128)) == 167_199
assert ((snippet / extend("yarn", 128, 1e4, 16, 4096).inv_freq - 1).abs() > 0.01).sum() == 62
ratio = extend("yarn", 128, 1e4, 16, 4096).inv_freq / by_parts(llama, 16, 4096)
assert 3.0 < ratio.max() < 3.1, "the two ramps differ by up to three"
race_paper = frequencies(16) / extend("yarn", 16, 1e4, 8, 64, ramp="paper").inv_freq
race_code = frequencies(16) / extend("yarn", 16, 1e4, 8, 64).inv_freq
assert race_paper.min() > 2.5 and (race_paper[1:] > 5).all() and race_code[0] == 1
assert (race_paper[2:] > 7.9).all(), "six of eight by the full factor"

# the temperature
assert round(f * f, 2) == 1.63
grown_table = {name: [round(x, 2) for x in row] for name, row in grown.items()}
assert grown_table == {"q and k": [1.63, 1.63], "cos and sin": [1.63, 1.0], "softmax scale": [1.63, 1.63]}
for name, mscale, words in (("deepseek-v3", 1, "softmax x1.87"), ("deepseek-v2-lite", 0.707, "softmax x1.59")):
    row = in_use(configs / f"{name}.json")
    assert row["temperature"] == words and row["turning"] == "64 of 192" and "x40" in row["rule"]
    assert f"{(0.1 * mscale * math.log(40) + 1) ** 2:.2f}" in words
full = (0.1 * math.log(40) + 1) ** 2
shares = [i / 24 for i in range(1, 25) if i / 24 * full + 1 - i / 24 >= 0.9 * full]
assert shares[0] == 19 / 24 and round(full / 3 + 2 / 3, 2) == 1.29

# without training
own_length = of("none", 8, 64)
if live:
    assert all(abs(live[m] - of(m, asked)[seed % 5]) < 0.02 for m in live), "the recorded seed, again"
assert all(every(of(m, 2) - own_length, high=0.1) for m in ("yarn", "llama3"))
assert [round(mean(of(m, 8) - own_length), 1) for m in ("yarn", "llama3")] == [0.5, 0.7]
assert all(every(of(m, 2) - of("ntk", 2), 0.0, 0.035) for m in ("yarn", "llama3")), "NTK-aware is lowest at 2x"
assert every(of("yarn", 4) - of("ntk", 4), high=-0.05) and every(of("yarn", 8) - of("ntk", 8), high=-0.4)
assert every(of("pi", 2) - of("none", 2), 0.1) and every(of("yarn_paper", 2) - of("none", 2), 0.0)
gains = [recorded.center("ntk", 4) - recorded.center(m, 4) for m in ("yarn", "yarn-t")]
assert [round(x, 2) for x in gains] == [0.22, 0.19]
at_64 = {m: mean(of(m, 8, 64) - own_length) for m in context_extension.LEADING if m != "none"}
assert min(at_64.values()) > 0.05 and min(at_64, key=at_64.get) == "ntk"
assert [round(at_64[m], 2) for m in ("ntk", "pi")] == [0.09, 1.25]
assert [round(mean(of("yarn", s) - own_length), 2) for s in (2, 4, 8)] == [0.06, 0.2, 0.46], "the guide's numbers"
assert round(mean(of("ntk", 2) - own_length), 2) == 0.04
assert [round(mean(recorded.sweep(s, n)), 2) for s, n in ((8, 256), (64, 512))] == [2.01, 2.24], "NTK-aware, larger"
assert round(recorded.center("yarn", 8), 2) == 2.24
assert every(np.subtract(recorded.sweep(64, 512), of("yarn", 8)), -0.1, 0.1)

# some training
assert every([tuned["pi"] - tuned[m] for m in tuned if m != "pi"], 0.03), "PI stays last"
after_60 = [mean(tuned[m]) for m in ("ntk", "yarn", "llama3", "abf")]
assert max(after_60) - min(after_60) < 0.025 and every([tuned["none"] - tuned[m] for m in ("ntk", "yarn", "llama3")], 0)
assert every(np.subtract(recorded.tuned("pi", 240, 256), recorded.tuned("none", 240, 256)), 0.02)
for m in tuned:  # of what was lost, 20 steps give back most
    assert every((of(m, 4) - recorded.tuned(m, 20, 256)) / (of(m, 4) - own_length), 0.6), m
assert [(frequencies(w) / 4 > 0.1).sum().item() for w in (16, 128)] == [1, 7], "our fast pairs, and LLaMA's"
for rate in context_extension.RATES:
    assert every(np.subtract(recorded.rated("pi", rate, 256), recorded.rated("none", rate, 256)), 0)
assert [round(mean(tuned[m]) - own_length.mean(), 2) for m in ("yarn", "llama3")] == [0.0, 0.02]

# recall
far_2x, near_2x = recall["none"][:, 0, 0], recall["none"][:, -1, 0]
assert (round(far_2x.min().item()), round(far_2x.max().item())) == (3, 30) and near_2x.min() > 90
ids, _ = retrieval.make_batch(retrieval.QUICK, 1, 512, torch.Generator().manual_seed(0), depths[-1])
assert 511 - int((ids[0] == retrieval.QUICK.set_id).nonzero()[0]) - 1 == 28, "the near value of 512, from the question"
assert (round(recall["pi"].min().item()), round(recall["pi"].max().item())) in ((14, 87), (14, 88))
assert recall["yarn"][:, 0, 2].mean() > 50 and recall["yarn"][:, -1, 2].mean() > 50 > recall["yarn"][:, 2, 2].mean()
assert all(min(recall[m][:, i, 2].mean() for i in (0, -1)) < 50 for m in ("none", "pi", "ntk"))
assert (recall["yarn-t"][:, 0, 2] > recall["ntk+t"][:, 0, 2] + 50).all(), "the frequencies bring back the far end"
assert (recall["yarn"][:, 0, 2] < recall["yarn-t"][:, 0, 2] - 20).all(), "and there the temperature costs"
spans = {
    "factor 4": (recorded.control_recall("yarn")[:, 0], recorded.recall("yarn", 512, tuned=True)[:, 0]),
    "factor 8": (recorded.recall("yarn", 512)[:, 0], recorded.control_tuned(512)[:, 0]),
}
far_8x = recall["yarn"][:, 0, 2]
assert (round(far_8x.min().item()), round(far_8x.max().item())) == (43, 65), "the spread that the sentence gives"
rounded = {name: [(round(100 * r.min().item()), round(100 * r.max().item())) for r in v] for name, v in spans.items()}
assert rounded == {"factor 4": [(1, 19), (1, 18)], "factor 8": [(43, 65), (51, 88)]}

# the real model
blocks = {m: smollm2.perplexity(m, 14_336, 16_384) for m in ("none", "pi2", "ntk2", "yarn2", "win8192")}
assert blocks["none"] > 400 and round(blocks["win8192"], 1) == 21.6 and round(blocks["yarn2"], 1) == 22.4
assert smollm2.perplexity("none", 8192, 10240) < 1.05 * smollm2.perplexity("yarn2", 8192, 10240), "no break at 8,192"
assert smollm2.perplexity("none", 10240, 12288) > 1.5 * smollm2.perplexity("yarn2", 10240, 12288), "but before 12,288"
lowest = [{m: mean(doc[m][-4:]) for m in blocks} for doc in smollm2.recorded()["blocks"].values()]
assert all(min(doc, key=doc.get) == "win8192" for doc in lowest), "lower in each of the four texts"
cuts = {m: np.array([smollm2.perplexity(m, a, a + 2048) for a in range(0, 16384, 2048)]) for m in blocks}
over = {m: (cuts[m] / cuts["win8192"]).tolist() for m in ("pi2", "ntk2", "yarn2")}
assert every(over["pi2"], 1.9, 2.4) and every([over["ntk2"], over["yarn2"]], 1.0, 1.08)
beyond_8k = [r for m in ("ntk2", "yarn2") for r in over[m][4:]]
assert (round(min(beyond_8k), 2), round(max(beyond_8k), 2)) == (1.02, 1.07), "the guide's 2 to 7%"
assert round(smollm2.perplexity("none", 0, 16384)) == 45
assert abs(smollm2.perplexity("ntk2", 8192, 12288) / smollm2.perplexity("yarn2", 8192, 12288) - 1) < 0.02
copied_by = {m: smollm2.copies(m) for m in ("none", "pi2", "ntk2", "yarn2", "yarn4")}
assert max(copied_by["none"][6144]) < 6 and min(copied_by["none"][7680]) > 20
assert max(copied_by["yarn2"][9984]) < 2 and max(copied_by["yarn2"][12032]) < 10 < 25 < min(copied_by["ntk2"][12032])
apart = np.log(copied_by["ntk2"][12032]).mean() - np.log(copied_by["yarn2"][12032]).mean()
assert 4 < math.exp(apart) < 5, "a factor of four between the two that perplexity cannot tell apart"
assert max(copied_by["yarn4"][15872]) < 4
assert all(min(copied_by[m][15872]) > 30 for m in ("none", "pi2", "ntk2", "yarn2")), "none of the others copies there"
assert min(copied_by["yarn4"][6144]) > 2 * max(copied_by["yarn2"][6144]), "the larger factor costs at medium distances"
assert min(copied_by["pi2"][7680]) > min(smollm2.first_copies())
share = {n: [100 * many.values("copied", m, n, w).mean().item() for m, w in arms.values()] for n in (6500, 7400)}
assert share[7400][0] < 50 < 65 < share[6500][0] and share[7400][2] < 55 < 65 < share[6500][2]
assert round(share[7400][1]) == 84
assert smollm2.perplexity("none", 6144, 8192) < smollm2.perplexity("yarn2", 6144, 8192)

if pretrained:
    assert max(recomputed.values()) < 0.1, "the real weights agree with what is recorded"

# from a configuration to an edit
assert int(qwen.unfinished.sum()) == 24 and qwen.trained == 32_768 and round(qwen.cache_bytes / 2**30, 1) == 10.7
pair = qwen.table()[40]
assert [round(pair[c], 1) for c in ("turns", "turns_at_target", "turns_after")] == [0.9, 2.8, 0.9]
assert all(row["slowed_after"] < 1.05 for row in qwen.table() if row["turns"] > 32)
assert qwen.edit.keys()["rope_parameters"]["factor"] == 3.0518
needed = 4 ** (126 / 80)  # of NTK-aware, so that pair 40 of 64 is slowed by 4
assert round(needed) == 9 and round(needed ** (48 / 126), 1) == 2.3

# the finish
trials = everything["trials"]
rise = {name: [fair_race.gap(trial) for trial in found] for name, found in trials.items()}
assert max(rise["alibi"] + rise["sandwich"]) < 0.05
assert all(min(rise[name]) > 0.05 for name in ("rope", "pope", "sinusoidal", "learned"))
assert min(rise["t5"]) < 0.05 < max(rise["t5"])
by_gain = {t.name for t in trials["t5"] if fair_race.gap(t) < 0.05}
assert by_gain == {"t5[gain=10]"}, "the speed of the table, not the rate alone"
assert min(map(fair_race.gap, longest["no encoding"])) > max(rise["none"]), (
    "no encoding rises further when trained longer"
)
at_the_length = [[trial.last[64] for trial in trials[name]] for name in ("t5", "rope", "pope", "alibi", "sandwich")]
assert max(map(min, at_the_length)) < min(map(max, at_the_length)), "any of the five can be ahead"
assert all(run.recall[64].mean() > 0.9 for runs in longest.values() for run in runs)
assert {n for n, v in beyond.items() if min(v) > 0.7} == {"T5 bias", "learned table"} and min(beyond["T5 bias"]) > 0.99
assert max(beyond["RoPE"] + beyond["ALiBi"]) < 0.25
assert {name: len(found) for name, found in trials.items()} == {name: 6 + (name != "none") for name in trials}
learned_rise = mean([fair_race.gap(run) for run in longest["learned table"]])
assert round(learned_rise, 1) == 2.2, learned_rise
first = race.recorded("rope")
rope_lost = np.subtract(first.values(256), first.values(64))
assert 1.05 < rope_lost.mean() < 1.25 and every(of("yarn", 4) - first.values(64), 0.1, 0.3)
assert every(np.subtract(recorded.tuned("yarn", 60, 256), first.values(64)), -0.05, 0.05)
assert [scorecard.orders_told_apart(name) for name in ("rope", "alibi", "kerple")] == [60, 30, 30]
assert scorecard.orders_told_apart("pope") == 30 and min(rise["pope"]) > 0.1, "phases at 0; no tenth in any trial"
whole = [float(r.min()) > 0.9 for r in second.recalled("pi", 8)]
assert sum(whole) == 2 and len(whole) == 3, "PI's recall is nearly whole on two of three seeds"
short = {n: [r.recall[512][:4].mean().item() for r in everything["chosen"][n]] for n in ("rope", "learned")}
assert all(r.recall[512].max() < 0.31 for r in everything["chosen"]["rope"]) and min(short["learned"]) < 0.1
assert any(r.recall[512].min() > 0.4 and r.recall[512].max() < 0.58 for r in trials["rope"])

# deeper
assert (released(8, 8 * 4096, 4096), released(2, 8192, 4096)) == (57, 3)
assert not same and all(abs(now - logits["cached"][p]) > 0.01 for p, now in logits["recomputed"].items()), "no key"
assert all(drifts[n, a][64] < 1e-6 for n in (1, 2) for a in (True, False)), "inside 64 both caches are exact"
assert all(drifts[1, False][n] < 1e-6 < drifts[1, True][n] / 1000 for n in (128, 192, 256))
assert all(1e-6 < drifts[2, False][n] < drifts[2, True][n] / 5 for n in (128, 192, 256)) and drifts[2, True][256] > 0.02
assert holds(10_000.0, 1706) and not holds(10_000.0, 1707)
assert [round(x, 1) for x in decades.values()] == [3.9, 5.6] and list(closed.values()) == [46, 32]
assert 0.95 < min(b for b, good in feasible[1024].items() if good) / bounds["1024"] < 1.05
frame = pd.DataFrame(verdicts).T
assert frame.iloc[:3].all(axis=None), "what is right passes all eight"
assert not any(frame.iloc[3 + row, check] for row, check in enumerate([0, 1, 2, 3, 4, 5, 6, 7, 7]))
assert frame.iloc[9:, :6].all(axis=None), "the last three bugs are consistent"
for s in (4, 8):
    assert min(context_extension.LEADING, key=lambda m, s=s: other.center(m, s)) == "yarn"
    assert every(np.subtract(other.values("ntk", s), other.values("yarn-t", s)), 0.5)
    assert every(np.subtract(other.values("yarn", s), other.values("yarn-t", s)), -0.1, 0.1)
behind = np.subtract(other.tuned("pi", 60, 256), other.tuned("none", 60, 256))
assert sorted(round(x, 2) for x in behind) == [-0.24, 0.01, 0.08]
assert every(other.recalled("pi", 8) - other.recalled("none", 8), 0.3)
assert an["YaRN (NTK)"]["16384"] < an["dynamic NTK"]["16384"]
assert ding["YaRN"]["16384"] > 3 * ding["dynamic NTK"]["16384"]

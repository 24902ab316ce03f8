"""Runs in the kernel of notebook 04 after its last cell: the values on which its numbers and sentences rest."""

import json

from helpers import sources
from helpers.encodings import PoPE, RoPE, XPos
from helpers.encodings.axial import AxialRoPE, MRoPE

# the wish, for one pair and for a head
steps_m, steps_n = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
assert np.allclose(logit(steps_m, steps_n), logit(steps_m + 1000, steps_n + 1000)), "the pair may move"
assert not np.allclose(logit(steps_m, steps_n), logit(steps_n, steps_m)), "query and key may not swap places"
assert abs(logit(5, 2) - 2.02) < 0.005 and abs(logit(2, 5) - 0.155) < 0.005, "the numbers of the derivation"
probe = torch.randn(50, head_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
where = torch.arange(50)
assert torch.allclose(rope(probe, where), torch.stack([R(i) @ probe[i] for i in range(50)])), "the matrix"
assert torch.allclose(R(9).T @ R(9), torch.eye(head_dim).double()), "orthogonal"
assert (rope(probe, where).norm(dim=-1) - probe.norm(dim=-1)).abs().max() < 1e-12, "norms stay"
assert torch.allclose(looks["RoPE"], looks["RoPE, 1,000 further on"]), "the sentence moves"
assert abs(looks["no positions"][1] - looks["no positions"][4]) < 1e-9, "equal words, equal weights"
assert abs(looks["RoPE"][1] - looks["RoPE"][4]) > 0.03, "and with RoPE they differ"
assert steady == {"rotation"}, "constant diagonals"

# our functions are those of helpers


def helped(scheme, x, ids):
    state = scheme.prepare(ids, ids, None)
    return [z[0, 0] for z in scheme.rotate(x[None, None], x[None, None], state, 0)]


assert torch.allclose(
    helped(RoPE(head_dim, base, layout="interleaved"), probe, where[None])[0], rope(probe, where), atol=1e-5
)
assert torch.allclose(helped(RoPE(head_dim, base), probe, where[None])[0], rope_half(probe, where), atol=1e-5)
wide = torch.randn(12, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
three = torch.stack([where[:12], where[:12] % 3, where[:12] % 4], -1)
assert torch.allclose(helped(MRoPE(128), wide, three[None])[0], mrope(wide, three), atol=1e-4), "M-RoPE"
a, b = helped(XPos(128, layout="interleaved"), wide, where[None, :12])
assert torch.allclose(a @ b.mT, xpos(wide, where[:12], 1) @ xpos(wide, where[:12], -1).T, atol=1e-3), "xPos"
pair_of_axes = torch.stack([where % 7, where // 7], -1)
image = helped(AxialRoPE(head_dim, axes=2, base=100.0), probe, pair_of_axes[None])[0]
assert torch.allclose(image, axial_rope(probe, where % 7, where // 7), atol=1e-4), "axial"
assert helped(PoPE(head_dim, n_heads=1, base=base), probe, where[None])[0].shape[-1] == 2 * head_dim, "twice as wide"

# beyond the trained length, as the sentences say it
center = {scheme: fair_race.band(scheme).center for scheme in ("none", "t5", "rope", "pope")}
assert 1.7 < center["rope"](64) < 1.8 and 3.4 < center["rope"](512) < 3.65, "1.75 and 3.5"
assert center["rope"](256) > center["none"](256) + 0.5, "worse than no encoding from 256 on"
assert center["t5"](512) < 1.75, "T5 keeps its loss"
assert tried["512 minus 64"].between(1.05, 2.0).all(), "1.1 to 2.0 in every row"
after = [fair_race.gap(run) for run in fair_race.band("rope", longer=True).results]
assert 2.35 < min(after) <= max(after) < 2.6, "2.4 to 2.6 after four times the steps"
longer = {s: fair_race.band(s, longer=True).center(64) for s in ("rope", "t5")}
assert all(abs(loss - 1.40) < 0.015 for loss in longer.values()), "both at 1.40"
by_rate = {(c.key, rate): run.last[64] for s in ("rope", "t5") for (c, rate), run in fair_race.trials(s).items()}
assert by_rate["t5", 0.009] > by_rate["rope", 0.009] > by_rate["t5[gain=10]", 0.009], "one dial, another order"
recall = torch.stack([run.recall[512] for run in fair_race.band("rope").results]).mean()
per_seed = [run.recall[512].mean().item() for run in fair_race.band("rope").results]
seed_0 = [run.recall[512].mean().item() for (c, rate), run in fair_race.trials("rope").items() if c.key == "rope"][1]
assert [round(100 * share) for share in sorted(per_seed)] == [7, 9, 14] and 0.45 < seed_0 < 0.55, "recall by seed"
pope_recall = sorted(run.recall[512].mean().item() for run in fair_race.band("pope").results)
assert pope_recall[1] < 0.1 < 0.85 < pope_recall[2], "PoPE keeps its recall in one seed of three"
assert recall < 0.3 < 0.7 < torch.stack([run.recall[512] for run in fair_race.band("t5").results]).mean(), "recall"
blind_recall = torch.stack([run.recall[512] for run in fair_race.band("none").results])
assert 0.77 < blind_recall.min() < blind_recall.max() < 0.97, "no encoding recalls 80 to 95%"
lost = {(c.key, rate): fair_race.gap(run) for (c, rate), run in fair_race.trials("pope").items()}
zero = [value for (key, _), value in lost.items() if "uniform" not in key]
assert 0.4 <= min(zero) and max(zero) < 1.05, "PoPE from 0 lost 0.4 to 1.0"
hardly = [run.recall[64].mean().item() for (c, _), run in fair_race.trials("pope").items() if "uniform" not in c.key]
assert max(hardly) < 0.35, "and hardly learned to recall"
rise = {n: tried[n] - tried[64] for n in (128, 512)}
smaller = [(base_key, rate) for base_key in ("rope[base=1000]", "rope[base=100]") for rate in (0.003, 0.009)]
assert all(rise[512][at] < rise[512]["rope", at[1]] - 0.15 for at in smaller), "smaller bases soften the rise to 512"
assert any(rise[128][at] > rise[128]["rope", at[1]] for at in smaller), "and not always that to 128"
if live:
    assert live[0].last[512] > live[0].last[64] + 1, "what was trained here fails as well"
paper = sources.published("press2021.train512")["rope"]
assert paper["712"] < paper["512"] and paper["2512"] > 1.5 * paper["512"], "a little further, then no more"

# speeds and decay
assert [never_finish(*row) for row in models.values()] == [18, 29, 12, 5], "pairs that never finish a turn"
assert (4096 * frequencies(128, 1e4)[-1]).item() < 0.5, "less than half a radian"
decades = {x: math.log10(frequencies(128, x)[0] / frequencies(128, x)[-1]) for x in (1e4, 5e5)}
assert decades[1e4] < 4 < 5.5 < decades[5e5] < 5.7, "a larger base spreads the frequencies"
assert 0.45 < rises.double().mean() < 0.5, "nearly half of the steps go up"
assert logits.mean(0).abs().max() < 1 and (logits.std(0) / 128**0.5 - 1).abs().max() < 0.08, "no trend"

around_one = 1 + torch.stack([queries, keys])
means = [(rope(around_one[0], torch.tensor([n]), 1e4) * around_one[1]).sum(-1).mean().item() for n in (1, 1000)]
assert abs(means[0] - 124) < 1.5 and abs(means[1] - 20) < 1.5, "drawn around 1, the mean falls"

# layouts, cache, precision
assert (mixed["mixed layouts"] - mixed["right"]).between(0.95, 1.45).all(), "mixed"
assert (mixed["no rotation"] - mixed["right"]).between(1.05, 1.25).all(), "not rotated"
assert abs(mixed["right"].mean() - 1.8) < 0.06 and abs(mixed["no rotation"].mean() - 3) < 0.1
assert round(math.log(len(corpus.ALPHABET)), 1) == 4.4, "guessing"
assert math.isclose(perplexity["half/half"], perplexity["interleaved/interleaved"], rel_tol=1e-4)
assert round(perplexity["none"]) == 205 < min(perplexity["half/interleaved"], perplexity["interleaved/half"])
moves = rotation.recorded("shift")["values"]
assert max(moves["largest_change"]) < 1e-3 and max(moves["shift"]) == 100_000, "a shift changes no logit"
assert (without_cache, sum(read[:40])) == (1740, 63), "positions read; later cells read on"
assert distinct(4096) == 769 and distinct(2050, torch.float16) == 2049, "collisions"
assert all(abs(r - blind) < 1e-4 for r in rounded[-2:]), "one position from 16,384 on"
assert max(exact) - min(exact) < 1e-3 and abs(rounded[0] - exact[0]) < 1e-3 and rounded[-1] > exact[-1] + 0.5
assert by_frequencies < 1e-6 < 10 < by_positions, "rounded frequencies are relative, rounded positions are not"
assert error(Rotary(128)) < 1e-3 < 3 < error(Rotary(128).bfloat16()), "radians"
assert encodings.RoPE(128).bfloat16().inv_freq.dtype == torch.float64, "ours is no buffer"

# silent bugs
relative_schemes = [plotting.label(name) for name in ("rope", "pope", "alibi")]
harmless = cost.loc[["left padding: no position_ids", "packed: no position_ids"]]
assert (
    harmless[relative_schemes].abs().max().max() < 1e-5 < 0.01 < harmless[["sinusoidal", "learned table"]].min().min()
)
assert cost.loc[["left padding: no mask", "packed: no mask", "packed: neither"]].min().min() > 0.01
doing_nothing = cost.loc[["packed: neither", "packed: no position_ids"]].max()
assert (cost.loc["packed: no mask"] > 1.5 * doing_nothing).all(), "worse than doing nothing"
at_zero, gap = cost.loc["decoding: every new token at 0"], cost.loc["decoding: a gap of 24"]
assert (at_zero == cost.max()).all(), "the largest in every column"
assert at_zero.min() > 0.2 and (gap < at_zero).all() and gap[relative_schemes].max() < 0.1

# the real model's pairs
by_pair, one_back_heads, many = share.mean((0, 1)), fast_share[previous > 0.4], previous[fast_share > 0.2]
assert slow.sum() == 12 and abs(by_pair[slow].sum() - 0.69) < 0.005
assert len(one_back_heads) == 5 and 0.235 < one_back_heads.min() < one_back_heads.max() < 0.275, "a quarter"
assert len(many) == 14 and (many < 0.26).sum() == 9, "the converse does not hold"
assert abs(fast_share.median() - 0.076) < 0.005, "8%"
for losses in frozen_at_1024.values():
    ratios = {group: value / losses["intact"] for group, value in losses.items()}
    assert max(ratios[g] for g in ("20-23", "24-27", "28-31")) < 1.01 < 2.5 < ratios["0-3"]
short, long = slow_pairs.SETTINGS.short, slow_pairs.SETTINGS.long
assert all(max(removed["frozen", pairs][short]) < 1.06 for pairs in slow_pairs.GROUPS)
zeroed = [r for pairs in slow_pairs.GROUPS for r in removed["zeroed", pairs][short]]
assert 2.9 < min(zeroed) and max(zeroed) < 6.65, "2.9 to 6.6"
assert 2.6 < min(removed["frozen", "20-23"][long]) <= max(removed["frozen", "20-23"][long]) < 2.8

# PoPE
assert found == [{0}, {1}], "without a phase 0, with theta one back"
assert min(final["pope, uniform start"]) > 0.99, "phases anywhere"
percent = {arm: [round(100 * min(a)), round(100 * max(a))] for arm, a in final.items()}
assert percent["pope"] == [64, 81] and percent["pope, unbounded phase"] == [68, 85]
stuck = [run["phases_above_zero"] for run in recorded["arms"]["pope"].values()]
assert min(stuck) > 0.96, "nearly all phases above 0"
climbed = [run["accuracy"][-1] - run["accuracy"][-7] for run in recorded["arms"]["pope"].values()]
assert sorted(gain > 0.05 for gain in climbed) == [False, True, True] and min(climbed) < 0.01, "two still climbing"
paper = sources.published("gopalakrishnan2025.indirect_indexing")
assert paper["pope"]["mean"] > 90 > 15 > paper["rope"]["mean"]
assert card["orders told apart (of 60)"].tolist() == [60, 60, 30, 60], "the scorecard"
assert set(published.values()) == {"64 of 192 channels rotated"}, "MLA"
stored = [json.loads((root / f"helpers/data/configs/{name}.json").read_text()) for name in published]
assert {c["kv_lora_rank"] for c in stored} == {512} and {c["qk_rope_head_dim"] for c in stored} == {64}, "MLA's cache"
assert {c["qk_nope_head_dim"] for c in stored} == {128}, "the channels that are not rotated"

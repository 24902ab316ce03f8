"""What the text of notebook 05 says in numbers, on the notebook's own values: run in its kernel after the last cell."""

from helpers.explore.bias_kernels import bias_of as kernel_of
from helpers.studies import order_tasks

usual = seed == 0 and preset == "quick" and n_heads == 8  # what the text was written for

# by hand
assert bias[4].tolist() == [-2, -1.5, -1, -0.5, 0] and content[4].tolist() == [0.5, 2, 0.5, 0.5, 3]
assert torch.equal(alibi_bias(5, slopes.float()), alibi.alibi_bias(positions(5), positions(5), slopes)[0])
assert round((biased[4, 3] / biased[4, 0]).item(), 2) == 4.48
assert round(plain[4, 0].item(), 2) == round(plain[4, 3].item(), 2) == 0.05

# what a head can see, and slopes
assert not usual or sight.round().int().tolist() == [9, 18, 37, 74, 147, 295, 589, 1179]
assert not np.isclose(formula(12), authors(12)).any() and round(authors(12)[8], 3) == 0.707
assert [round(math.log(100) / s) for s in (0.3**3, 0.3**4, 1 / 128)] == [171, 569, 589]

# the square root
if real_text:
    assert ported.round(2)["as trained"].iloc[0] == 1.86 and ported.round(2)["divided by 4"].iloc[0] == 2.21
    assert round(no_encoding, 2) == 2.22 and ported["divided by 4"].iloc[1:].min() > ported["divided by 4"].iloc[0]

# the key-only row, and the mirror
assert torch.allclose(rows["causal", "distance"], rows["causal", "key only"])
assert rows["no mask", "key only"].argmax() == 4 and rows["no mask", "key only"][4] > 0.38
assert len(runs["first"]) == 12 and min(runs["first"]) > 0.85
late = first_token.recorded(first_token.SYMMETRIC, "first", steps=800)
no_bias = [x for shares in answers["no encoding, a fixed token first"].values() for x in shares]
assert min(late) > 0.985 and all(abs(x - 0.5) < 0.04 for x in (*runs["none"], *runs["both ends"], *no_bias))
assert len(no_bias) == 2 and min(answers["other slopes ahead"][300]) > 0.99
assert answers["symmetric, a fixed token first"][800] == late and sum(map(len, [*runs.values(), no_bias])) == 25
mirrored = torch.randint(2, 7, (8, 16), generator=torch.Generator().manual_seed(0))
untrained = order_tasks.make_encoder(first_token.SYMMETRIC, 0, order_tasks.Settings())
ahead_of, behind = (untrained(ids) for ids in (mirrored, mirrored.flip(1)))  # one mean, but not one first output
assert torch.allclose(ahead_of.mean(1), behind.mean(1), atol=1e-5)
assert torch.allclose(ahead_of, behind.flip(1), atol=1e-5) and not torch.allclose(
    ahead_of[:, 0], behind[:, 0], atol=1e-2
)

# kernels
assert [round(x) for x in more.tolist()] == [21, 16, 15, 15]
for scheme in wall:  # one number per diagonal, but in FIRE
    one = bias_of(scheme)
    diagonals = [one.diagonal(-k, 1, 2) for k in (0, 1, 20, 100)]
    assert all(np.ptp(d.numpy(), axis=1).max() < 1e-3 for d in diagonals if torch.isfinite(d).all()) == (
        scheme != "fire"
    )
t5_curve = bias_of("t5")[:, -1].flip(-1)
assert (t5_curve[:, 8:].amax(1) - t5_curve[:, 8:].amin(1)).max() < 0.5

# the kernels' strengths, as "What you find" has them
far_weights = {}
for shape, strength, power in (("ALiBi", 0.08, 0.5), ("KERPLE power", 0.08, 1), ("KERPLE power", 0.53, 0.5)):
    curve = kernel_of(shape, strength, power, 512)
    assert abs(curve.softmax(0)[9:].sum() - 0.5) < 0.02
    far_weights[shape, power] = (curve[256] - curve[0]).exp().item()
line_left = far_weights["ALiBi", 0.5]
assert math.isclose(far_weights["KERPLE power", 1], line_left, rel_tol=1e-4) and line_left < 2e-9
assert round(1000 * far_weights["KERPLE power", 0.5], 1) == 0.2

# early tokens
if real_text:
    blocks, steady = (np.array(ways[name]) for name in ("non-overlapping", "sliding"))
    assert (np.diff(blocks[:5]) < -0.002).all() and np.ptp(blocks[4:]) < 0.002 and (np.diff(steady) > 0).all()
    assert blocks[0] - steady[0] > 0.1
    for letter, contender in {"A": slope_ladders.LADDERS["1 to 1/8"], "C": "rope"}.items():
        again = [read(race.load_model(contender, 0), n, n_targets=4096) for n in window]
        assert np.allclose(again, curves[letter], atol=0.006), letter
    other = race.load_model(slope_ladders.LADDERS["1/2 to 1/16"], 0)
    again = [read(other, n, count=n // 8, n_targets=4096) for n in window]
    assert np.allclose(again, curves["B"], atol=0.006) and np.ptp(curves["B"]) < 0.01
assert cut["512"] - cut["3072"] > 1.3 and 0 < slid["3072"] - slid["512"] < 0.4

# recall on its own
mean = {name: seeds.mean(0).round().tolist() for name, seeds in recalled.items()}
assert away == [510, 384, 256, 130, 28] or away[0] == 510
assert mean["ALiBi, 1/4 to 1/256"][0] == 94 and recalled["ALiBi, 1/4 to 1/256"].min() > 80
assert mean["ALiBi, 1/2 to 1/16"] == [13, 21, 76, 100, 100]
assert max(mean["RoPE"]) < 20 and mean["no encoding"][0] > 90 and max(mean["no encoding"][1:]) < 10
grid = 100 * retrieval.recorded("rope").grid()
assert grid[:, :, 0].min() > 95  # all of it at the trained length

# the first race
near = {kind: {key: band.values(64) for key, band in bands_.items()} for kind, bands_ in first_race.items()}
for kind in near.values():
    steep_key = slope_ladders.LADDERS["2 to 1/4"].key
    assert max(kind[steep_key]) < min(kind["rope"] + kind["kerple"])
low = near["rate 0.003"]
assert (
    max(low[steep_key]) < min(low["fire"]) and "sandwich" not in near["rate 0.009"] and "fire" not in near["rate 0.009"]
)
assert min(low["sandwich"]) < min(low[steep_key]) and max(low[steep_key]) < max(low["sandwich"])  # level
assert round(steepest.center(64), 2) == 1.71 and round(first_race["rate 0.003"]["alibi"].center(64), 2) == 1.95
for bands_ in first_race.values():
    gaps = {key: [run.last[512] - run.last[64] for run in band.results] for key, band in bands_.items()}
    assert all(max(gap) < 0.03 for key, gap in gaps.items() if key.startswith(("alibi", "kerple", "sandwich")))
    assert min(gaps["rope"]) > 1 and min(gaps.get("fire", [1])) > 0.25

# the fair race
close = ("t5", "rope", "pope", "alibi", "sandwich")
at_64 = {s: [run.last[64] for run in fair["trials"][s]] for s in fair["trials"]}
assert max(min(at_64[s]) for s in close) < min(max(at_64[s]) for s in close)  # all five overlap
end = [run.last[64] for s in ("t5", "rope", "pope", "alibi") for run in fair["longer"][s]]
assert max(end) - min(end) < 0.02
whole = fair_race.band("alibi")  # with the early characters of every window
assert round(whole.center(512, "mean") - whole.center(64, "mean"), 2) == -0.02
soon = {s: [run.last[64] for run in fair["chosen"][s]] for s in ("sandwich", "rope")}
late = {s: [run.last[64] for run in fair["longer"][s]] for s in ("sandwich", "rope")}
assert max(soon["sandwich"]) < min(soon["rope"]) and min(late["sandwich"]) > max(late["rope"])
rise = {s: [fair_race.gap(r) for kind in ("trials", "chosen", "longer") for r in fair[kind][s]] for s in fair["trials"]}
assert len(every) == 16 and max(map(fair_race.gap, every)) < 0.0135 and max(rise["sandwich"]) < 0.0425
assert min(rise["rope"]) > 1 and min(rise["pope"]) > 0.4 and min(rise["sinusoidal"] + rise["learned"]) > 0.1
assert min(rise["t5"]) < 0.01 and max(rise["t5"]) > 0.4 and min(rise["none"]) < 0.05 and max(rise["none"]) > 0.35
assert [round(x) for x in far_end["ALiBi, published"]] == [15, 16]
assert sorted(round(x) for x in far_end["ALiBi, one flat head"]) == [68, 97] and min(far_end["T5, chosen"]) == 100
steep_runs = seen["ALiBi, 1 to 1/8"]
assert all(run.recall[512][:4].max() < 0.07 and run.recall[512][4] == 1 for run in steep_runs)
ends = {name: sorted(round(run.last[64], 2) for run in seen[name]) for name in labels}
assert ends["ALiBi, 1 to 1/8"] in ([1.39, 1.41], [1.4, 1.4], [1.4, 1.41], [1.39, 1.4])
assert ends["ALiBi, one flat head"] == [1.4, 1.44]
assert all(abs(x - 1.53) < 0.015 for x in ends["ALiBi, published"])
flat_trials = [run for run in fair["trials"]["alibi"] if run.name.endswith("_0]")]
assert flat_trials and max(run.recall[512][0].item() for run in flat_trials) < 0.305
assert min(run.recall[64].min().item() for name in labels for run in seen[name]) > 0.9

# the lap
assert round(np.mean(blind)) == 88
assert [round(100 * run.recall[512][0].item()) for run in fair["longer"]["none"]] == [59, 17]
by_distance = np.mean([run.recall[512].numpy() for run in linear.results], axis=0)
assert by_distance[4] > 0.9 and by_distance[:4].max() < 0.07
assert all(np.ptp(run.recall[512].numpy()) < 0.02 for run in t5.results)
assert all(abs(run.last[64] - linear.center(64)) < 0.12 and fair_race.gap(run) < 0.03 for run in live if usual)
assert theirs["alibi"] < 0 < theirs["rope"] < theirs["sinusoidal"] and abs(ours["alibi"]) < 0.005

# Deeper
cost = bias_cost.recorded()
took = {name: dict(zip(cost["lengths"], seconds, strict=True)) for name, seconds in cost["seconds"].items()}
assert all(took["extra channel"][n] < 1.4 * took["no bias"][n] for n in (1024, 2048, 4096))
held = dict(zip(cost["lengths"], cost["bytes"]["extra channel"], strict=True))
assert held[4096] / held[1024] < 5 and mask.nbytes == 4 * 8 * 256 * 256  # the mask of 4,096: half a gigabyte
assert torch.allclose(by_mask, explicit, atol=1e-4)
i, j = torch.arange(256)[:, None], torch.arange(256)
share = fire_share(i, j.clamp(max=i), c, L)
network = fire.network(share[..., None]).permute(2, 0, 1).detach().tril()
assert torch.allclose(network, fire.prepare(positions(256), positions(256), None)[0].detach().tril(), atol=1e-4)
sandwich = encodings.Sandwich(4).prepare(positions(512), positions(512), None)[0]
assert all(torch.allclose(sandwich[h, 511].flip(0), (waves - 64).float() / (2 * h + 2), atol=1e-3) for h in range(4))
assert kernel[511] < kernel[63] < kernel[7] < kernel[1] < 0
counts = count_back(open_gates)
assert torch.allclose(counts[None, None], encodings.cope.cope_positions(open_gates, lower.bool(), 64), atol=1e-5)
assert counts[-1].round().unique().tolist() == [0, 1, 2, 3, 4, 5, 6]
assert [felt(back) for back in range(24)] == [back <= 9 for back in range(24)]
assert len(fitted) == 270 and round(inside.mean(), 2) == 0.94 and round(better.mean(), 2) == 0.75
assert (fitted < 0).sum() == 6
assert models["mpt-7b-storywriter"][1] == 65536 and models["mpt-7b-storywriter"][-1] == 1

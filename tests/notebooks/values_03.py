"""What the words of notebook 03 rest on, checked on the notebook's own values after its last cell."""

from helpers import scorecard
from helpers.encodings import learned, shaw

usual = preset == "quick" and seed == 0

# the sentence
assert torch.equal(E[ids[0]], E[ids[3]]) and not torch.equal(h[0], h[3])
assert weights[0].argmax() == 0 and weights[3].argmax() == 2, "what the two articles attend to"
assert pulled.tolist() == [True] * 5 + [False] * 3
rows = P.detach().clone().requires_grad_()
masked = ((E[ids] + rows[:5]) @ (E[ids] + rows[:5]).T / 2).masked_fill(~torch.ones(5, 5).tril().bool(), -math.inf)
masked.softmax(dim=-1)[1, 0].log().backward()
assert (rows.grad.norm(dim=1) > 0).sum() == 2, "under a causal mask"
assert weights[0].max() == weights[0, 0] > 0.5 > weights[3].max(), "most, not mostly"
assert complaint(lambda: torch.zeros(8, 4) + P) == "no error"
assert minilm.recorded()["wall"] == complaint(lambda: torch.randn(602, 4) + torch.randn(512, 4))

# the small table
middle_of_training = maps[200]
beside, between, far_apart = (maps[400].diagonal(k).mean() for k in (1, 16, 48))
assert np.allclose((beside, between, far_apart), (0.57, 0.2, -0.7), atol=0.07)
assert np.diff([maps[400].diagonal(k).mean() for k in (1, 4, 16, 24, 32, 40, 48)]).max() < 0, "it falls, up to ripples"
assert maps[400][63, :5].mean() > -0.55 > -0.75 > maps[400][60:63, :5].mean(), "the very last row is odd"
one_coordinate = components(initial_scale.recorded_snapshots()[400][:64].double().numpy()).var(0)
assert abs(one_coordinate[0] / one_coordinate.sum() - 0.6) < 0.05
assert abs(maps[0].diagonal(1).mean()) < 0.1 > abs(maps[0].diagonal(48).mean())
assert middle_of_training[:20, :20].mean() > 0.15 and middle_of_training[:20, 44:].mean() < -0.15
settings = race.PRESETS["quick"]
rates = [settings.lr * race.learning_rate(step, settings) for step in range(settings.steps)]
shrink = math.prod(1 - rate * settings.weight_decay for rate in rates)
assert abs(shrink - 0.94) < 0.005 and abs(sum(rates) - 0.66) < 0.005
assert (last[64:] - shrink * first[64:]).abs().max() < 2e-3, "weight decay, and nothing else"
assert fate["rows 64-127"]["correlation"] > 0.999 and fate["rows 0-63"]["correlation"] < 0.4

# MiniLM's table: norms, waves, similarity
early, late = np.median(norms[2:126]), np.median(norms[128:509])
assert 4.5 < norms[0] / late < 5.5 and late > 1.1 * early
assert norms[127] > 1.4 * max(norms[120:126].max(), norms[128:140].max())
assert norms[511] > norms[510] > 1.6 * late and norms[509] > norms[400:500].max()
assert all(period[found.argmax()] == 512 for found in (power, line)), "a straight line has its top there, too"
assert np.allclose(peaks, (164, 55, 18, 6), rtol=0.06)
assert all(2.9 < a / b < 3.2 for a, b in zip(peaks[:-1], peaks[1:], strict=True))
assert 0.74 < sum(power[here].sum() for here in inside) / power.sum() < 0.79
named = {"164": peaks[0], "55": peaks[1], "18": peaks[2], "6": peaks[3], "slow": 512}
for name, j in directions.items():  # the labels of the first picture
    strongest = period[spectrum(components(middle)[:, [j]]).argmax()]
    assert abs(strongest / named[name] - 1) < 0.02
needed = {name: int((np.cumsum(share) < 0.9).sum()) + 1 for name, share in shares.items()}
assert needed["trained"] == 10 and needed["sinusoidal"] == 72 and abs(needed["random"] - 222) <= 2
for low, high, least, most in ((5, 8, 5.3, 6.6), (12, 24, 13.5, 19.8)):  # two periods, along the table
    band, wandering = (period > low) & (period < high), []
    for start in range(1, 413, 24):
        wandering.append(period[band][spectrum(real[start : start + 96])[band].argmax()])
    assert abs(min(wandering) - least) < 0.15 and abs(max(wandering) - most) < 0.15, wandering
for row in range(1, 497):  # crests in every part of the table, seen from a row towards later ones
    curve = cosines[row, row : row + 16]
    crests = 1 + (np.diff(np.sign(np.diff(curve))) < 0).nonzero()[0]
    assert {5, 6, 7} & set(crests) and {10, 11, 12, 13} & set(crests), row
assert cosines[0, 1:].max() < 0.32, "row 0 resembles no other"
nearest = (cosines - 9 * np.eye(512)).argmax(1)
assert 0.997 < (abs(nearest - np.arange(512)) == 1).mean() < 0.9985
turns = np.arange(1, 40)[np.diff(np.sign(np.diff(by_offset))) != 0]
assert turns[:4].tolist() == [3, 6, 9, 12]
assert int((np.diff(by_offset) > 0).argmax()) + 1 == 4, "from the fourth on"
assert np.allclose(by_offset[[3, 6, 12]], (0.44, 0.69, 0.57), atol=0.006)

# the model and its table
assert all(without > 0.99999 and 0.957 < intact_ < 0.998 for intact_, without in reordered.values())
paraphrase = recorded["reworded"]["the dog bit the man / a puppy attacked a person"]
assert abs(intact - 0.98) < 0.005 and abs(paraphrase[0] - 0.48) < 0.005
later = {
    moved: {by: [ways[moved][by] for ways in recorded["shifted"].values()] for by in ("1", "400")}
    for moved in minilm.MOVED
}
for by, low, high in (("1", 0.85, 0.92), ("400", 0.73, 0.79)):
    assert abs(min(later["all"][by]) - low) < 0.006 and abs(max(later["all"][by]) - high) < 0.006
assert min(later["words"]["1"]) > 0.97 > 0.94 > max(later["[CLS]"]["1"]), "the first row's loss is that of [CLS]"
assert max(later["words"]["400"]) < min(later["[CLS]"]["400"]), "far away it is the words'"

# stretching
for n in (9, 12):
    assert torch.allclose(interpolate(five, n), learned.interpolate_table(five, n), atol=1e-5)
for run in runs:
    assert run["interpolated"]["before"][128] < run["untrained rows"]["before"][128] - 0.5
    assert run["interpolated"]["after"][128] < run["untrained rows"]["after"][128] - 0.2
    assert run["interpolated"]["before"][64] > run["untrained rows"]["before"][64] + 0.03
when_read = [(m, when) for m in (128, 64) for when in ("before", "after")]
ways = ("untrained rows", "interpolated")
seen = [[np.mean([run[way][when][m] for run in runs]) for m, when in when_read] for way in ways]
assert np.allclose(seen, [(2.95, 2.45, 1.99, 2.05), (2.14, 2.03, 2.11, 2.01)], atol=0.01)

if live:  # the text is there
    noisy = race.load_model("learned", 0)  # started at 1
    longer = interpolate(noisy.encoding.table.weight.detach()[:64], 128)
    control = initial_scale.last_loss(initial_scale.with_rows(noisy, longer), settings, device)[128]
    assert abs(control - 2.40) < 0.02 and abs(race.recorded("none", "quick").center(128) - 2.38) < 0.01

# distances and buckets
assert torch.equal(index, shaw.clipped_index(distance, k)) and index[1, 0] == index[2, 1] == index[4, 3] == 1
assert all(row.argmax() == i - 1 for i, row in enumerate(attention) if i)
span = torch.arange(-1000, 1001)
for two_sided in (False, True):
    mine = [t5_bucket(n, both_directions=two_sided) for n in span.tolist()]
    assert mine == t5.t5_buckets(span, bidirectional=two_sided).tolist()
assert min(n for n in range(200) if t5_bucket(-n, both_directions=True) == 15) == 91
reached = {d: {t5_bucket(-n, max_distance=d) for n in range(64)} for d in (48, 64, 72, 128)}
assert [len(found) for found in reached.values()] == [32, 32, 31, 27]
assert min(n for n in range(99) if t5_bucket(-n, max_distance=64) == 31) == 59
assert min(n for n in range(99) if t5_bucket(-n, max_distance=72) == 31) == 66

# the race
for result in live:
    for length in result.settings.lengths:
        assert not usual or abs(result.last[length] - bands["t5"].center(length)) < 0.25
table_band, t5_band, none_band = (bands[name] for name in ("learned", "t5", "none"))
assert min(table_band.values(128)) > max(table_band.values(64)) + 1 > max(none_band.values(128))
assert all(max(t5_band.values(n)) < 1.75 for n in (64, 512)) and rise["t5"] < 0.03
found_far = sorted(100 * result.recall[512].mean().item() for result in table_band.results)
assert found_far[0] < 15 < 70 < found_far[1] < found_far[2] < 80, "two of three seeds find three quarters"
found_near = sorted(100 * result.recall[64].mean().item() for result in table_band.results)
assert found_near[0] < 10 < 90 < found_near[1], "the third never learned to"
none_far = [100 * result.recall[512].mean().item() for result in none_band.results]
assert 88 < min(none_far) < max(none_far) < 96, "no encoding finds nine of ten"
assert min(none_band.values(64)) > max(table_band.values(64)) + 0.3 > max(t5_band.values(64)), "and is worst at 64"
rises = [fair_race.gap(result) for result in fair_race.trials("t5").values()]
table_rises = [fair_race.gap(result) for result in fair_race.trials("learned").values()]
assert len(table_rises) == 7 and abs(min(table_rises) - 0.1) < 0.01 and abs(max(table_rises) - 1.2) < 0.02
longer_far = [
    sorted(100 * result.recall[512].mean().item() for result in fair_race.band(scheme, longer=True).results)
    for scheme in ("none", "learned")
]
assert np.allclose(longer_far, ((25, 62), (88, 96)), atol=0.6), "more steps turn the recall at 512"
assert len(rises) == 7 and 0 < min(rises) < 0.005 and abs(max(rises) - 0.43) < 0.005
assert fair_race.chosen("t5")[0].key == "t5[gain=10]" and fair_race.chosen("t5")[0].scheme == "t5"
heads_back = numbers_learned[back].T
assert 3.5 < heads_back[:, 1].min() < heads_back[:, 1].max() < 4 and (heads_back.argmax(1) == 1).all()
assert -3.5 < heads_back[:, -1].mean() < -2.5 and heads_back[2, 2] < -2

# given or learned
for setting, expected in zip(fits.index, ((2.07, 2.28), (2.19, 1.99), (1.94, 1.94), (1.46, 1.60)), strict=True):
    assert np.allclose(fits.loc[setting], expected, atol=0.011), setting
longer_1600 = [fair_race.band(s, longer=True).center(64) for s in ("sinusoidal", "learned")]
assert abs(longer_1600[1] - longer_1600[0] - 0.14) < 0.01
given_400, learned_400 = (fair_race.band(s).values(64) for s in ("sinusoidal", "learned"))
assert min(learned_400) < max(given_400) and min(given_400) < max(learned_400), "the seeds overlap"
for name, moved, parameters in (("sinusoidal", False, 0), ("learned", None, 64 * 32), ("shaw", True, 2 * 33 * 32),
                                ("t5", True, 32 * 4)):  # fmt: skip
    assert scorecard.orders_told_apart(name) == 60 and scorecard.n_parameters(name) == parameters
    change_when_moved = scorecard.change_when_moved(name)
    assert math.isnan(change_when_moved) if moved is None else (change_when_moved < 1e-6) == moved
assert scorecard.change_when_moved("learned", 50) > 1

# the claims, and Deeper
assert neo["rows"] == published("transformers.table_rows")["GPT-Neo"] == 2048
assert published("transformers.deberta")["scalar_bias_table"] is False
assert [len(v) for v in losses.values()] == [5, 3, 5, 3, 5, 3, 3, 3] and place_of_small == "worse"
scale_means = [np.mean(v) for v in losses.values()]
assert np.allclose(scale_means, (2.34, 2.32, 2.07, 2.19, 2.28, 2.16, 2.33, 1.99), atol=0.01)
thrice = {s: race.recorded(s, "quick", lr=0.009).values(64) for s in ("sinusoidal", "learned")}
assert np.allclose([np.mean(v) for v in thrice.values()], (1.80, 1.95), atol=0.01)
before, after = (m.encoding.table.weight.detach()[:64] for m in (race.make_model("learned", settings, 0),
                                                                   race.load_model("learned", 0)))  # fmt: skip
assert (after - before).abs().max() < 1.05 * sum(rates), "no entry goes further than the rates add up to"
assert torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1] > 0.98
assert 1 < apart < 3
assert patches["row and column"] > 95 and 0.03 < additive_share(grid_of_noise) < 0.08

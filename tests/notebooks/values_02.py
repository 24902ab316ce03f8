"""What the text of notebook 02 says in numbers, on the notebook's own values."""

from helpers.encodings.sinusoidal import dot_product_by_distance, shift_matrix, sinusoidal_frequencies

usual = (base, d_model, seed, preset) == (10_000, 64, 0, "quick")

# ---- the ground: what the reader writes is what helpers has
for _d, _b in ((64, 10_000.0), (d_model, base)):
    assert torch.allclose(frequencies(_d, _b), sinusoidal_frequencies(_d, _b)), "frequencies"
    _rows = sinusoidal_table(torch.arange(300), _d, _b, dtype=torch.float64)
    assert torch.allclose(table(torch.arange(300), _d, _b), _rows), "table"
    assert torch.allclose(shift(37, _d, _b), shift_matrix(37, _d, _b)), "shift"
    _k = torch.arange(128)
    assert torch.allclose(g(_k, _d, _b), dot_product_by_distance(_k, _d, _b)), "g"
    assert torch.allclose(_rows[:128] @ _rows[:128].T, g((_k[:, None] - _k).abs(), _d, _b)), "only the distance"

# ---- opening
_none, _table = (torch.stack([run.loss[512] for run in band.results]).mean(0) for band in bands)
_gap = _table - _none
assert 0.38 < -_gap[:64].mean() < 0.46, "the table lowers the loss by 0.4"
assert 0.6 < _gap[64:128].mean() < 0.7 and (_gap[66:] > 0).all(), "and raises it by 0.6 soon after"

_best = {s: min(fair_race.trials(s).values(), key=lambda run: run.last[64]) for s in ("none", "sinusoidal")}
_rates = {s: min(fair_race.trials(s), key=lambda trial: fair_race.trials(s)[trial].last[64])[1] for s in _best}
assert all(_rates[b.name] > b.settings.lr for b in bands), "on text alone a higher rate is better for both"
_gap = [_best["sinusoidal"].last[n] - _best["none"].last[n] for n in (64, 128, 256, 512)]
assert _gap[0] < -0.4 and min(_gap[1:]) > 0.5, "and the comparison comes out the same"

# ---- what a position vector could be
_t, _p = torch.randn(512, d_model, generator=torch.Generator().manual_seed(0)), torch.arange(512.0)[:, None]
_n = torch.nn.LayerNorm(d_model)
assert torch.allclose(_n(_t + _p), _n(_t), atol=1e-3) and torch.allclose(_n(_t + _p / 512), _n(_t), atol=1e-3), "norm"
assert abs(_p.var() / 22_000 - 1) < 0.02, "22,000 times the variance"

# ---- counter and clocks
assert flips[6] == 1 and flips[7] == 4 and flips[31] == 6, "bits that change"
_root = steps_of["binary counter"] / steps_of["binary counter"].mean()
assert 0.74 < _root.min() < 0.8 and 1.85 < _root.max() < 1.95, "0.8 to 1.9 times the mean"
assert steps_of["clock hands"].std() < 1e-4, "the hands step equally far"
_wave = torch.sin(2 * math.pi * torch.arange(16) / 16)
assert torch.isclose(_wave[1], _wave[7], atol=1e-6) and _wave[2] > _wave[1] and _wave[8] < _wave[7], "1 and 7"

# ---- by hand
assert abs(small[1, 3] - 0.99995) < 1e-8 and abs(small[2, 3] - 0.99980) < 1e-8, "a slow clock"
assert abs(math.degrees(4 * 0.01) - 2.3) < 0.05, "two degrees over five words"

# ---- the base, the spacing
if usual:
    assert int((wavelengths <= 64).sum()) == 9 and abs(wavelengths[12] - 198.7) < 0.05, "9 of 32; dimension 24"
assert [int(row["turns within 64"]) for row in by_base.values()] == [17, 9, 6], "a larger base, fewer turns"
assert round(by_base[10_000]["slowest"].item()) == 47_117, "the paper's formula stops"
assert math.isclose(by_base[10_000]["original code"], 62_832, rel_tol=1e-5), "the code's gets there"
assert alike["equal steps"][1:4].abs().max() < 0.2 and alike["equal steps"][4] > 0.98, "equal steps"
assert (alike["same factor"].diff() < 0).all(), "same factor: falls at these distances"

# ---- three tables
_three = {c: sinusoidal_table(torch.arange(64), 32, convention=c) for c in CONVENTIONS}
assert torch.equal(_three["paper"][:, [*range(0, 32, 2), *range(1, 32, 2)]], _three["halves"]), "a permutation"
assert 1.3 < (_three["halves"] - _three["tensor2tensor"]).abs().max() < 1.35, "up to 1.3"
assert error["tensor2tensor"] < 0.001 and min(error["paper"], error["halves"]) > 1.5, "Whisper's convention"

# ---- guarantees
_steps = P.diff(dim=0).norm(dim=1)
assert torch.allclose(P.norm(dim=1), torch.tensor(math.sqrt(d_model / 2)).double()), "constant norm"
assert torch.allclose(_steps, _steps[:1].expand_as(_steps)), "equal steps"
if usual:
    assert abs(_steps[0] - 1.472) < 0.001 and nearest.min() > 1.47, "the row next door"
_M3, _M4 = shift(3, d_model, base), shift(4, d_model, base)
assert torch.allclose(_M3 @ _M4, shift(7, d_model, base)), "shifts add up"
assert torch.allclose(_M3.T, shift(-3, d_model, base)), "the transpose is the way back"
_found = [[row["first rise after"], round(row["by (% of g(0))"], 3)] for row in rises.values()]
assert _found == [[5, 0.173], [11, 0.058], [43, 0.005]], "first rises"
_climbs = [round(row["highest climb up to 512 (%)"], 1) for row in rises.values()]
assert _climbs[0] == 35.7 and _climbs[-1] == 6.0, "climbs"
_bases = (2, 12, 13, 31, 32, 38, 39, 900, 920, 10_000)
_up = [int(torch.nonzero(g(torch.arange(513), 64, float(b)).diff() > 1e-12)[0]) for b in _bases]
assert _up == [4, 6, 11, 11, 17, 17, 11, 11, 5, 5], "the latest first rise lies in between"
if usual:
    assert full[[0, -1], 62].numpy().round(3).tolist() == [0.0, 0.017], "the last sine, read off the table"

# ---- four terms
_sum = (torch.eye(4).double()[[0, 1, 2, 0, 3]] + small) @ (torch.eye(4).double()[[0, 1, 2, 0, 3]] + small).T
assert torch.allclose(sum(terms.values()), _sum), "the four terms add up"
_percent = (100 * (_sum[0] / 2).softmax(-1)).round()
assert _percent[:2].tolist() == [30, 36], "the attention divides by the square root of d: cat 36%, itself 30%"
for _name in ("word-word", "word-position"):
    assert torch.equal(terms[_name][0], terms[_name][3]), "the same word asks the same"
for _name in ("position-word", "position-position"):
    assert not torch.allclose(terms[_name][0], terms[_name][3]), "another position asks something else"
_h = model.token_embedding(ids) + sinusoidal_table(torch.arange(64), 64)
assert torch.allclose(x_part + p_part, layer.norm1(_h), atol=1e-5), "the norm of a sum in two parts"
assert (sizes["position-position"] > 1.05 * sizes.drop(columns="position-position").max(axis=1)).all(), "in all heads"
assert sizes["position-position"].min() > 1.3 and sizes.drop(columns="position-position").max().max() < 1.4, "sizes"
for _head in heads:
    _term = _head["position-position"].mean(0).masked_fill(torch.ones(64, 64, dtype=torch.bool).triu(1), -math.inf)
    assert (torch.arange(64) - _term.argmax(1)).max() <= 8, "highest at the diagonal or close to it"

for _query, _heads in ((15, 2), (-1, 4)):
    _early = pd.DataFrame(
        [{n: t[:, _query, : _query + 1 or None].std(-1).mean().item() for n, t in h.items()} for h in heads]
    )
    assert (_early.idxmax(axis=1) == "position-position").sum() == _heads, "two heads in an early row, four in the last"
_blank = race.make_model("sinusoidal", race.PRESETS["quick"], seed=0).eval()
with torch.no_grad():
    _x, _p = split_norm(_blank.blocks[0].norm1, _blank.token_embedding(ids), sinusoidal_table(torch.arange(64), 64))
    _Q, _K, _ = _blank.blocks[0].attention.qkv.weight.reshape(3, 4, 16, 64)
    for _i in range(4):
        _each = {n: t[:, -1].std(-1).mean().item() for n, t in four_terms(_x, _p, _Q[_i] / 4, _K[_i]).items()}
        assert min(_each, key=_each.get) == "position-position", "before training it varies least"

# ---- guaranteed is not learned
if usual:
    _hand, _roaming, _sgd, _adamw = on_previous.values()
    assert _hand.min() > 0.8 and abs(_hand[:63].mean() - 0.97) < 0.02, "by hand"
    assert _roaming.mean() > 0.8, "windows anywhere work everywhere"
    assert _adamw[:63].mean() > 0.9 and 0.3 < _adamw[63:].mean() < 0.45 and _adamw[63:83].mean() < 0.4, "AdamW"
    assert _sgd[:63].mean() > max(0.95, _adamw[:63].mean()) and _sgd[63:].mean() < 0.1, "SGD"
_decay = good.loc[good["optimizer"] == "adamw_decay", "beyond"]
assert 0.25 < _decay.min() and _decay.max() < 0.4, "near 0.3 to 0.4"
_slow = good[(good["optimizer"] == "sgd") & (good["lr"] == 0.2) & (good["steps"] == 15_000)]
assert round(_slow["beyond"].item(), 2) == 0.77, "SGD at a quarter of the rate"
assert good["beyond"].min() < 0.02 and good["beyond"].max() > 0.97, "anything between nearly nothing and 98%"
assert (good["next20"] < good["inside"] - 0.02).all(), "not one goes on as well"
_control = tried[tried["start"].str.startswith("anywhere") & (tried["steps"] == 3000)]
assert _control["beyond"].min() > 0.9, "the control, with every optimizer"
_still = good[(good["start"] == "first, from zero") & good["optimizer"].isin(["sgd", "momentum"])]
assert _still["outside"].max() < 0.005 and _still["beyond"].min() < 0.05 < 0.7 < _still["beyond"].max(), "exercise 2.4"

# ---- in code
_x, _state = torch.randn(3, 10, d_model), sinusoidal_table(torch.arange(10), d_model, base)
assert torch.allclose(module(_x), _x + _state) and torch.allclose(module(_x[:1]), module(_x)[:1]), "any batch"
assert not list(module.parameters()) and not module.state_dict(), "a buffer outside the checkpoint"
assert list(card.values()) == [60, False, 0] and scorecard.n_parameters("sinusoidal") == 0, "the scorecard"

# ---- the race
_low = [with_table.center(n) - without.center(n) for n in (64, 128, 256, 512)]
assert -0.46 < _low[0] < -0.4 and 0.6 < _low[1] < 0.7 and min(_low[1:]) > 0.5, "0.4 better, 0.7 worse"
assert max(with_table.values(64)) < min(without.values(64)), "every pair of seeds at 64"
assert all(min(with_table.values(n)) > max(without.values(n)) for n in (128, 256, 512)), "and beyond"
_recall = {b.name: torch.stack([run.recall[64].mean() for run in b.results]) for b in bands}
assert _recall["none"].min() > 0.94 and _recall["sinusoidal"].min() < 0.2 < 0.9 < _recall["sinusoidal"].max(), "recall"
_long = {s: fair_race.band(s, longer=True).results for s in ("none", "sinusoidal")}
assert all(run.recall[64].min() > 0.98 for runs in _long.values() for run in runs), "four times the steps, at 64"
assert all(run.recall[512][0] > 0.4 and run.recall[512][1:].max() < 0.1 for run in _long["sinusoidal"]), "at 512"
assert all(0.4 < run.recall[512][0] < 0.6 for run in _long["sinusoidal"]), "the first marker, half of the time"
_late = sorted(run.recall[512].mean().item() for run in _long["none"])
assert 0.2 < _late[0] < 0.3 and 0.55 < _late[1] < 0.7, "without positions, 0.25 and 0.6"
if usual:
    assert all(abs(run.last[64] - with_table.center(64)) < 0.08 and run.last[128] > 2.7 for run in live), "the live run"

# ---- Deeper
assert max(ways["added, all 64 shared"]) < min(ways["added, 16 channels shared"]) - 0.03, "ways"
_mean = {name: np.mean(losses) for name, losses in ways.items()}
assert 0.19 < _mean["added, 16 channels shared"] - _mean["concatenated, 16 of its own"] < 0.21, "it costs 0.20"
assert min(read["projection first"]) > 0.95 and read["nearest embedding"][-1] == 1, "two readers"
assert 28 < 64 - erase.trace() < 34, "about half of the directions"
assert max(door1["lost"]) < min(at_64["sinusoidal"]), "the bug costs nothing here"
assert 0.03 < np.mean(at_64["sinusoidal"]) - np.mean(door1["lost"]) < 0.05, "by 0.04"
assert correct > 0.9 and correct > forgets + 0.1 and longer > 0.95, "which position am I"
_same = torch.randn(1, 1, 64).expand(1, 10, 64)
for _keep in (True, False):
    _layer = Layer(64, keep=_keep)
    torch.nn.init.zeros_(_layer.attention.out_proj.weight)
    _out = _layer(_same)
    _spread = (_out - _out[:, :1]).abs().max().item()
    assert _spread > 0.5 if _keep else _spread < 1e-5, "the residual forgets"
_near = {name: values[:, :8].mean(1) for name, values in profiles.items()}
assert _near["trained, at 32 to 63"].min() > 3 and _near["trained, at 192 to 255"].max() < 1, "turned around"
_early = trained[:, 192:, :128].sum(-1).mean(-1)
assert 0.69 < _early.min(), "keys 0 to 127 get more than the 57% of equal weights"
_loud = race.make_model("sinusoidal", settings, seed=1).eval()
for _block in _loud.blocks:
    _block.attention.qkv.weight.data[: 2 * settings.d_model] *= 3
_loud = by_distance(average_attention(_loud, texts), inside)[:, :8].mean(-1)
assert _loud.min() < 0.8 and _loud.max() > 1.2, "at three times the scale heads lean either way"
assert p16[257] == p16[256] == 256 and p16.unique().numel() == 385, "the first collision"
_plain, _without = race.recorded("sinusoidal"), race.recorded("none")
_anywhere = door1_variants.recorded_anywhere()
assert max(_anywhere[512]) < min(_plain.values(512)) - 0.05 and min(_anywhere[64]) > max(_without.values(64)), "half"

"""Numbers that sentences of notebook 01 rest on. Runs in its kernel after its last cell, so it knows its names."""

from torch import nn

from helpers import corpus
from helpers.model import Encoder

usual = (preset, seed, sentence) == ("quick", 0, "the cat chased the mouse")

# ------------------------------------------------------------------------------------------ the sentence, on numbers
if usual:
    assert L[1].round(1).tolist() == [-0.5, 3.8, 0.1, -0.5, 3.5], "the framed row, as the text reads it"
    assert softmax(L)[1].round(2).tolist() == [0.01, 0.56, 0.01, 0.01, 0.41], "and its weights"
assert np.allclose(Y[0], Y[3]) and not np.allclose(Y_swapped, Y), "the two 'the' agree; cat and mouse have moved"
assert np.allclose(P @ X, X[order]) and np.allclose(P.T @ P, np.eye(5)), "P reorders rows"
assert torch.allclose(two, one[order], atol=1e-9) and (two - one).abs().max() > 0.5, "twelve layers"


def multi_head(x, w_in, w_out, n_heads):
    q, k, v = (np.split(part, n_heads, -1) for part in np.split(x @ w_in.T, 3, -1))
    heads = [softmax(a @ b.T / np.sqrt(a.shape[1])) @ c for a, b, c in zip(q, k, v, strict=True)]
    return np.concatenate(heads, -1) @ w_out.T


# The same numbers from attention by hand, PyTorch's layer and the course's, with two heads; the shuffle passes through.
theirs = nn.MultiheadAttention(8, num_heads=2, bias=False, batch_first=True, dtype=torch.float64)
course_model = Encoder(vocab_size=4, d_model=8, n_heads=2, n_layers=1).double()
layer = course_model.blocks[0].attention
layer.qkv.weight, layer.out_proj.weight = theirs.in_proj_weight, theirs.out_proj.weight
seen = []
layer.register_forward_hook(lambda _, inputs, outputs: seen.append((inputs[0], outputs[0])))
with torch.no_grad():
    course_model.hidden(ids), course_model.hidden(ids[:, order])
    for x, out in seen:
        by_hand = multi_head(x[0].numpy(), *(w.detach().numpy() for w in (layer.qkv.weight, layer.out_proj.weight)), 2)
        assert np.allclose(by_hand, theirs(x, x, x)[0][0]) and np.allclose(by_hand, out[0]), "three implementations"
assert len(seen) == 2 and torch.allclose(seen[1][1], seen[0][1][:, order]), "the shuffle passes through"

# -------------------------------------------------------------------------------------------- orders, tasks, the leak
assert list(counts.values()) == [1, 4, 60, 60, 60], "orders told apart"
assert live["order", "none"] < 0.55 and live["order", "sinusoidal"] > 0.95 and live["bag", "none"] > 0.97
assert max(recorded["order", "none"]) < 0.55 and min(recorded["order", "sinusoidal"]) > 0.95
assert min(recorded["bag", "none"]) > 0.97 and {len(runs) for runs in recorded.values()} == {6}, "as the caption says"
for _other in range(20):  # weights of other draws, with inputs as small as those of the notebook
    _draw = np.random.default_rng(_other)
    _U, _V = _draw.normal(size=(2, 4)) / 4, _draw.normal(size=(2, 2))
    assert len({tuple(rnn(x, _U, _V).round(9)) for x in sentences}) == 60, "no order is lost in rounding"
_cheapest = np.zeros((5, 5), dtype=bool)  # the solution of exercise 1.3
_cheapest[[0, 1, 2, 2, 3, 4], [0, 0, 2, 3, 0, 1]] = True
assert means(_cheapest) == means(np.tri(5, dtype=bool)) == 60, "six look-ups, or the causal mask's fifteen"
small = order_tasks.make_encoder("none", seed, order_tasks.Settings())
sequences, labels = order_tasks.sample("order", 1000, seed=seed)
mirrored = sequences.clone()
mirrored[sequences == order_tasks.A], mirrored[sequences == order_tasks.B] = order_tasks.B, order_tasks.A
with torch.no_grad():
    assert torch.allclose(small.pooled(sequences), small.pooled(mirrored), atol=1e-5), "one answer for both of a pair"
assert round(share[5] - share[6], 3) == 0.024 and round(share[500] - share[501], 6) == 0.000004, "harder to read"
sunk = [n / (n + 1) for n in (1, 2, 60)]  # sum of n equal weights with a constant under the softmax
assert sunk == sorted(set(sunk)), "weights that sum to less than 1 tell how many there are"
change = (states["with BOS"][2:] - states["with BOS"][1:-1]).norm(dim=-1)
assert (change > 1e-3).all() and (change.diff() < 0).all(), "ever slower, never still"
assert (states["no BOS"] - states["no BOS"][0]).abs().max() < 1e-5, "one state everywhere"
with torch.no_grad():
    for other in (5, 18):  # weights whose states lie on both sides of a rounded number
        state = no_encoding.untrained_lm(other).hidden(same)[0][0]
        assert (state - state[0]).abs().max() < 1e-5, "other weights, one state again"
    shares = [small.pooled(torch.tensor([[order_tasks.A] * 3 * n + [order_tasks.B] * n])) for n in (1, 2)]
    assert torch.allclose(*shares, atol=1e-5), "exercise 1.2: AAAB and AAAAAABB get one output"
pulls = np.exp(np.arange(-3, 3.25, 0.25))  # of the explorable: how far apart the last two of eight words are
apart = pulls / (pulls + 6) - pulls / (pulls + 7)
assert np.arange(-3, 3.25, 0.25)[apart.argmax()] in (1.75, 2) and 1.9 < apart.max() / (1 / 7 - 1 / 8) < 2.3

# ------------------------------------------------------------------------------------- published, real, the first card
assert round(bleu["keys and values"] - bleu["neither"], 1) == 13.3 and masked["none"] / masked["learned"] > 36
assert all(zeroed == 1.0 for _, zeroed in real.values()) and round(real[pair][0], 3) == 0.983, "MiniLM"
assert list(told.values()) == [1, 1, 60] and moved["no encoding"] < 1e-6 < 1 < moved["Ramp"], "the first card"
plain = scorecard.encoder(Everywhere())
for name in [name for name, part in plain.named_modules() if isinstance(part, nn.LayerNorm)]:
    plain.set_submodule(name, nn.RMSNorm(32, dtype=torch.float64))
with torch.no_grad():
    summary = plain.pooled(scorecard.all_orders())
assert len(torch.unique(summary.mul(1e6).round(), dim=0)) == 60, "with RMSNorm Everywhere gets through"
marked = torch.cat([torch.full((60, 1), 4), scorecard.all_orders()], 1)  # one fixed token in front, as [CLS]
with torch.no_grad():
    summary = scorecard.encoder("alibi", vocab_size=5).pooled(marked)
assert scorecard.orders_told_apart("alibi") == 30 and len(torch.unique(summary.mul(1e5).round(), dim=0)) == 60

# ------------------------------------------------------------------------------------------------------------ the race
assert [round(band.center(n), 2) for n in lengths] == [2.38, 2.43, 2.45, 2.46], "marks to beat"
assert 0.07 < band.center(512) - band.center(64) < 0.085, "it creeps up by 0.08"
tried = list(fair_race.trials("none").values())
assert [round(end(r.last[64] for r in tried), 2) for end in (min, max)] == [2.36, 2.41], "at six learning rates"
assert [round(end(map(fair_race.gap, tried)), 2) for end in (min, max)] == [0.04, 0.12], "up by so much"
assert 0.23 < band.center(64) - longer.center(64) < 0.25, "four times the steps"
assert 0.36 < longer.center(512) - longer.center(64) < 0.4 and longer.center(512) > band.center(512), "now it breaks"
assert (len(band.results), len(longer.results)) == (3, 2)
assert min(run.recall[512].min() for run in band.results) > 0.75, "most windows, at any distance"
assert min(run.recall[512].mean() for run in tried) < 0.3, "at the lowest rate in few: hence the scope"
assert sorted(round(run.recall[512].mean().item(), 2) for run in longer.results) == [0.25, 0.62], "recall falls, too"
if lap and preset == "quick":
    assert all(abs(run.last[n] - band.center(n)) < 0.1 for run in lap for n in lengths), "the lap lies on the band"


def table_losses(k, test, prior=5.0):
    """Loss of a table of counts that knows the k previous characters, at each character of (segments, characters)."""
    data, n = corpus.load().train, len(corpus.ALPHABET)
    p = torch.full((1, n), 1 / n, dtype=torch.float64)
    for j in range(k + 1):  # from no context to k characters; each table leans on the one before
        key = sum(data[i : len(data) - j + i] * n ** (j - i) for i in range(j + 1))
        counted = torch.bincount(key, minlength=n ** (j + 1)).view(-1, n) + prior * p.repeat(n if j else 1, 1)
        p = counted / counted.sum(1, keepdim=True)
    key = sum(test[:, i : test.shape[1] - k + i] * n ** (k - i) for i in range(k + 1))
    return -p.flatten()[key].log()


if lap:  # the text is there
    test = race.segments(race.PRESETS["fair"])
    scores = [round(table_losses(k, test)[:, -32:].mean().item(), 2) for k in (1, 2)]
    assert scores == [2.49, 2.03], f"tables of counts: {scores}"
    test = race.segments(race.PRESETS["quick"])
    assert round(table_losses(2, test)[:, -32:].mean().item(), 2) == 1.94, "on the text of the first race"

# -------------------------------------------------------------------------------------------------------------- Deeper
short, long = (np.array(budgets[name]) for name in ("400 steps", "4,000 steps"))  # at 64, 32, 16, 8, 4, 2, 1, 0 kept
assert 0.05 < short[-2] - short[0] < 0.07 and 1.5 < short[-1] - short[0] < 1.7, "after 400 steps"
assert 0.45 < short[0] - long[0] < 0.6 and abs(long[3] - long[0]) < 0.05, "half a nat; eight characters are enough"
assert [round(x, 1) for x in long[4:7] - long[0]] == [0.2, 0.6, 1.4], "four, two, one in place"
if lap:
    guess = torch.bincount(corpus.load().train, minlength=len(corpus.ALPHABET)) + 1
    sample = no_encoding.windows(corpus.load().valid, 1024, 65, bos=False, seed=0)
    assert short[-1] > -(guess / guess.sum()).log()[sample[:, -1]].mean() + 0.5, "misled, not only uninformed"
    if usual:
        assert max(r2["untrained, no BOS"]) < 0.1 < 0.2 < min(r2["untrained, with BOS"])
        assert max(r2["trained without BOS"] + r2["untrained, with BOS"]) < 0.5 < 0.6 < min(r2["trained with BOS"])
        found_at = read["trained with BOS"][0]
        error = found_at.mean(0) - torch.arange(64)  # of the read-out, position by position
        assert error[1] < -5 and 8 < error[20] < 13 and -20 < error[63] < -15  # a dip, too late, too early
        width = found_at.quantile(0.9, dim=0) - found_at.quantile(0.1, dim=0)
        assert 15 < width[1:10].mean() < 25 and 8 < width[20:].mean() < 12
budget = {steps: race.recorded("none", lr=3e-3, steps=steps) for steps in (400, 4000)}
assert [round(budget[4000].center(n), 2) for n in (64, 128, 256, 512)] == [1.74, 2.15, 2.47, 2.58]
assert [round(budget[400].center(n), 2) for n in (64, 128, 512)] == [2.34, 2.38, 2.40]
rope, bias = code_lm["rope"], code_lm["alibi"]
assert rank["none"] < 1 and rope["1400"] > 10 * rope["1024"] and none["1400"] < none["1024"], "RoPE breaks sooner"
assert bias["1400"] > bias["1024"] and 4 * bias["1024"] < bias["1800"] < none["1800"] / 2, "ALiBi creeps up"

"""Checks of notebook 03, learned positions."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..encodings.learned import padded_positions
from ..encodings.t5 import t5_buckets
from . import todo, untouched


def _number(value) -> float:
    """A number, or the only one of a list, a tuple or an array."""
    return float(np.ravel(value).item()) if isinstance(value, list | tuple | np.ndarray) else float(value)


# ---------------------------------------------------------------------------------------- 3.1 which row is it


def rows_of(answer) -> str | None:
    """``answer(real, padding_idx, table_rows)``: RoBERTa's rows for a mask (B, T), and the longest text."""
    real = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 1]])
    for padding_idx, table_rows in ((1, 20), (3, 33)):
        both = answer(real.clone(), padding_idx, table_rows)
        if untouched(both):
            return todo
        rows, longest = both
        rows, longest = torch.as_tensor(rows), _number(longest)
        if rows.shape != real.shape:
            return f"one row per token is needed, shape {tuple(real.shape)}; yours has {tuple(rows.shape)}."
        if not bool((rows == rows.long()).all()):
            return "rows of a table are whole numbers."
        rows, right = rows.long(), padded_positions(real.bool()) + padding_idx + 1
        if not torch.equal(rows, right):
            return _wrong_row(rows, right, real, padding_idx)
        if longest == table_rows:
            return "the longest text: rows 0 to padding_idx are no position, so the whole table is too many."
        if longest in (table_rows - padding_idx, table_rows - padding_idx - 2):
            return "the longest text is off by one: the positions own rows padding_idx + 1 to table_rows - 1."
        if longest != table_rows - padding_idx - 1:
            return "the longest text: count the rows from padding_idx + 1 to table_rows - 1."
    return None


def _wrong_row(rows: torch.Tensor, right: torch.Tensor, real: torch.Tensor, padding_idx: int) -> str:
    if any(torch.equal(rows, low) for low in (right - 1, (right - 1) * real, right - real)):
        return "off by one: the first real token reads row padding_idx + 1, because row padding_idx is padding's."
    if torch.equal(rows * real, padded_positions(real.bool()).clamp(min=0) * real):
        return "the rows start at 0: RoBERTa's first real token reads row padding_idx + 1."
    if any(torch.equal(rows, high) for high in (right + 1, right + real, real.cumsum(1) + padding_idx + 1)):
        return "one too far: a sum over the tokens up to here gives 1 for the first, which reads row padding_idx + 1."
    if torch.equal(rows, torch.arange(6).expand_as(real) + padding_idx + 1):
        return "padding is counted here, so the same words get other rows when padded on the left."
    if torch.equal(rows, real.cumsum(1) + padding_idx):
        return "padding must read row padding_idx; yours lets it repeat the row of the last real token."
    if torch.equal(rows, right * real):
        return "padding reads row 0 here; it must read row padding_idx."
    if torch.equal(rows, real.cumsum(0) * real + padding_idx):
        return "this counts down the batch: the positions are the second axis."
    if torch.equal(rows, real.flatten().cumsum(0).view(real.shape) * real + padding_idx):
        return "this counts on from one text to the next: every text starts anew."
    if torch.equal(rows * real, real.flip(1).cumsum(1).flip(1) * real + padding_idx * real):
        return "this counts from the right: the first token of a text comes first."
    if torch.equal(rows * real, right * real):
        return "the real tokens are right, but padding must read row padding_idx, wherever it stands."
    if (rows == right)[:3].all():
        return "padding may also stand between real tokens: count the real ones, do not subtract a left margin."
    if torch.equal(rows, padded_positions(real.bool()) + 2):
        return "this is OPT's rule: its 2 is a constant. RoBERTa counts from padding_idx + 1."
    return "count the real tokens with a cumulative sum, zero it on padding, then add padding_idx."


# ------------------------------------------------------------------------------- 3.2 where the last bucket begins


def last_begins(answer) -> str | None:
    """``answer(num_buckets, max_distance, both_directions)``: the first distance of the last bucket of the past."""
    back = torch.arange(2000)
    settings = [(32, 128, False), (32, 128, True), (32, 48, False), (16, 64, False), (64, 1000, True), (8, 20, False)]
    mine, right = [], []
    for setting in settings:
        found = answer(*setting)
        if untouched(found):
            return todo
        mine.append(_number(found))
        buckets = t5_buckets(-back, *setting)
        right.append(float((buckets == buckets.max()).nonzero()[0]))
    if mine == right:
        return None

    def exactly(setting, step: int = 1, both: bool | None = None, exact: int | None = None) -> float:
        """Where the last bucket begins, with one thing of the derivation done in another way."""
        side = setting[0] // 2 if (setting[2] if both is None else both) else setting[0]
        exact = exact or side // 2
        part = max(side - exact - step, 0) / max(side - exact, 1)
        return exact * (setting[1] / exact) ** part

    if mine == [float(setting[1]) for setting in settings]:
        return "max_distance is where a step *would* begin behind the last bucket: the last bucket begins one earlier."
    if any(value != int(value) for value in mine):
        return "a distance is a whole number: round up to the first one that has arrived in the last bucket."
    if mine == [value + 1 for value in right]:
        return "one too far: if the formula gives 112.4, then 113 is in the last bucket already."
    if mine == [math.floor(exactly(setting)) for setting in settings]:
        return "rounded down: at that distance the logarithm has not yet reached the last step. Round up."
    if mine == [math.ceil(exactly(setting, both=False)) for setting in settings]:
        return "with both directions each side has half of the buckets, and a quarter of all are exact."
    if mine == [math.ceil(exactly(setting, step=2)) for setting in settings]:
        return "that is where the bucket before the last begins: B - 1 is the last, counted from 0."
    if mine == [math.ceil(exactly(setting, exact=16)) for setting in settings]:
        return "the number of exact buckets is half of a side's, not always 16."
    if mine == [-value for value in right]:
        return "give the number of steps back, a positive number."
    if mine == [round(exactly(setting)) for setting in settings]:
        return "rounded to the nearest: below 112.4 no whole distance has arrived. Round up."
    if mine == [setting[1] - 1 for setting in settings]:
        return "the last bucket is far wider than that: it is the last of several equal steps of the logarithm."
    if mine == [math.ceil(exactly(setting, both=not setting[2])) for setting in settings]:
        return "the two modes are swapped: an encoder halves the buckets, a decoder does not."
    if mine == [math.ceil(_wrong_share(setting)) for setting in settings]:
        return "the logarithm fills the buckets behind the exact ones only: its share is (B - m - 1) / (B - m)."
    where = next(i for i, pair in enumerate(zip(mine, right, strict=True)) if pair[0] != pair[1])
    return f"for {settings[where]} the last bucket does not begin at {mine[where]:g}. Try t5_bucket around it."


def _wrong_share(setting) -> float:
    """The last bucket's begin if the logarithm ran over all buckets of a side."""
    side = setting[0] // 2 if setting[2] else setting[0]
    return side // 2 * (setting[1] / (side // 2)) ** ((side - 1) / side)


# ------------------------------------------------------------------------------------------ 3.3 the mystery table


def mystery(seed: int) -> np.ndarray:
    """A position table (rows, 48) of known structure: waves, two scarred rows, and rows that nobody trained."""
    return _make(seed)[0]


def _make(seed: int) -> tuple[np.ndarray, list[float], list[int], int]:
    """The table, its periods, its scarred rows and its number of trained rows."""
    random = np.random.default_rng([3, seed])
    rows, width, trained = int(random.integers(360, 520)), 48, int(random.integers(240, 330))
    count = 2 + seed % 2
    periods = [float(random.uniform(6.5, 9)) * ratio for ratio in (1, 2.6, 6.5)[:count]]
    directions = np.linalg.qr(random.normal(size=(width, 2 * count)))[0].T
    at = np.arange(trained)
    table = np.zeros((rows, width))
    for period, pair in zip(periods, directions.reshape(count, 2, width), strict=True):
        phase = 2 * np.pi * at / period + random.uniform(0, 6)
        table[:trained] += random.uniform(0.9, 1.1) * (
            np.outer(np.cos(phase), pair[0]) + np.outer(np.sin(phase), pair[1])
        )
    table[:trained] += 0.02 * random.normal(size=(trained, width))
    usual = np.median(np.linalg.norm(table[:trained], axis=1))
    noise = random.normal(size=(rows - trained, width))
    table[trained:] = usual * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    scars = sorted(int(row) for row in random.choice(np.arange(20, trained - 20), 2, replace=False))
    for row in scars:
        away = random.normal(size=width)
        table[row] += 2.2 * usual * away / np.linalg.norm(away)
    return table, periods, scars, trained


def _listed(values):
    """A set, a generator, the values of a dict as a list; all else as it is."""
    return values if hasattr(values, "__len__") and hasattr(values, "__getitem__") else list(values)


def read_table(answer) -> str | None:
    """``answer(table)``: (periods, scarred rows, number of trained rows) of tables that the reader has not seen."""
    for seed in (1, 2, 3, 4):
        table, periods, scars, trained = _make(seed)
        found = answer(table.copy())
        if untouched(found):
            return todo
        mine, marks, length = found
        mine, marks = (sorted(float(value) for value in np.ravel(_listed(part))) for part in (mine, marks))
        length = _number(length)
        if length == len(table):
            return "not all rows were trained. Norms do not tell; does a row resemble its neighbor?"
        if length in (trained - 1, trained + 1):
            return "the number of trained rows is off by one: with rows 0 to n - 1 trained it is n."
        if length != trained:
            return f"the number of trained rows is not {length:g}. Where do neighbors stop resembling each other?"
        if marks == [row + 1 for row in scars]:
            return "the scarred rows are counted from 1: rows count from 0."
        if not marks:
            return "two rows are scarred: look at the norms."
        if marks != scars:
            return "the scarred rows are not those. Their norm is far above that of a usual row; no others are scarred."
        if len(mine) < len(periods):
            return (
                f"there is more than that: you found {len(mine)} wave{'s' * (len(mine) != 1)}, look for further tops."
            )
        if len(mine) > len(periods):
            return (
                "too many waves: noise and scars have small tops everywhere. Keep the high ones, of trained rows only."
            )
        if np.allclose(mine, sorted(1 / p for p in periods), rtol=0.13):
            return "these are frequencies: a period is one over it."
        if np.allclose(mine, sorted(2 * np.pi / p for p in periods), rtol=0.13):
            return "these are angles per row: a period is 2 pi over it."
        if np.allclose(2 * np.array(mine), periods, rtol=0.13) or np.allclose(mine, 2 * np.array(periods), rtol=0.13):
            return "half or twice the periods: a period is the number of positions from crest to crest."
        if not np.allclose(mine, periods, rtol=0.13):
            return "the periods are not those. An entry of the spectrum is a frequency; divide by its number of points."
    return None


# ---------------------------------------------------------------------------------------- 3.4 what stretching breaks


def kept(answer) -> str | None:
    """``answer(period)``: norm of the row halfway between two neighboring rows of a wave of norm 1."""
    periods = np.array([2.0, 2.5, 3.0, 6.0, 18.0, 55.0, 164.0])
    mine = []
    for period in periods:
        found = answer(float(period))
        if untouched(found):
            return todo
        mine.append(_number(found))
    mine, right = np.array(mine), np.cos(np.pi / periods)
    if np.allclose(mine, right, atol=6e-4):  # three digits are enough
        return None
    if np.allclose(mine, 1):
        return "the norm is not kept: the middle of two arrows of norm 1 lies inside the circle."
    if np.allclose(mine, right**2, atol=1e-4):
        return "this is the square of the norm: take the root."
    if np.allclose(mine, np.cos(2 * np.pi / periods), atol=1e-4):
        return "2 pi / T is the whole angle between the two rows; the middle halves it."
    if np.allclose(mine, np.cos(np.pi / periods / 2), atol=1e-4):
        return "the angle is halved twice: between the two rows it is 2 pi / T."
    if np.allclose(mine, np.sin(np.pi / periods), atol=1e-4):
        return "this is half of the distance between the two rows; asked is how far their middle is from 0."
    if np.allclose(mine, 2 * right, atol=1e-4):
        return "this is the norm of the sum: the row halfway is the mean of the two."
    if np.allclose(mine, 1 - right, atol=6e-4):
        return "this is what is lost of the norm; asked is what is left."
    if np.allclose(mine, 100 * right, atol=6e-2):
        return "this is in percent: asked is the norm itself, at most 1."
    if np.allclose(mine, np.cos(np.degrees(np.pi / periods)), atol=1e-4):
        return "the angle is in degrees; math.cos wants radians."
    return "add the two rows, halve, take the norm: what does it depend on besides the angle between them?"


# ------------------------------------------------------------------------------------------------ 3.5 four numbers


def four_numbers(answer) -> str | None:
    """``answer(distance, numbers)``: a bias of at most four numbers that is judged by what it can learn."""
    distance = torch.arange(-20, 21)
    start = torch.tensor([0.3, -0.2, 0.1, 0.4], requires_grad=True)
    found = answer(distance.clone(), start)
    if untouched(found):
        return todo
    found = _bias(found)
    if found.shape != distance.shape:
        return f"one bias per distance is needed, shape {tuple(distance.shape)}; yours has {tuple(found.shape)}."
    square = distance[:, None] - distance
    if _bias(answer(square, start)).shape != square.shape:
        return "a matrix of distances must give a matrix of biases: work on any shape."
    far = _bias(answer(torch.tensor([-10_000, -1, 0, 1, 10_000]), start))
    if not (found.isfinite().all() and far.isfinite().all()):
        return "not finite everywhere: try distance 0, a negative one and 10,000, and numbers below 0."
    reached = torch.autograd.grad(found.sum(), start, allow_unused=True)[0] if found.requires_grad else None
    if reached is None:
        return "nothing to train: no gradient reaches `numbers`."
    if not torch.allclose(_bias(answer(distance[:9], start)), found[:9], atol=1e-5):
        return "the bias of a distance must not depend on which other distances are asked for."
    if torch.allclose(found, found.flip(0), atol=1e-6):
        return "left and right look the same: the bias of -n and of n are equal."
    for target, name in ((-1, "before"), (1, "after")):
        best = max(_trained(answer, distance, target, seed) for seed in range(3))
        if best < 0.8:
            return (
                f"trained to attend to the word just {name}, it gives it {best:.0%} at most. "
                "Can it tell near from far, and both from the token itself?"
            )
    return None


def _bias(values) -> torch.Tensor:
    """A bias as a tensor; a list of tensors, one per distance, keeps its gradient."""
    if isinstance(values, list | tuple) and values and all(isinstance(v, torch.Tensor) for v in values):
        return torch.stack(list(values))
    return torch.as_tensor(values)


def _trained(answer, distance: torch.Tensor, target: int, seed: int) -> float:
    """The attention on a distance after the numbers were trained for it; stops as soon as it is enough."""
    start = torch.randn(4, generator=torch.Generator().manual_seed(seed)) * 0.1
    numbers = start.requires_grad_()
    optimizer, share = torch.optim.Adam([numbers], lr=0.1), torch.zeros(())
    for _ in range(300):
        share = _bias(answer(distance, numbers)).float().softmax(-1)[distance == target].sum()
        if share > 0.82 or not share.isfinite():
            break
        optimizer.zero_grad()
        (-share.clamp(min=1e-12).log()).backward()
        optimizer.step()
    return share.item()


CHECKS = {"3.1": rows_of, "3.2": last_begins, "3.3": read_table, "3.4": kept, "3.5": four_numbers}

_ROBERTA = "import torch\ndef answer(real, padding_idx, table_rows):\n    return {rows}, {longest}"
_RIGHT_ROWS, _RIGHT_LONGEST = "real.cumsum(1) * real + padding_idx", "table_rows - padding_idx - 1"

_LAST = """
import math
def answer(num_buckets, max_distance, both_directions):
    side = num_buckets // 2 if {both} else num_buckets
    exact = {exact}
    return {end}(exact * (max_distance / exact) ** ((side - exact - {step}) / (side - exact)))
"""


def _last(both: str = "both_directions", exact: str = "side // 2", end: str = "math.ceil", step: int = 1) -> str:
    return _LAST.format(both=both, exact=exact, end=end, step=step)


_READ = """
import numpy as np
def answer(table):
    norms = np.linalg.norm(table, axis=1)
    scars = np.flatnonzero(norms > 1.5 * np.median(norms)).tolist()
    unit = table / norms[:, None]
    trained = int(np.flatnonzero((unit[1:] * unit[:-1]).sum(1) > 0.6)[-1]) + 2
    rows = table[:trained] - table[:trained].mean(0)
    power = (np.abs(np.fft.rfft(rows * np.hanning(trained)[:, None], n=4096, axis=0)) ** 2).sum(1)[1:]
    period = 1 / np.fft.rfftfreq(4096)[1:]
    top = (power[1:-1] > power[:-2]) & (power[1:-1] > power[2:]) & (power[1:-1] > {level} * power.max())
    periods = period[1:-1][top]
    return {periods}, {scars}, {trained}
"""


def _read(periods: str = "periods", scars: str = "scars", trained: str = "trained", level: float = 0.3) -> str:
    return _READ.format(periods=periods, scars=scars, trained=trained, level=level)


_FOUR = "import torch\ndef answer(distance, numbers):\n    {}"

MISTAKES = {
    "3.1": {
        "from one text to the next": _ROBERTA.format(
            rows="real.flatten().cumsum(0).view(real.shape) * real + padding_idx", longest=_RIGHT_LONGEST
        ),
        "from the right": _ROBERTA.format(
            rows="real.flip(1).cumsum(1).flip(1) * real + padding_idx", longest=_RIGHT_LONGEST
        ),
        "real tokens are right": _ROBERTA.format(
            rows="(real.cumsum(1) * real).clamp(min=1) + padding_idx", longest=_RIGHT_LONGEST
        ),
        "off by one: the first": _ROBERTA.format(rows=f"{_RIGHT_ROWS} - 1", longest=_RIGHT_LONGEST),
        "start at 0": _ROBERTA.format(rows="(real.cumsum(1) - 1) * real", longest=_RIGHT_LONGEST),
        "padding is counted": _ROBERTA.format(
            rows="torch.arange(real.shape[1]).expand(real.shape) + padding_idx + 1", longest=_RIGHT_LONGEST
        ),
        "padding must read": _ROBERTA.format(rows="real.cumsum(1) + padding_idx", longest=_RIGHT_LONGEST),
        "OPT": _ROBERTA.format(rows="real.cumsum(1) * real + 1", longest=_RIGHT_LONGEST),
        "row 0 here": _ROBERTA.format(rows="(real.cumsum(1) + padding_idx) * real", longest=_RIGHT_LONGEST),
        "down the batch": _ROBERTA.format(rows="real.cumsum(0) * real + padding_idx", longest=_RIGHT_LONGEST),
        "left margin": "import torch\ndef answer(real, padding_idx, table_rows):\n"
        "    margin = (real.cumsum(1) == 0).sum(1, keepdim=True)\n"
        "    return (torch.arange(1, real.shape[1] + 1) - margin) * real + padding_idx, table_rows - padding_idx - 1",
        "the whole table": _ROBERTA.format(rows=_RIGHT_ROWS, longest="table_rows"),
        "text is off by one": _ROBERTA.format(rows=_RIGHT_ROWS, longest="table_rows - padding_idx"),
        "one too far": _ROBERTA.format(rows="real.cumsum(1) + padding_idx + 1", longest=_RIGHT_LONGEST),
        "whole numbers": _ROBERTA.format(rows=f"{_RIGHT_ROWS} + 0.5", longest=_RIGHT_LONGEST),
    },
    "3.2": {
        "one earlier": "def answer(num_buckets, max_distance, both_directions):\n    return max_distance",
        "whole number": _last(end=""),
        "one too far": _last(end="1 + math.ceil"),
        "rounded down": _last(end="math.floor"),
        "half of the buckets": _last(both="False"),
        "bucket before the last": _last(step=2),
        "not always 16": _LAST.format(both="both_directions", exact="16", end="math.ceil", step=1).replace(
            "(side - exact - 1) / (side - exact)", "max(side - exact - 1, 0) / max(side - exact, 1)"
        ),
        "positive number": _last(end="-math.ceil"),
        "rounded to the nearest": _last(end="round"),
        "far wider": "def answer(num_buckets, max_distance, both_directions):\n    return max_distance - 1",
        "modes are swapped": _last(both="not both_directions"),
        "buckets behind the exact": _last().replace("(side - exact - 1) / (side - exact)", "(side - 1) / side"),
    },
    "3.3": {
        "not all rows were trained": _read(trained="len(table)"),
        "trained rows is off by one": _read(trained="trained - 1"),
        "counted from 1": _read(scars="[row + 1 for row in scars]"),
        "look at the norms": _read(scars="[]"),
        "no others": _read(scars="[*scars, 0]"),
        "more than that": _read(periods="periods[:1]"),
        "too many waves": _read(level=0.0001),
        "frequencies": _read(periods="1 / periods"),
        "angles per row": _read(periods="2 * np.pi / periods"),
        "half or twice": _read(periods="periods / 2"),
        "number of points": _read(periods="4096 / periods"),
    },
    "3.4": {
        "not kept": "def answer(period):\n    return 1.0",
        "square": "import math\ndef answer(period):\n    return math.cos(math.pi / period) ** 2",
        "whole angle": "import math\ndef answer(period):\n    return math.cos(2 * math.pi / period)",
        "halved twice": "import math\ndef answer(period):\n    return math.cos(math.pi / period / 2)",
        "half of the distance": "import math\ndef answer(period):\n    return math.sin(math.pi / period)",
        "norm of the sum": "import math\ndef answer(period):\n    return 2 * math.cos(math.pi / period)",
        "what is lost": "import math\ndef answer(period):\n    return 1 - math.cos(math.pi / period)",
        "percent": "import math\ndef answer(period):\n    return 100 * math.cos(math.pi / period)",
        "radians": "import math\ndef answer(period):\n    return math.cos(180 / period)",
        "besides the angle": "def answer(period):\n    return 1 - 1 / period",
    },
    "3.5": {
        "left and right": _FOUR.format("return -numbers[0] * distance.abs() + numbers[1] * (distance == 0)"),
        "nothing to train": _FOUR.format("return -distance.abs().float() * 0.5 + (distance > 0)"),
        "reaches `numbers`": _FOUR.format("return torch.nn.Parameter(torch.zeros(100))[distance.clamp(-50, 49) + 50]"),
        "below 0": _FOUR.format("return -numbers[0] * (1 + numbers[1] * (distance - numbers[2]).abs()).log()"),
        "not finite": _FOUR.format("return numbers[0] * (distance + 1e-9).log()"),
        "which other distances": _FOUR.format("return numbers[0] * (distance - distance.float().mean())"),
        "near from far": _FOUR.format("return numbers[distance.clamp(-1, 2) + 1]"),
        "one bias per distance": _FOUR.format("return (numbers[0] * distance).sum()"),
        "matrix of distances": _FOUR.format("return (numbers[0] * distance).flatten()\n"),
        "the word just before": _FOUR.format("return numbers[0] * distance.sign() * (1 + 0 * numbers[1])"),
    },
}

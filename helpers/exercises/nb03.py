"""Checks of notebook 03, learned positions."""

from __future__ import annotations

import numpy as np
import torch

from ..encodings.learned import interpolate_table, padded_positions
from ..encodings.t5 import t5_buckets
from . import todo, untouched


def whole(values: torch.Tensor) -> bool:
    """True if all values are whole numbers, of whatever dtype."""
    return bool((values == values.long()).all())


# ---------------------------------------------------------------------------------------- 3.1 which row is it


def rows_of(answer) -> str | None:
    """``answer(real, padding_idx)``: RoBERTa's rows for a mask (B, T) of ones and zeros."""
    real = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 1]])
    for padding_idx in (1, 3):
        rows = answer(real.clone(), padding_idx)
        if untouched(rows):
            return todo
        rows = torch.as_tensor(rows)
        if rows.shape != real.shape:
            return f"one row a token is needed, shape {tuple(real.shape)}; yours has {tuple(rows.shape)}."
        if not whole(rows):
            return "rows of a table are whole numbers."
        rows, right = rows.long(), padded_positions(real.bool()) + padding_idx + 1
        if torch.equal(rows, right):
            continue
        if torch.equal(rows, right - 1) or torch.equal(rows, (right - 1) * real):
            return "off by one: the first real token reads row padding_idx + 1, because row padding_idx is padding's."
        if torch.equal(rows, torch.arange(6).expand_as(real) + padding_idx + 1):
            return "these are slot numbers: padding is counted, so the same words get other rows when padded left."
        if torch.equal(rows, real.cumsum(1) + padding_idx):
            return "padding must read row padding_idx; yours lets it repeat the row of the last real token."
        if torch.equal(rows, right * real):
            return "padding reads row 0 here; it must read row padding_idx."
        if torch.equal(rows, real.cumsum(0) * real + padding_idx):
            return "this counts down the batch: the positions are the second axis."
        if (rows == right)[:3].all():
            return "padding may also stand between real tokens: count the real ones, do not subtract a left margin."
        if torch.equal(rows, padded_positions(real.bool()) + 2):
            return "this is OPT's rule: its 2 is a constant. RoBERTa counts from padding_idx + 1."
        return "count the real tokens with a cumulative sum, zero it on padding, then add padding_idx."
    return None


# ------------------------------------------------------------------------------------------- 3.2 T5's bucket


def bucket(answer) -> str | None:
    """``answer(distance)``: T5's bidirectional bucket of one signed distance key minus query, 32 buckets, 128."""
    far = [*range(-140, 141)]
    if untouched(answer(-3)):
        return todo
    found = [answer(d) for d in far]
    if any(int(bucket) != bucket for bucket in found):
        return "a bucket is a whole number: floor the logarithmic part."
    mine = torch.tensor([int(bucket) for bucket in found])
    d = torch.tensor(far)
    right = t5_buckets(d, bidirectional=True)
    if torch.equal(mine, right):
        return None
    if torch.equal(mine, t5_buckets(-d, bidirectional=True)):
        return "the sign is turned around: distance is key minus query, and the *future* gets buckets 17 to 31."
    if torch.equal(mine, t5_buckets(d)):
        return "this is the causal rule with 32 buckets for the past; here each direction has 16."
    if torch.equal(mine, t5_buckets(-d.abs()) + 0) or torch.equal(mine, t5_buckets(-d.abs(), 16)):
        return "past and future share buckets here: add 16 where the distance is above 0."
    if mine.max() > 31:
        return "a bucket above 31: clip each side at 15 before adding 16 for the future."
    if torch.equal(mine, t5_buckets(d, bidirectional=True) + 16 * (d == 0)):
        return "distance 0 belongs to the past side, bucket 0; bucket 16 stays empty."
    n = d.abs()
    grown = 8 + (n.clamp(min=8) / 8).log() / np.log(16) * 8
    nearest = torch.where(n < 8, n, grown.round().long().clamp(max=15)) + 16 * (d > 0)
    if torch.equal(mine, nearest):
        return "the logarithm is rounded to the nearest bucket; T5 floors it."
    linear = (n * 16 // 128).clamp(max=15) + 16 * (d > 0)
    if torch.equal(mine, linear):
        return "the buckets are equally wide; T5's are one wide up to 7 and grow geometrically from 8 on."
    wrong = d[mine != right]
    if set(wrong.abs().tolist()) <= {16, 32, 64, 128}:
        return "right but for some powers of two, where the logarithm falls just short of a whole number: add 1e-6."
    wrong = wrong[0].item()
    return f"distance {wrong} belongs in bucket {t5_buckets(torch.tensor(wrong), bidirectional=True).item()}."


# --------------------------------------------------------------------------------------- 3.3 Shaw's row index


def shaw_rows(answer) -> str | None:
    """``answer(seq_len, k)``: (T, T) rows, 0 .. 2k, of clip(j - i, -k, k), query i down, key j across."""
    for seq_len, k in ((7, 2), (9, 3)):
        rows = answer(seq_len, k)
        if untouched(rows):
            return todo
        rows = torch.as_tensor(rows)
        if rows.shape != (seq_len, seq_len):
            return f"a table of {seq_len} queries by {seq_len} keys is needed; yours has shape {tuple(rows.shape)}."
        if not whole(rows):
            return "rows of a table are whole numbers."
        rows = rows.long()
        distance = torch.arange(seq_len)[None, :] - torch.arange(seq_len)[:, None]
        right = distance.clamp(-k, k) + k
        if torch.equal(rows, right):
            continue
        if torch.equal(rows, right.T):
            return "this is query minus key (DeBERTa's sign); Shaw's distance is key minus query, j - i."
        if torch.equal(rows, right - k):
            return "negative rows: add k. An index below 0 silently reads the table from its end."
        if torch.equal(rows, distance + k):
            return "not clipped: distances beyond k must share the row at the edge."
        if torch.equal(rows, (distance + k).clamp(0, 2 * k - 1)):
            return "this table has 2k rows; -k .. k are 2k + 1 distances, so the last row is 2k."
        if torch.equal(rows, distance.clamp(-k, 0) + k):
            return "keys ahead all read the row of distance 0: clip at +k as well."
        if torch.equal(rows, distance.abs().clamp(max=k)):
            return "the sign of the distance is lost: left and right would look the same."
        return "row = clip(j - i, -k, k) + k, with the query i going down and the key j across."
    return None


# --------------------------------------------------------------------------------------- 3.4 stretch a table


def stretch(answer) -> str | None:
    """``answer(table, length)``: a table (L, d) stretched linearly to (length, d), both ends kept."""
    generator = torch.Generator().manual_seed(3)
    for size, length in ((5, 9), (4, 10)):
        table = torch.randn(size, 6, generator=generator)
        mine = answer(table.clone(), length)
        if untouched(mine):
            return todo
        mine = torch.as_tensor(mine).float()
        if mine.shape == (size, length):
            return "the channels were stretched: the axis of positions is the first."
        if mine.shape != (length, 6):
            return f"the result must have shape ({length}, 6); yours has {tuple(mine.shape)}."
        if torch.allclose(mine, interpolate_table(table, length), atol=1e-5):
            continue
        if torch.allclose(mine, table.repeat(length // size + 1, 1)[:length], atol=1e-5):
            return "tiled: row L is row 0 again, so two positions share each row."
        nearest = table[(torch.arange(length) * size // length)]
        if torch.allclose(mine, nearest, atol=1e-5):
            return "rows were repeated: neighbors become equal. Mix the two rows on either side instead."
        half = torch.nn.functional.interpolate(table.T[None], size=length, mode="linear")[0].T
        if torch.allclose(mine, half, atol=1e-5):
            return "the ends moved: this is align_corners=False. Row 0 and the last row should stay what they were."
        if torch.allclose(mine[:size], table, atol=1e-5):
            return "the old rows stand unchanged at the front: that extends the table, it does not stretch it."
        return "place the new rows evenly between row 0 and row L - 1 and mix the two neighbors of each."
    return None


CHECKS = {"3.1": rows_of, "3.2": bucket, "3.3": shaw_rows, "3.4": stretch}

_T5 = """
import math
def answer(distance):
    side = 16
    n = abs(distance)
    if n >= 8:
        n = min({last}, 8 + {cut}(math.log(n / 8) / math.log(128 / 8) * 8 + 1e-9))
    return n + {offset}
"""

MISTAKES = {
    "3.1": {
        "off by one": "def answer(real, padding_idx):\n    return (real.cumsum(1) * real + padding_idx) - 1",
        "slot numbers": "def answer(real, padding_idx):\n"
        "    import torch\n    return torch.arange(real.shape[1]).expand(real.shape) + padding_idx + 1",
        "padding must read": "def answer(real, padding_idx):\n    return real.cumsum(1) + padding_idx",
        "OPT": "def answer(real, padding_idx):\n    return real.cumsum(1) * real + 1",
        "row 0": "def answer(real, padding_idx):\n    return (real.cumsum(1) + padding_idx) * real",
        "down the batch": "def answer(real, padding_idx):\n    return real.cumsum(0) * real + padding_idx",
        "left margin": "import torch\ndef answer(real, padding_idx):\n"
        "    margin = (real.cumsum(1) == 0).sum(1, keepdim=True)\n"
        "    return (torch.arange(1, real.shape[1] + 1) - margin) * real + padding_idx",
        "whole numbers": "def answer(real, padding_idx):\n    return real.cumsum(1) * real + padding_idx + 0.5",
    },
    "3.2": {
        "sign": _T5.format(last=15, cut="int", offset="16 * (distance < 0)"),
        "causal rule": "import torch\nfrom helpers.encodings.t5 import t5_buckets\n"
        "def answer(distance):\n    return t5_buckets(torch.tensor(distance)).item()",
        "share buckets": _T5.format(last=15, cut="int", offset="0"),
        "above 31": _T5.format(last=99, cut="int", offset="16 * (distance > 0)"),
        "bucket 16 stays empty": _T5.format(last=15, cut="int", offset="16 * (distance >= 0)"),
        "floors": "import math\ndef answer(distance):\n    n = abs(distance)\n    if n >= 8:\n"
        "        n = min(15, round(8 + math.log(n / 8) / math.log(16) * 8))\n    return n + 16 * (distance > 0)",
        "whole number": _T5.format(last=15, cut="float", offset="16 * (distance > 0)"),
        "powers of two": "import math\ndef answer(distance):\n    n = abs(distance)\n    if n >= 8:\n"
        "        n = min(15, int(8 + math.log(n / 8) // (math.log(16) / 8)))\n    return n + 16 * (distance > 0)",
        "equally wide": "def answer(distance):\n    return min(15, abs(distance) * 16 // 128) + 16 * (distance > 0)",
    },
    "3.3": {
        "query minus key": "import torch\ndef answer(n, k):\n    p = torch.arange(n)\n"
        "    return (p[:, None] - p[None]).clamp(-k, k) + k",
        "negative rows": "import torch\ndef answer(n, k):\n    p = torch.arange(n)\n"
        "    return (p[None] - p[:, None]).clamp(-k, k)",
        "not clipped": "import torch\ndef answer(n, k):\n    p = torch.arange(n)\n    return p[None] - p[:, None] + k",
        "keys ahead": "import torch\ndef answer(n, k):\n    p = torch.arange(n)\n"
        "    return (p[None] - p[:, None]).clamp(-k, 0) + k",
        "whole numbers": "import torch\ndef answer(n, k):\n    p = torch.arange(n)\n"
        "    return (p[None] - p[:, None]).clamp(-k, k) + k + 0.5",
        "2k + 1": "import torch\ndef answer(n, k):\n    p = torch.arange(n)\n"
        "    return (p[None] - p[:, None] + k).clamp(0, 2 * k - 1)",
        "sign of the distance": "import torch\ndef answer(n, k):\n    p = torch.arange(n)\n"
        "    return (p[None] - p[:, None]).abs().clamp(max=k)",
    },
    "3.4": {
        "channels were stretched": "import torch\ndef answer(table, length):\n"
        "    return torch.nn.functional.interpolate(table[None], size=length, mode='linear', align_corners=True)[0]",
        "tiled": "def answer(table, length):\n    return table.repeat(length // len(table) + 1, 1)[:length]",
        "repeated": "import torch\ndef answer(table, length):\n"
        "    return table[torch.arange(length) * len(table) // length]",
        "align_corners": "import torch\ndef answer(table, length):\n"
        "    return torch.nn.functional.interpolate(table.T[None], size=length, mode='linear')[0].T",
        "extends": "import torch\ndef answer(table, length):\n"
        "    return torch.cat([table, torch.zeros(length - len(table), table.shape[1])])",
    },
}

"""The recorded attention-by-distance of SmolLM2: its fits, and a miniature of the measurement without the weights."""

from __future__ import annotations

import numpy as np
import torch

from helpers.pretrained import distance
from helpers.pretrained.distance import OFFSETS, fit, summary


def test_fits_recover_known_shapes():
    d = torch.arange(OFFSETS + 1, dtype=torch.float64)
    exponential, power = torch.exp(-0.1 * d), (d + 1e-9).clamp(min=1) ** -1.5
    found = summary(torch.stack([exponential, power])[None])  # one layer, two heads
    torch.testing.assert_close(found["exponential"]["slope"][0], torch.tensor(-0.1, dtype=torch.float64))
    torch.testing.assert_close(found["power"]["slope"][1], torch.tensor(-1.5, dtype=torch.float64))
    assert found["exponential"]["r2"][0] > 0.999 > found["power"]["r2"][0]
    assert found["power"]["r2"][1] > 0.999 > found["exponential"]["r2"][1]


def test_fit_is_least_squares():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=20), rng.normal(size=20)
    slope, r2 = fit(torch.tensor(x), torch.tensor(y))
    assert np.isclose(slope, np.polyfit(x, y, 1)[0]) and np.isclose(r2, np.corrcoef(x, y)[0, 1] ** 2)


def test_the_record_says_what_made_it():
    stored = distance.recorded()
    values = stored["values"]
    assert len(values["exponential"]["slope"]) == 270 and len(values["mean"]) == OFFSETS + 1
    assert len(stored["provenance"]["model_sha256"]) == 64 and stored["provenance"]["texts"]
    assert values["mean"][1] > values["mean"][4] > values["mean"][16] > values["mean"][64]

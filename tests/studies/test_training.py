"""The training loop: resumed exactly, refused under other settings, and looked at without being disturbed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import race, store, training

STEPS = 12


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 2))


def batches():
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        yield torch.randn(5, 3, generator=generator), torch.randint(2, (5,), generator=generator)


def loss(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(net(x), y)


def fit(net: nn.Module | None = None, **changed) -> list[float]:
    arguments = {"steps": STEPS, "lr": 1e-2, "schedule": training.cosine(3, STEPS), "settings": {"seed": 1}, "every": 5}
    net = net or model()
    torch.manual_seed(2)  # of the dropout
    return training.fit(net, batches(), loss, **arguments | changed)


def interrupted(file, at: int = 8, **changed) -> None:
    class Stopped(Exception):
        pass

    def stop(step, _):
        if step == at:
            raise Stopped

    with pytest.raises(Stopped):
        fit(checkpoint=file, on_step=stop, **changed)
    assert file.exists()


def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path):
    """Weights, moments, rate and the random numbers of the dropout: all go on where they stopped."""
    whole, resumed, file = model(), model(), tmp_path / "unfinished.pt"
    expected = fit(whole)
    interrupted(file)
    torch.manual_seed(99)
    assert fit(resumed, checkpoint=file) == expected and not file.exists()
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lr": 1e-5}, r"optimizer\.lr was 0\.01, now 1e-05"),
        ({"weight_decay": 0.0}, r"optimizer\.weight_decay was 0\.1, now 0\.0"),
        ({"settings": {"seed": 1, "scheme": "rope"}}, r"scheme was not there, now \"rope\""),
        ({"settings": {"seed": 2}}, "seed was 1, now 2"),
    ],
)
def test_a_run_begun_with_other_settings_is_refused(tmp_path, changed, words):
    file = tmp_path / "unfinished.pt"
    interrupted(file)
    with pytest.raises(store.OtherSettings, match=rf"unfinished\.pt .*{words}; delete it to train from the start"):
        fit(checkpoint=file, **changed)
    assert file.exists()


def test_the_race_hands_over_all_that_it_depends_on(tmp_path):
    tiny = race.Settings(d_model=16, n_heads=2, n_layers=1, train_len=16, batch=4, steps=6, lengths=(16, 32))

    class Stopped(Exception):
        pass

    def stop(step, _):
        if step == 2:
            raise Stopped

    def begin(settings=tiny, seed=0, label="rope, seed 0", **more):
        model = race.make_model("rope", settings, 0)
        return race.train(model, settings, seed, label=label, checkpoint=checkpoint, every=1, **more)

    checkpoint = tmp_path / "unfinished.pt"
    with pytest.raises(Stopped):
        begin(on_step=stop)
    for changed in (
        {"settings": dataclasses.replace(tiny, lr=1e-5)}, {"settings": dataclasses.replace(tiny, batch=8)},
        {"settings": dataclasses.replace(tiny, weight_decay=0.0)}, {"settings": dataclasses.replace(tiny, warmup=1)},
        {"seed": 1}, {"label": "rope[base=500], seed 0"},
    ):  # fmt: skip
        with pytest.raises(store.OtherSettings):
            begin(**changed)
    assert len(begin()) == 6 and not checkpoint.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04cut short"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    file = tmp_path / "unfinished.pt"
    file.write_bytes(content)
    with pytest.raises(store.BrokenFile, match=r"unfinished\.pt cannot be read .*delete it"):
        fit(checkpoint=file)


def test_looking_on_changes_nothing():
    net, seen = model(), []

    def look(step, value):
        net.eval()
        seen.append((step, value.item()))

    assert fit(net, on_step=look) == fit() == [value for _, value in seen]
    assert [step for step, _ in seen] == list(range(1, STEPS + 1)) and net.training


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="steps=0"):
        fit(steps=0)
    with pytest.raises(ValueError, match="a checkpoint needs what the run depends on"):
        fit(checkpoint="x", settings=None)
    with pytest.raises(ValueError, match="batches='12 of them': there must be steps=13"):
        fit(steps=13)


def test_schedules():
    def rates(schedule):
        scheduler, found = schedule(torch.optim.SGD(model().parameters(), lr=0.1)), []
        for _ in range(STEPS):
            found.append(scheduler.get_last_lr()[0])
            scheduler.optimizer.step()
            scheduler.step()
        return found

    assert rates(training.warm_up(4)) == pytest.approx([0.025, 0.05, 0.075, *[0.1] * 9])
    curve = rates(training.cosine(4, STEPS))
    assert curve[3] == curve[4] == max(curve) == 0.1 and curve[-1] == pytest.approx(0.0134, abs=1e-3)


def test_the_benchmark_learns_how_long_training_took(tmp_path, monkeypatch):
    file = tmp_path / "seconds"
    monkeypatch.setenv(training.SECONDS, str(file))
    fit(), fit()
    seconds = [float(line) for line in file.read_text(encoding="utf-8").split()]
    assert len(seconds) == 2 and min(seconds) > 0

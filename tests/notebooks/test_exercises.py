"""Exercises: stubs left alone say TODO, folded solutions say OK, and every classic mistake is caught by its name."""

from __future__ import annotations

import functools
import importlib

import numpy as np
import pytest
import torch

from helpers import exercises, scorecard
from helpers.encodings import Encoding
from helpers.studies import order_tasks
from tests.notebook_code import FILES, cells, code, definitions
from tools.exercises import Exercise
from tools.exercises import exercises as exercises_of


@functools.cache
def found(number: str) -> dict[str, Exercise]:
    """Exercise -> stub, the expression handed to the check, its hint and its solution."""
    return exercises_of(FILES[number])


@functools.cache
def space(number: str) -> dict:
    return definitions(number)


def answer(number: str, source: str, expression: str):
    """Execute an answer's source among the notebook's own definitions; the object that the check would be given."""
    scope = dict(space(number))
    scope.pop("answer", None)
    exec(source, scope)
    return scope["answer"] if "answer" in scope else eval(expression, scope)


EXERCISES = [(number, exercise) for number in FILES for exercise in found(number)]
MISTAKES = [
    (number, exercise, words)
    for number in FILES
    for exercise, wrong in importlib.import_module(f"helpers.exercises.nb{number}").MISTAKES.items()
    for words in wrong
]


@pytest.mark.parametrize("number", FILES)
def test_every_exercise_has_a_stub_a_check_a_hint_and_a_solution(number):
    module = importlib.import_module(f"helpers.exercises.nb{number}")
    here = found(number)
    checks = [cell["source"] for cell in code(number) if "check" in cell["tags"]]
    assert len(here) == len(checks), 'a check cell calls check("N.M", answer), behind a stub'
    assert list(here) == list(module.CHECKS) == [f"{int(number)}.{i + 1}" for i in range(len(here))]
    for name, exercise in here.items():
        assert exercise.stub and "..." in exercise.stub, f"{name}: no stub"
        assert exercise.hint and exercise.solution, f"{name}: no folded hint and solution after its check"
        assert module.MISTAKES.get(name), f"{name}: list the classic mistakes"


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_a_stub_left_alone_says_todo(number, name):
    exercise = found(number)[name]
    assert exercises.feedback(name, answer(number, exercise.stub, exercise.expression)) == f"{name} TODO"


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_the_folded_solution_is_right(number, name):
    exercise = found(number)[name]
    assert exercises.feedback(name, answer(number, exercise.solution, exercise.expression)) == f"{name} OK"


@pytest.mark.parametrize(("number", "name", "words"), MISTAKES)
def test_a_classic_mistake_is_caught_and_named(number, name, words):
    source = importlib.import_module(f"helpers.exercises.nb{number}").MISTAKES[name][words]
    text = exercises.feedback(name, answer(number, source, found(number)[name].expression))
    assert text.startswith(f"{name} not yet: "), text
    assert words in text, f"the feedback does not say {words!r}: {text}"
    assert "your code raised" not in text, "a mistake is an answer that runs"
    assert "\n" not in text and len(text) < 240


def test_a_bias_that_needs_no_prepare_is_an_answer():
    """Door 3 alone: the number of the key, which the softmax turns into a difference to every other key."""
    source = (
        "class Answer(Encoding):\n    def bias(self, q, k, state, layer):\n"
        "        return 0.3 * torch.arange(k.shape[-2])[None, None, None]\nanswer = Answer"
    )
    assert exercises.feedback("1.4", answer("01", source, "")) == "1.4 OK"


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("1.1", "np.argsort"),
        ("1.1", "lambda order: sorted(range(len(order)), key=order.__getitem__)"),
        ("1.1", "lambda order: torch.tensor(order).argsort()"),
        ("1.1", "lambda order: np.argsort(order) - len(order)"),
        ("1.2", "'A, C and F'"),
        ("1.2", "'{a/c/f}'"),
        ("1.2", "iter('acf')"),
        ("1.2", "np.array(['f', 'c', 'a'])"),
        ("1.2", "[q in 'acf' for q in 'abcdefg']"),
        ("1.2", "torch.tensor([q in 'acf' for q in 'abcdefg'])"),
        ("1.2", "[1, 0, 1, 0, 0, 1, 0]"),
        ("1.2", "{q: 'yes' if q in 'acf' else 'no' for q in 'abcdefg'}"),
        ("1.2", "pd.Series({q: q in 'acf' for q in 'abcdefg'})"),
        ("1.3", "torch.tensor(MASK)[None, None]"),
        ("1.3", "MASK[None]"),
        ("1.3", "pd.DataFrame(MASK)"),
        ("1.3", "np.where(MASK, 0, -np.inf)"),
        ("1.3", "torch.where(torch.tensor(MASK), 0.0, torch.finfo(torch.float32).min)"),
        ("1.3", "MASK[[4, 0, 1, 2, 3]][:, [4, 0, 1, 2, 3]].tolist()"),
        ("1.5", "[4, 0, 2, 1, 3]"),
        ("1.5", "reversed(range(5))"),
        ("1.5", "torch.arange(5).flip(0)"),
        ("1.5", "list('43210')"),
        ("1.5", "'4, 3, 2, 1, 0'"),
        ("1.5", "[-1, -2, -3, -4, -5]"),
        ("1.5", "np.arange(4.0, -1.0, -1.0)"),
    ],
)
def test_unusual_right_forms_of_1(name, right):
    source = (
        "import pandas as pd\nMASK = np.zeros((5, 5), dtype=bool)\n"
        f"MASK[[0, 1, 2, 2, 3, 4], [0, 0, 2, 3, 0, 1]] = True\nanswer = {right}"
    )
    assert exercises.feedback(name, answer("01", source, "")) == f"{name} OK"


@pytest.mark.parametrize(
    "bias",
    [
        "d[0]",
        "(d > 0)[:, None]",
        "d[:, None].half()",
        "-1e-4 * d[:, None]",
        "torch.sin(0.3 * d)[:, None]",
        "d[:, None].clamp(-1, 1) * 0.7",
        "torch.tensor([0, 0, 0, 1.0])[:, None, None] * d[:, None]",
        "k_pos[:, None, None] * 0.2",
    ],
)
def test_unusual_right_forms_of_1_4(bias):
    """Bare (T, S), booleans, half precision, weak, one head alone, and a key's number, which the softmax shifts."""
    source = (
        "class Answer(Encoding):\n    def prepare(self, q_pos, k_pos, allowed):\n"
        f"        d = self.distance(q_pos, k_pos)\n        return {bias}\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer"
    )
    assert exercises.feedback("1.4", answer("01", source, "")) == "1.4 OK"


@torch.no_grad()
def test_a_bias_too_weak_for_single_precision_is_rightly_refused():
    """Of 1e-6 per position: orders lie closer together than a bag's own outputs do, computed in single precision."""

    class Weak(Encoding):
        def prepare(self, q_pos, k_pos, allowed):
            return -1e-6 * self.distance(q_pos, k_pos)[:, None]

        def bias(self, q, k, state, layer):
            return state

    orders = scorecard.all_orders()
    weak, bag = scorecard.encoder(Weak()).pooled(orders), scorecard.encoder(Encoding()).float().pooled(orders)
    apart, noise = (torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") for x in (weak, bag))
    apart.fill_diagonal_(1)
    assert apart.min() < 1e-7 < apart[apart < 1].max() < 1e-6 and noise.max() > apart.min()


_SPEED = "((math.atan2(b[2], b[3]) - math.atan2(a[2], a[3])) % (2 * math.pi))"


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("2.1", "lambda a, b: math.acos(float(a[2:4] @ b[2:4])) ** (-len(a) / 2)"),
        ("2.1", "lambda a, b: np.angle(complex(b[3], b[2]) / complex(a[3], a[2])) ** (-len(a) / 2)"),
        ("2.1", f"lambda a, b: torch.tensor([{_SPEED} ** (-len(a) / 2)])"),
        ("2.1", f"lambda a, b: math.exp(-math.log({_SPEED}) * len(a) / 2)"),
        ("2.2", "torch.tensor(3)"),
        ("2.2", "np.array([3])"),
        ("2.2", "(3, 4)"),
        ("2.3", "np.geomspace(math.pi / 640, math.pi / 64, 32)[:, None]"),
        ("2.3", "np.linspace(0, math.pi / 64, 32)"),
        ("2.3", "tuple(math.pi / (64 + i) for i in range(32))"),
        ("2.3", "nn.Parameter(torch.linspace(math.pi / 640, math.pi / 64, 32)).flip(0)"),
        ("2.3", "frequencies(64, 4.0) / 20.4"),
        ("2.4", "{'SGD': torch.tensor(0.001), 'AdamW': np.float32(0.27)}"),
        ("2.4", "pd.Series({'sgd': 0.0, 'adamw': 0.27})"),
        ("2.4", "{'sgd': '0.0', 'adamw': '0.27'}"),
    ],
)
def test_unusual_right_forms_of_2(name, right):
    source = f"import pandas as pd\nanswer = {right}"
    assert exercises.feedback(name, answer("02", source, "")) == f"{name} OK"


def test_2_5_takes_a_table_at_any_door_of_the_model():
    """As an encoding of one's own, or as a difference to the model's table; the loss as a tensor or an array."""
    own = """
from helpers.encodings import Encoding
class Added(Encoding):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows
    def embed(self, x, state):
        return x + self.rows.float()
def answer(table):
    model, text = race.load_model("sinusoidal", seed=0), corpus.excerpt()
    model.encoding = Added(table)
    with torch.no_grad():
        logits = model(text[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
"""
    difference = """
def answer(table):
    model, text = race.load_model("sinusoidal", seed=0), corpus.excerpt()
    rows = table - sinusoidal_table(torch.arange(64), 64)
    with torch.no_grad():
        logits = model(model.token_embedding(text[:, :-1]) + rows)
    return nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()).numpy()
"""
    for source in (own, difference):
        assert exercises.feedback("2.5", answer("02", source, "")) == "2.5 OK"


def test_an_answer_may_write_into_what_it_is_given():
    """A rotation in place is a right answer, though it changes the very tensor that the check compares with."""
    source = found("04")["4.1"].solution.replace("return ", "x[:] = ") + "\n    return x"
    assert exercises.feedback("4.1", answer("04", source, "apply_rotary")) == "4.1 OK"


def test_the_remark_under_the_solution_of_1_4():
    """A bias of -3 on what lies ahead solves the order task; a symmetric one cannot."""
    (remark,) = (cell["source"] for cell in cells("01") if cell["id"] == "ex-1-4-help")
    for bias, solved in (("torch.where(distance > 0, -3.0, 0.0)", True), ("-0.5 * distance.abs()", False)):
        assert f"`{bias}`" in remark
        source = (
            "class Answer(Encoding):\n    def prepare(self, q_pos, k_pos, allowed):\n"
            f"        distance = self.distance(q_pos, k_pos)\n        return ({bias})[:, None]\n"
            "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer()"
        )
        accuracy = order_tasks.train_and_score("order", answer("01", source, ""))
        assert accuracy > 0.95 if solved else abs(accuracy - 0.5) < 0.05


def test_a_mask_is_a_bias_too():
    """Unusual, and right: nobody looks at their own position, which leaves -inf on the diagonal."""
    source = (
        "class Answer(Encoding):\n    def prepare(self, q_pos, k_pos, allowed):\n"
        "        distance = self.distance(q_pos, k_pos)\n"
        "        return torch.where(distance == 0, -torch.inf, 0.4 * distance)[:, None]\n"
        "    def bias(self, q, k, state, layer):\n        return state\nanswer = Answer"
    )
    assert exercises.feedback("1.4", answer("01", source, "")) == "1.4 OK"


@pytest.mark.parametrize("hidden", ["-1e9", "torch.finfo(torch.float32).min", "float('-inf')"])
@pytest.mark.parametrize(
    "bias", ["-s[:, None, None] * d", "s[:, None, None] * torch.arange(T)", "3 - s[:, None, None] * d"]
)
def test_any_mask_that_gives_the_same_attention_is_right(bias, hidden):
    """A huge negative number hides as minus infinity does, and the softmax forgives what is added to a whole row."""
    source = (
        "def answer(s, n, T):\n    d = torch.arange(T - n, T)[:, None] - torch.arange(T)\n"
        f"    return ({bias}).expand(len(s), n, T).masked_fill(d < 0, {hidden})[None]"
    )
    assert exercises.feedback("5.4", answer("05", source, "")) == "5.4 OK"


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("5.1", "torch.tensor([0.3 * (8 / 16384 / 0.3) ** (h / 7) for h in range(8)])[:, None]"),
        ("5.1", "torch.tensor([0.3 * (8 / 16384 / 0.3) ** (h / 7) for h in range(8)])[:, None, None]"),
        ("5.2", "lambda ids, token: [row[:1] + [token] + row[1:] for row in ids.tolist()]"),
        ("5.2", "lambda ids, token: torch.cat([ids[:, :1], ids[:, :1] * 0 + token, ids[:, 1:]], 1).int()"),
        ("5.4", "lambda s, n, T: torch.stack([(x * torch.arange(T)).expand(n, T) for x in s])[None]"
                ".masked_fill(torch.ones(n, T).triu(T - n + 1).bool(), -torch.inf).tolist()"),
        ("5.5", "lambda q, k, s: [np.concatenate([x, y.expand(*x.shape[:-1], 2)], -1) for x, y in ((q, torch.tensor("
                "8.0)), (k, s[:, None, None] * torch.tensor([[j - j % 128, j % 128] for j in range(k.shape[-2])])))]"),
    ],
)  # fmt: skip
def test_unusual_right_forms_of_5(name, right):
    assert exercises.feedback(name, eval(right, {"torch": torch, "np": np})) == f"{name} OK"


NONSENSE = [0, "", "text", "3", b"3", True, [], ["a"], [[1], [2, 3]], {}, {"a": 1}, {3}, 10**400, float("nan"), 1j,
            object(), torch.ones(2), torch.tensor(True), np.array(["a"])]  # fmt: skip


@pytest.mark.parametrize(("number", "name"), EXERCISES)
@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
def test_a_check_answers_whatever_it_is_given(number, name, nonsense, capsys):
    """As the answer, and as what the answer returns: one line, not OK, and no word of code that raised."""
    for given in (nonsense, lambda *a, **k: nonsense):
        exercises.check(name, given)
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) == 1 and printed[0].startswith((f"{name} not yet: ", f"{name} TODO")), printed
        assert "your code raised" not in printed[0] and len(printed[0]) < 240


@pytest.mark.parametrize(("number", "name"), EXERCISES)
@pytest.mark.parametrize("code", [lambda *a, **k: 1 / 0, lambda *a: exit(), lambda: 3, len, type, print], ids=repr)
def test_a_check_goes_on_after_code_that_does_not(number, name, code, capsys):
    exercises.check(name, code)
    printed = capsys.readouterr().out.splitlines()
    assert printed and printed[-1].startswith(f"{name} ") and not printed[-1].endswith("OK")


def test_an_error_of_many_lines_is_told_in_one():
    def answer(order):
        raise ValueError("first\nsecond")

    assert exercises.feedback("1.1", answer) == "1.1 not yet: your code raised ValueError: first"
    assert exercises.feedback("1.1", lambda order: "text") == (
        "1.1 not yet: an order of 5 positions needs 5 entries; yours has shape ()."
    )
    assert exercises.feedback("2.1", "text") == (
        "2.1 not yet: your answer is 'text' (str), which cannot be read here: see the stub for what is asked."
    )


def test_feedback_has_one_of_three_forms():
    assert exercises.feedback("1.1", ...) == "1.1 TODO"
    assert exercises.feedback("1.1", None) == "1.1 TODO"
    assert exercises.feedback("1.1", lambda order: 1 / 0) == (
        "1.1 not yet: your code raised ZeroDivisionError: division by zero"
    )

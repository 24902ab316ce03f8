"""No function that computes an encoding is without an oracle, and the page that says so is current."""

from __future__ import annotations

import pytest

from tools import evidence


@pytest.mark.parametrize("function", evidence.needing_an_oracle())
def test_every_function_that_computes_has_an_oracle(function):
    against = {entry.against for entry in evidence.oracles() if function in entry.functions}
    assert against, f"{function}: no test is marked @pytest.mark.oracle({function!r}, against=...)"


def test_marks_name_functions_that_exist_and_packages_that_are_pinned():
    known = set(evidence.public())
    for entry in evidence.oracles():
        assert set(entry.functions) <= known, f"{entry.test} names {set(entry.functions) - known}"
        assert entry.cases > 0
        name = evidence.package(entry.against)
        assert entry.against == evidence.PAPERS or name.lower() in evidence.versions(), f"{entry.test}: {name}"


def test_exemptions_are_of_things_that_exist():
    assert set(evidence.ELSEWHERE) <= set(evidence.public(*evidence.COMPUTING))


def test_schemes_and_rules_have_both_kinds_of_oracle_where_a_package_exists():
    """The closed form for all; a package for all but those that the literature left without one."""
    no_package = {
        "kerple", "fire", "sandwich", "window.window_bias", "mixed",  # none is installable
        "base", "sinusoidal.dot_product_by_distance", "sinusoidal.shift_matrix",
        "shaw.relative_values", "learned.interpolate_table",
        "axial.grid_positions", "rope.layout_permutation", "extension.plain", "extension.ntk_by_parts",
        "extension.abf", "extension.blend", "extension.rotations", "rope.rope_exponents",
    }  # fmt: skip
    kinds: dict[str, set] = {}
    for entry in evidence.oracles():
        for function in entry.functions:
            kinds.setdefault(function, set()).add(entry.against == evidence.PAPERS)
    schemes = {p.stem for p in (evidence.ROOT / "helpers" / "encodings").glob("*.py")}
    for function in evidence.needing_an_oracle():
        if function.split(".")[0] in schemes:
            assert True in kinds[function], f"{function}: mark a test of its closed form, against={evidence.PAPERS!r}"
            alone = function in no_package or function.split(".")[0] in no_package
            remedy = "has a package: take it out of" if alone else "compare it with a package, or add it to"
            assert alone == (False not in kinds[function]), f"{function}: {remedy} no_package of this test"


def test_mutants_are_argued():
    """Every survivor of the last mutation run has its reason; at least 95 of 100 are killed."""
    study = evidence.mutants()  # which files it covers, and whether they are still those: test_mutate
    killed, total = (sum(f[key] for f in study["files"].values()) for key in ("killed", "mutants"))
    assert killed / total >= 0.95
    assert total - killed == len(study["survivors"])
    assert all(len(s["why"].split()) >= 4 for s in study["survivors"])


def test_the_page_is_current():
    assert evidence.PAGE.read_text(encoding="utf-8") == evidence.page(), "run: python3 tasks.py evidence"

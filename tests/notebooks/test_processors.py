"""The pictures of a notebook are the same on other processors: drawn again with their code paths, on this one.

PyTorch, MKL, oneDNN, OpenBLAS and NumPy each choose their instructions by the processor, and each has a switch that
makes them choose as on another. Minutes for each run, so nightly only; what a change of a thousandth does to a picture
is tested always, in test_figures.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools import sameness

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "figures"
FOUND = " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])  # beyond what NumPy cannot do without

OLDEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "NPY_DISABLE_CPU_FEATURES": FOUND,
    "OPENBLAS_CORETYPE": "Prescott",
}
SETTINGS = {
    "oldest": OLDEST,
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "two threads": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
}
RUNS = [("oldest", number) for number in ("01", "02", "03", "04", "05", "06")]
RUNS += [(setting, number) for setting in ("avx2", "two threads") for number in ("02", "04")]


@pytest.mark.nightly
@pytest.mark.parametrize(("setting", "number"), RUNS)
def test_another_processor_draws_the_same_pictures(setting, number, tmp_path):
    command = [sys.executable, "tasks.py", "--current-env", "figures", "--only", number, "--out", str(tmp_path)]
    environment = {**os.environ, **SETTINGS[setting]}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    fresh = {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert set(fresh) == {path.name for path in FIGURES.glob(f"{number}_*.png")}
    changed = {name: sameness.difference((FIGURES / name).read_bytes(), png) for name, png in fresh.items()}
    assert not {name: found for name, found in changed.items() if found}

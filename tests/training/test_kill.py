"""A run that is killed any number of times ends with the weights of one that was left alone, to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs are forked")
@pytest.mark.parametrize(
    ("name", "case", "kills"),
    [
        ("SIGKILL", "bf16", 3),
        pytest.param("SIGKILL", "plain", 10, marks=pytest.mark.slow),
        pytest.param("SIGTERM", "threads", 4, marks=pytest.mark.slow),
        pytest.param("SIGKILL", "threads", 50, marks=pytest.mark.exhaustive),
        pytest.param("SIGTERM", "bf16", 20, marks=pytest.mark.exhaustive),
    ],
)
def test_killed_runs_end_bit_identical(tmp_path: Path, name: str, case: str, kills: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "references.killing", str(tmp_path), str(kills), name, case],
        cwd=TESTS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"killed {kills} times" in done.stdout

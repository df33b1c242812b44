"""The tests of the Triton kernels, run by Triton's interpreter on the CPU, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_every_triton_kernel_passes_its_tests_under_the_interpreter() -> None:
    pytest.importorskip("triton", reason="triton ships for Linux only")
    files = sorted(str(path) for path in HERE.glob("test_triton_*.py"))
    assert files
    # What pytest was told from outside, such as where to write its results, is for the outer session.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5", *files],
        cwd=HERE.parents[1],
        env={**environment, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout

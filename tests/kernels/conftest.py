"""How the Triton forms are proved: run on a GPU or by Triton's interpreter, and compiled without either.

`test_triton_*.py` run in a session of their own, with ``TRITON_INTERPRET=1`` (see `test_interpreter.py`), and where
there is a GPU. Triton reads the variable when a kernel is defined: a process has kernels or their interpretation.
"""

from __future__ import annotations

import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore_glob = [] if INTERPRETED or torch.cuda.is_available() else ["test_triton_*.py"]


def pytest_configure(config: pytest.Config) -> None:
    # The interpreter computes in numpy, which warns of infinities and NaN, and of what masked lanes hold.
    config.addinivalue_line("filterwarnings", "ignore::RuntimeWarning:triton.runtime.interpreter")


@pytest.fixture
def device() -> str:
    """Where the Triton forms run in this session."""
    return "cpu" if INTERPRETED else "cuda"

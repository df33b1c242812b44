"""Fixtures that every test may use: the real data, found or loudly missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def _data_folder(name: str) -> Path:
    root = Path(os.environ.get("SEGKIT_TEST_DATA") or Path(__file__).parents[1] / "../shared/data")
    folder = (root / name).resolve()
    if not folder.is_dir():
        message = f"real data not found: no folder {name} under SEGKIT_TEST_DATA or ../shared/data"
        if os.environ.get("SEGKIT_REQUIRE_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """CamVid: 367 train and 101 val frames of 480x360, grey index masks with void = 11."""
    return _data_folder("camvid")


@pytest.fixture(scope="session")
def hippocampus_root() -> Path:
    """130 T1 volumes with two tissue labels, in the layout of the Medical Segmentation Decathlon."""
    return _data_folder("Task04_Hippocampus")

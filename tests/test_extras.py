"""A missing optional package is named, with the command that brings it; the table is the one of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from segkit._extras import EXTRAS, needed
from segkit.errors import MissingExtraError

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_table_is_that_of_the_package():
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for_users = {name: lines for name, lines in declared.items() if name not in ("dev", "docs", "bench")}
    assert {
        name: " ".join(re.match(r"[\w.-]+", line)[0] for line in lines) for name, lines in for_users.items()
    } == EXTRAS


def test_a_present_package_is_imported():
    with needed("plots", "drawing"):
        import json
    assert json


def test_a_missing_one_is_named_with_its_command():
    with (
        pytest.raises(
            MissingExtraError, match="reading NIfTI needs nibabel_absent: run `pip install nibabel scipy`"
        ) as caught,
        needed("medical", "reading NIfTI"),
    ):
        import nibabel_absent.sub  # noqa: F401
    assert "(the `medical` extra)" in str(caught.value)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ImportError)


def test_an_import_error_without_a_name_lists_what_the_extra_brings():
    with pytest.raises(MissingExtraError, match="tables needs tifffile imagecodecs"), needed("images", "tables"):
        raise ImportError("broken library")


def test_other_errors_pass_through():
    with pytest.raises(KeyError), needed("plots", "drawing"):
        raise KeyError("x")


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_no_message_offers_the_name_of_somebody_elses_package(path):
    assert "pip install segkit" not in path.read_text(encoding="utf-8")

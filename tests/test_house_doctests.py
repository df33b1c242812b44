"""Every example in a docstring runs, in a folder that holds a street.jpg and a small data/camvid."""

from __future__ import annotations

import doctest
import importlib

import pytest

from house import SRC, modules

WITH_EXAMPLES = [name for name, module in modules(SRC).items() if ">>>" in module.path.read_text(encoding="utf-8")]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_run(name, examples_folder):
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=FLAGS)
    assert results.failed == 0
    assert results.attempted > 0, "examples stand where doctest does not look"


def test_there_are_examples_and_none_is_left_out():
    assert "segkit.labels" in WITH_EXAMPLES
    assert [name for name, module in modules(SRC).items() if "doctest: +SKIP" in module.path.read_text()] == []

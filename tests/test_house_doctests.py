"""Every example in a docstring runs, each module's in a folder of its own."""

from __future__ import annotations

import doctest
import importlib

import pytest

from house import SRC, modules

WITH_EXAMPLES = [name for name, module in modules(SRC).items() if ">>>" in module.path.read_text(encoding="utf-8")]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=FLAGS)
    assert results.failed == 0
    assert results.attempted > 0, "examples stand where doctest does not look"


def test_there_are_examples():
    assert "segkit.labels" in WITH_EXAMPLES

"""The public face: what `__all__` says, what can be imported, what the lazy table hands out, and what the docs list."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

import segkit
from house import ROOT, SRC

# Each public module and package of the top level; the command line is described by its own --help.
PUBLIC = sorted(
    path.stem for path in (SRC / "segkit").iterdir() if path.suffix in (".py", "") and not path.stem.startswith("_")
)
LIBRARY = [name for name in PUBLIC if name not in ("cli", "py")]
API = ROOT / "docs" / "api.md"


def documented() -> list[str]:
    """What docs/api.md documents, in full: `segkit.metrics.iou`."""
    return re.findall(r"^\.\. auto\w+:: (segkit\.[\w.]+)", API.read_text(encoding="utf-8"), re.MULTILINE)


def test_all_and_the_lazy_table_are_the_same():
    assert set(segkit.__all__) == {*segkit._HOMES, "__version__"}
    assert len(set(segkit.__all__)) == len(segkit.__all__)


@pytest.mark.parametrize("name", [name for name in segkit.__all__ if name != "__version__"])
def test_the_top_level_hands_out_what_its_home_has(name):
    home = importlib.import_module(f"segkit.{segkit._HOMES[name]}")
    assert getattr(segkit, name) is getattr(home, name)
    assert name in home.__all__


def test_dir_lists_the_names_before_they_are_loaded():
    assert set(segkit.__all__) <= set(dir(segkit))


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'segkit' has no attribute 'mIoU'"):
        _ = segkit.mIoU
    assert not hasattr(segkit, "__wrapped__")


def test_the_version_is_that_of_the_package():
    assert f'version = "{segkit.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LIBRARY)
def test_each_module_says_what_is_public_and_has_it(name):
    module = importlib.import_module(f"segkit.{name}")
    assert module.__all__, "a public module names its public things"
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        thing = getattr(module, public)
        assert not public.startswith("_")
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert inspect.getdoc(thing), f"segkit.{name}.{public} says nothing of itself"
            assert thing.__module__.startswith(f"segkit.{name}"), f"{public} lives in {thing.__module__}"


def test_the_docs_list_exactly_what_is_public():
    public = {
        f"segkit.{name}.{thing}" for name in LIBRARY for thing in importlib.import_module(f"segkit.{name}").__all__
    }
    listed = documented()
    assert sorted(public - set(listed)) == [], "public, but not in docs/api.md"
    assert sorted(set(listed) - public) == [], "in docs/api.md, but not public"
    assert len(set(listed)) == len(listed)


def test_the_docs_list_exactly_the_top_level():
    section = API.read_text(encoding="utf-8").partition("## segkit\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^- \{py:obj\}`segkit\.(\w+) <segkit\.(\w+)\.(\w+)>`", section, re.MULTILINE)
    assert {(name, home, name) for name, home in segkit._HOMES.items()} == set(listed)

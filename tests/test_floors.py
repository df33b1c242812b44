"""Imports go down only: a module imports from lower floors or from its own folder, and nothing goes in a circle."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import segkit
from house import imports, modules

FLOORS = {
    0: ["errors", "labels", "_checks", "_registry", "_files", "_rng", "_extras", "_html", "_resample"],
    1: ["metrics"],
    2: ["kernels"],
    3: ["device"],
    4: ["losses", "datasets", "transforms"],
    5: ["models"],
    6: ["inference", "report"],
    7: ["training"],
    8: ["cli", "__main__"],
}
FLOOR_OF = {unit: floor for floor, units in FLOORS.items() for unit in units}
HOMES = segkit._HOMES


def edges(src: Path) -> dict[str, list[tuple[int, str]]]:
    """For each module but the top one, the (line, module) of ours that it imports."""
    known = modules(src)
    found = {}
    for name, module in known.items():
        if name != "segkit":
            found[name] = [
                (line, target)
                for line, target in imports(module, known, HOMES)
                if target == "segkit" or target.startswith("segkit.")
            ]
    return found


def floor_faults(src: Path) -> list[str]:
    faults = []
    for name, targets in edges(src).items():
        unit = name.split(".")[1]
        if unit not in FLOOR_OF:
            faults.append(f"{name}: give it a floor")
            continue
        for line, target in targets:
            if target == "segkit":  # its version and the like: the top module imports nothing when it is loaded
                continue
            other = target.split(".")[1]
            on_floor_0 = FLOOR_OF[unit] == FLOOR_OF.get(other) == 0  # one folder: src/segkit itself
            if other != unit and not on_floor_0 and FLOOR_OF.get(other, 99) >= FLOOR_OF[unit]:
                faults.append(f"{name}:{line} imports {target}, which is not on a lower floor")
    return faults


def circles(src: Path) -> list[list[str]]:
    """Each circle of imports, found by walking down from every module."""
    graph = {name: sorted({target for _, target in targets}) for name, targets in edges(src).items()}
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for target in graph.get(name, ()):
                walk(target, [*path, name])
            done.add(name)

    for name in graph:
        walk(name, [])
    return found


SOURCE = Path(segkit.__file__).parents[1]


def test_every_import_goes_down():
    assert floor_faults(SOURCE) == []


def test_no_imports_in_a_circle():
    assert circles(SOURCE) == []


def test_metrics_and_all_that_they_import_know_no_third_party_but_numpy():
    known = modules(SOURCE)
    todo = [name for name in known if name.split(".")[1:2] in (["metrics"], ["labels"], ["errors"])]
    seen: set[str] = set()
    outside: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        targets = {target for _, target in imports(known[name], known, HOMES)}
        todo += [target for target in targets if target in known]
        found = {target.partition(".")[0] for target in targets if target not in known}
        # Surfaces that lie far from each other take scipy, which is imported when they are met.
        outside |= found - ({"scipy"} if name == "segkit.metrics._surface" else set())
    assert "segkit.metrics._scores" in seen
    assert outside - sys.stdlib_module_names <= {"numpy", "typing_extensions"}


class TestTheCheckItself:
    """Offences planted in a small tree are found, and what is allowed is left alone."""

    @pytest.fixture
    def plant(self, tmp_path):
        def write(**files: str) -> Path:
            for name, text in {"__init__": "", **files}.items():
                path = tmp_path / "segkit" / f"{name.replace('__DOT__', '/')}.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return tmp_path

        return write

    @pytest.mark.parametrize(
        "line",
        [
            "import segkit.training",
            "import segkit.training as t",
            "from segkit.training import Trainer",
            "from segkit import training",
            "from segkit import Trainer",
            "from .training import Trainer",
            "from . import training",
            "def f():\n    from segkit import training",
            "class A:\n    def f(self):\n        import segkit.training",
            "try:\n    import segkit.training\nexcept ImportError:\n    pass",
            "import importlib\nimportlib.import_module('segkit.training')",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import segkit.training",
            "from segkit import datasets",
        ],
    )
    def test_an_import_of_a_higher_floor_or_a_sibling(self, plant, line):
        src = plant(losses=line, training="", datasets="")
        assert len(floor_faults(src)) == 1

    @pytest.mark.parametrize(
        "line",
        [
            "from segkit import metrics",
            "from segkit import miou, Labels, __version__",
            "import segkit.errors, numpy, torch",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from segkit.training import Trainer",
            "import typing\nif typing.TYPE_CHECKING:\n    import segkit.datasets",
        ],
    )
    def test_what_is_allowed(self, plant, line):
        src = plant(losses=line, metrics="", errors="", labels="", training="", datasets="")
        assert floor_faults(src) == []
        assert circles(src) == []

    def test_a_relative_import_in_a_folder(self, plant):
        src = plant(losses__DOT____init__="from ._sum import f", losses__DOT___sum="from ..cli import main", cli="")
        assert floor_faults(src) == ["segkit.losses._sum:1 imports segkit.cli, which is not on a lower floor"]

    def test_a_module_without_a_floor(self, plant):
        assert floor_faults(plant(cellar="")) == ["segkit.cellar: give it a floor"]

    def test_circles_in_a_folder_and_on_floor_0(self, plant):
        src = plant(
            losses__DOT____init__="from segkit.losses.a import f",
            losses__DOT__a="def f():\n    from segkit.losses import b",
            losses__DOT__b="from segkit.losses import f",
            errors="import segkit.labels",
            labels="from segkit import errors",
        )
        assert floor_faults(src) == []
        assert sorted((set(circle) for circle in circles(src)), key=len) == [
            {"segkit.errors", "segkit.labels"},
            {"segkit.losses", "segkit.losses.a", "segkit.losses.b"},
        ]

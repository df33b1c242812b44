"""What importing segkit does: load numpy and typing_extensions at most, quickly, and touch nothing of the process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from house import ROOT

# Run in a new process: what a statement loads and changes. The network is closed to it.
PROBE = """
import json, logging, os, random, signal, socket, sys, threading, warnings
import numpy  # its own import adds a warning filter

def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.getaddrinfo = refuse

def state():
    known = [logging.root, *logging.Logger.manager.loggerDict.values()]  # some of them only hold a name's place
    loggers = [logger for logger in known if hasattr(logger, "handlers")]
    return {
        "random": repr(random.getstate()),
        "numpy": repr([numpy.array(part).tolist() for part in numpy.random.get_state()]),
        "handlers": [repr(handler) for logger in loggers for handler in logger.handlers],
        "root level": logging.root.level,
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "warning filters": repr(warnings.filters),
        "showwarning": repr(warnings.showwarning),
        "environment": dict(os.environ),
        "hooks": [repr(hook) for hook in (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook)],
        "threads": threading.active_count(),
        "folder": os.getcwd(),
    }

before, loaded = state(), set(sys.modules)
exec(sys.argv[1])
after = state()
changed = [name for name in before if before[name] != after[name]]
new = sorted({name.partition(".")[0] for name in set(sys.modules) - loaded} - sys.stdlib_module_names - {"__main__"})
print(json.dumps({"changed": changed, "new": new}))
"""


def probe(statement: str) -> dict[str, list[str]]:
    command = [sys.executable, "-c", PROBE, statement]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "statement",
    [
        "import segkit",
        "from segkit import miou",
        "import segkit; segkit.Labels, segkit.Evaluation, segkit.confusion_matrix, dir(segkit), segkit.__version__",
        "import segkit.metrics, segkit.labels, segkit.errors",
        "from segkit import miou; miou([[0, 1]], [[0, 1]], num_classes=2)",
    ],
)
def test_the_light_part_loads_numpy_alone_and_touches_nothing(statement):
    found = probe(statement)
    assert set(found["new"]) <= {"segkit", "numpy", "typing_extensions"}
    assert found["changed"] == []


@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("import random; random.seed(1)", "random"),
        ("import numpy; numpy.random.seed(1)", "numpy"),
        ("import logging; logging.basicConfig()", "handlers"),
        ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signals"),
        ("import warnings; warnings.simplefilter('ignore')", "warning filters"),
        ("import os; os.environ['A_NEW_NAME'] = '1'", "environment"),
    ],
)
def test_the_probe_sees_what_it_is_made_for(statement, changed):
    assert probe(statement)["changed"] == [changed]


def test_the_probe_sees_a_third_party_and_the_network():
    assert "PIL" in probe("import PIL")["new"]
    with pytest.raises(AssertionError, match="a socket was opened"):
        probe("import socket; socket.create_connection(('127.0.0.1', 9))")


@pytest.mark.slow
def test_the_heavy_part_touches_nothing_that_its_dependencies_leave_alone():
    """Whatever torch and the models library do when they load, ours adds nothing to it."""
    heavy = "import torch, torchvision, timm, segmentation_models_pytorch; "
    ours = "import segkit; [getattr(segkit, name) for name in segkit.__all__]"
    assert set(probe(heavy + ours)["changed"]) <= set(probe(heavy)["changed"])


def test_the_import_costs_at_most_30_ms_more_than_numpy():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from import_time import measure
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    for _ in range(3):  # what else runs on the machine only ever adds time, so one quiet run is proof
        medians = measure(21)
        over = [max(medians["segkit"][clock], medians["miou"][clock]) - medians["numpy"][clock] for clock in (0, 1)]
        if min(over) <= 0.030:  # wall, or on a busy machine CPU time
            return
    pytest.fail(f"the import takes {[round(1000 * value) for value in over]} ms more than numpy's; 30 are allowed")

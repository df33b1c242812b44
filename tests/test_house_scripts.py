"""scripts/exhaustive, in a small project of its own: what passed is not run again, and the table tells all."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from house import ROOT

CONFIG = "[pytest]\nmarkers = exhaustive\naddopts = -m 'not exhaustive'\ntestpaths = tests\n"
TESTS = """
import pathlib, pytest
log = pathlib.Path(__file__).parents[1] / "ignored" / "log"

@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [0, 1])
def test_good(seed, record_property):
    log.open("a").write(f"good {seed}\\n")
    record_property("miou", 0.5)

@pytest.mark.exhaustive
def test_bad():
    log.open("a").write("bad\\n")
    assert (log.parent / "mended").exists()

@pytest.mark.exhaustive
def test_left_out():
    pytest.skip("no GPU")

def test_fast():
    log.open("a").write("fast\\n")
"""


@pytest.fixture
def project(tmp_path):
    for folder in ("scripts", "tests", "ignored"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "scripts/exhaustive", tmp_path / "scripts/exhaustive")
    (tmp_path / "pytest.ini").write_text(CONFIG)
    (tmp_path / "tests/test_it.py").write_text(TESTS)
    (tmp_path / ".gitignore").write_text(".exhaustive/\n__pycache__/\nignored/\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def call(project, *options):
    command = [sys.executable, str(project / "scripts/exhaustive"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    log = project / "ignored/log"
    ran = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("| `")], ran


def test_it_runs_what_has_not_passed_and_prints_a_table(project):
    code, rows, ran = call(project)
    assert code == 1
    assert ran == ["good 0", "good 1", "bad"]
    assert rows[0].startswith("| `tests/test_it.py::test_good` | passed |")
    assert rows[0].endswith("| miou 0.5, miou 0.5 |")
    assert rows[1].startswith("| `tests/test_it.py::test_bad` | failed |")
    assert rows[2].startswith("| `tests/test_it.py::test_left_out` | skipped |")

    (project / "ignored/mended").touch()
    code, rows, ran = call(project, "-k", "bad")
    assert (code, len(rows), ran) == (0, 1, ["bad"])

    code, rows, ran = call(project, "--table")
    assert [row.split("|")[2].strip() for row in rows] == ["passed", "passed", "skipped"]
    assert ran == []

    (project / "tests/test_it.py").write_text(TESTS + "\n# changed\n")  # of this source nothing has passed
    code, rows, ran = call(project, "--table")
    assert [row.split("|")[2].strip() for row in rows] == ["not run"] * 3
    status = subprocess.run(["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True, check=True)
    assert status.stdout == " M tests/test_it.py\n"

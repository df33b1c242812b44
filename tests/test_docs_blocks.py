"""Every block of code in the README and the docs runs: Python as it stands, and the lines that call `segkit`.

The blocks of a page run in their order and share their names, in a folder that holds a `street.jpg` and a small
`data/camvid`. Generated scenes are fewer and smaller here than the pages say, and the command line's time limits are
seconds; nothing else is changed.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import segkit.datasets
from house import ROOT
from segkit import cli

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\{?[\w-]*\}?)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What a shell block may hold besides `segkit ...`: installing, and this project's own tools, which CI runs itself.
OTHER_LINES = (
    "git clone ",
    "python -m venv ",
    "pip install -e ",
    "pytest",
    "scripts/",
    "python benchmarks/",
    "python examples/",
)


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks; a line that ends in a backslash goes on in the next."""
    text = "\n".join(blocks(page, "bash", "console", "sh", "shell")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


@pytest.fixture
def few_scenes(monkeypatch):
    """Scenes as a page asks for them, but at most 6, of 48x64."""
    full = segkit.datasets.StreetScenes

    def small(n, size=(240, 320), seed=0):
        return full(min(n, 6), size=(48, 64), seed=seed)

    monkeypatch.setattr(segkit.datasets, "StreetScenes", small)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_blocks(page, examples_folder, few_scenes):
    names = {"__name__": "__page__"}
    for number, block in enumerate(blocks(page, "python", "py", "python3"), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_shell_blocks(page, examples_folder, few_scenes, capfd):
    for line in commands(page):
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            if words[0] != "segkit":
                assert part.startswith((*OTHER_LINES, "cd ", "source ")), (
                    f"{page.name}: is {part!r} a command that runs?"
                )
            elif words[1] == "demo":  # minutes long; .ci/run runs it word for word
                with pytest.raises(SystemExit, match="0"):
                    cli.main([*words[1:], "--help"])
            else:
                words = ["0.05" if before == "--minutes" else word for before, word in pairwise(["", *words])]
                assert cli.main(words[1:]) == 0, f"{page.name}: {part}\n{capfd.readouterr().err}"


def test_every_block_has_a_language():
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            assert language, f"{page.name}: a block without a language:\n{text}"


def test_no_page_offers_the_name_of_somebody_elses_package():
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "pyproject.toml", *(ROOT / "examples").iterdir()]:
        assert "pip install segkit" not in page.read_text(encoding="utf-8"), page.name


def test_the_command_is_installed():
    done = subprocess.run(
        [Path(sys.executable).parent / "segkit", "--version"], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"segkit {segkit.__version__}\n"


class TestTheCheckItself:
    def test_blocks_are_found(self, tmp_path):
        page = tmp_path / "page.md"
        page.write_text(
            "a\n```python\nx = 1\n```\n```text\nno\n```\n```bash\nsegkit env \\\n  --x\n# why\n\nsegkit b\n```\n"
        )
        assert blocks(page, "python") == ["x = 1\n"]
        assert commands(page) == ["segkit env    --x", "segkit b"]

"""The page in headless Chromium: nothing is refused by its own policy, nothing is logged, every picture is drawn."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from segkit.labels import Labels
from segkit.report import measure_objects, write_report

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
)  # fmt: skip


def chromium(page: Path, scratch: Path, *flags: str) -> tuple[str, list[str]]:
    """Open a page; return the document as it then is, and what it wrote to the console."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("the browser tests need Chromium: run `apt-get install chromium`")
    profile = scratch / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    ended = subprocess.run(
        [program, *FLAGS, *(flags or ("--dump-dom",)), f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True, text=True, errors="replace", timeout=120, check=True,
    )  # fmt: skip
    return ended.stdout, re.findall(r":CONSOLE[:(]\d+\)?\] (.*)", ended.stderr)


@pytest.fixture
def report(make_job: Any, tmp_path: Path) -> Path:
    labels = Labels(["<script>alert(1)</script>", "road & pavement", "car"])
    job = make_job(labels, 30)
    more: dict[str, Any] = {
        "baseline": job.evaluation.scores(),
        "objects": measure_objects([None] * 30, job.sample, labels=labels),  # type: ignore[arg-type]
    }
    path = tmp_path / "report.html"
    return write_report(path, **job.arguments, **more, title="<b>A run</b>", info={"Model": "unet"})


def test_the_page_opens_without_a_console_message(report: Path, tmp_path: Path) -> None:
    document, console = chromium(report, tmp_path)
    assert console == []
    assert "&lt;b&gt;A run&lt;/b&gt;</h1>" in document
    assert document.count("<article") >= 8
    assert "Worst object: image, truth, prediction" in document


def test_the_page_is_drawn_in_light_and_in_dark(report: Path, tmp_path: Path) -> None:
    from PIL import Image

    corners = []
    for flags in ((), ("--blink-settings=preferredColorScheme=0",)):
        shot = tmp_path / "shot.png"
        _, console = chromium(report, tmp_path, f"--screenshot={shot}", "--window-size=1200,4600", *flags)
        assert console == []
        with Image.open(shot) as picture:
            colors = picture.convert("RGB")
            corners.append(colors.getpixel((5, 5)))
            assert len(colors.getcolors(1 << 24) or ()) > 500, "the pictures are there"
    assert corners == [(255, 255, 255), (20, 24, 29)]


@pytest.mark.parametrize(
    ("broken", "logged"),
    [
        ("<body style='color: red'>", "Content Security Policy"),
        ("<body><script>1</script>", "Content Security Policy"),
        ("<body><img src='http://127.0.0.1:9/x.png'>", "Content Security Policy"),
    ],
)
def test_a_broken_page_would_be_noticed(broken: str, logged: str, report: Path, tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text(report.read_text(encoding="utf-8").replace("<body>", broken, 1), encoding="utf-8")
    _, console = chromium(page, tmp_path)
    assert len(console) == 1
    assert logged in console[0]

"""The parts of .ci/run that decide: what the README's commands are, and which skips are allowed."""

from __future__ import annotations

import importlib.util
import tomllib
from types import ModuleType

import pytest

from house import ROOT


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


count, readme = load("count"), load("readme")


class TestReadme:
    TEXT = "# x\n\n<!-- command: one -->\n```bash\npip a && b\n```\n\n<!-- command: two -->\n\n```bash\npip c\n```\n"

    def test_the_two_commands_word_for_word(self):
        assert readme.commands(self.TEXT) == ["pip a && b", "pip c"]

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("command: one", "command: two"),
            ("command: two", "note"),
            ("```bash\npip c", "```text\npip c"),
            ("pip c\n", ""),
        ],
    )
    def test_anything_else_fails(self, old, new):
        assert old in self.TEXT
        with pytest.raises(ValueError, match="expected the marked commands"):
            readme.commands(self.TEXT.replace(old, new))

    def test_a_command_is_one_line(self):
        with pytest.raises(ValueError, match="must be one line"):
            readme.commands(self.TEXT.replace("pip c", "pip c\npip d"))

    def test_this_readme(self):
        assert readme.commands((ROOT / "README.md").read_text(encoding="utf-8")) == [
            "pip install -e . && segkit demo",
            "pip install -e '.[dev]' && pytest",
        ]


def junit(path, **cases):
    marks = {
        "passed": "",
        "failed": "<failure message='no'/>",
        "error": "<error message='no'/>",
        "skipped": "<skipped type='pytest.skip' message='no GPU'/>",
        "xfailed": "<skipped type='pytest.xfail' message='known'/>",
    }
    lines = [f"<testcase classname='tests.a' name='{name}'>{marks[mark]}</testcase>" for name, mark in cases.items()]
    path.write_text(f"<testsuites><testsuite>{''.join(lines)}</testsuite></testsuites>")
    return path


class TestCount:
    @pytest.fixture
    def counted(self, tmp_path, capsys):
        def call(allowed="", **cases):
            (tmp_path / "allowed.txt").write_text(allowed)
            code = count.main(["--allowed", str(tmp_path / "allowed.txt"), str(junit(tmp_path / "fast.xml", **cases))])
            return code, capsys.readouterr().out.splitlines()

        return call

    def test_passed(self, counted):
        code, lines = counted(test_a="passed", test_b="xfailed")
        assert code == 0
        assert lines == ["fast: 2 passed, 0 failed, 0 skipped", "2 passed, 0 failed, 0 skipped"]

    @pytest.mark.parametrize("outcome", ["failed", "error"])
    def test_failed(self, counted, outcome):
        code, lines = counted(test_a="passed", test_b=outcome)
        assert code == 1
        assert lines[-1] == "1 passed, 1 failed, 0 skipped"

    @pytest.mark.parametrize(
        ("allowed", "code"),
        [
            ("", 1),
            ("tests.a::test_gpu: needs a GPU\n", 0),
            ("# why\n\ntests.a::*: needs a GPU\n", 0),
            ("tests.*gpu: needs a GPU\n", 0),
            ("tests.a::test: needs a GPU\n", 1),
            ("tests.b::*: needs a GPU\n", 1),
            ("tests?a::test_gpu: the dot and the question mark are no wildcards\n", 1),
        ],
    )
    def test_a_skip_needs_a_line(self, counted, allowed, code):
        found, lines = counted(allowed, test_a="passed", test_gpu="skipped")
        assert found == code
        assert lines[-1] == "1 passed, 0 failed, 1 skipped"
        assert any("tests.a::test_gpu" in line and "no GPU" in line for line in lines)

    @pytest.mark.parametrize("allowed", ["tests.a::test_gpu\n", "tests.a::test_gpu: \n"])
    def test_a_line_needs_a_reason(self, counted, allowed):
        with pytest.raises(ValueError, match="line 1 of the allowed skips has no reason"):
            counted(allowed, test_gpu="skipped")

    def test_no_test_at_all_is_a_failure(self, counted, tmp_path, capsys):
        assert counted()[0] == 1
        assert count.main(["--allowed", str(tmp_path / "allowed.txt"), str(tmp_path / "absent.xml")]) == 1
        assert capsys.readouterr().out.splitlines() == [
            "absent: 0 passed, 0 failed, 0 skipped",
            "absent: no test ran",
            "0 passed, 0 failed, 0 skipped",
        ]

    def test_this_list(self):
        count.allowed_skips((ROOT / "tests/allowed_skips.txt").read_text(encoding="utf-8"))


def names(lines):
    return {line.partition("==")[0].partition(">=")[0].partition("[")[0].lower().replace("_", "-") for line in lines}


def test_the_constraints_pin_what_the_package_and_its_tools_need():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 and "/" not in line and "@" not in line for line in lines)
    assert lines == sorted(lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert names([*project["dependencies"], *extras["dev"], *extras["docs"]]) <= names(lines)


@pytest.mark.parametrize("script", ["scripts/lint", "scripts/types", "scripts/test", "scripts/docs", ".ci/run"])
def test_ci_calls_the_scripts_that_a_developer_calls(script):
    path = ROOT / script
    assert path.stat().st_mode & 0o111, f"{script} must be executable"
    if script.startswith("scripts/"):
        assert script in (ROOT / ".ci/run").read_text(encoding="utf-8")

"""Files that are whole or absent, folders with one writer, and paths that stay under their root."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit._files import check_writable, contained, folder_lock, read_json, write_atomic, write_json, write_text
from segkit.errors import DataError, MissingFileError


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWrite:
    def test_a_new_file_and_an_old_one(self, tmp_path):
        path = tmp_path / "a.txt"
        write_text(path, "one é")
        assert path.read_text(encoding="utf-8") == "one é"
        write_text(path, "two")
        assert path.read_text(encoding="utf-8") == "two"
        assert files_in(tmp_path) == ["a.txt"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path, error):
        path = tmp_path / "a.bin"
        path.write_bytes(b"old")

        def half(temporary: Path) -> None:
            temporary.write_bytes(b"ne")
            raise error

        with pytest.raises(error):
            write_atomic(path, half)
        assert path.read_bytes() == b"old"
        assert files_in(tmp_path) == ["a.bin"]

    def test_the_old_file_is_there_until_the_new_one_is_whole(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("old")
        seen = []
        write_atomic(path, lambda temporary: (temporary.write_text("new"), seen.append(path.read_text())))
        assert seen == ["old"]
        assert path.read_text() == "new"

    def test_a_kill_in_the_middle_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("old")
        code = (
            "import os, sys; from pathlib import Path; from segkit._files import write_atomic\n"
            "write_atomic(Path(sys.argv[1]), lambda t: (t.write_text('ne'), os.kill(os.getpid(), 9)))"
        )
        assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
        assert path.read_text() == "old"

    @pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
    def test_the_mode_follows_the_umask_and_the_umask_stays(self, tmp_path, umask, mode):
        before = os.umask(umask)
        try:
            write_text(tmp_path / "a.txt", "x")
            assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode
            assert os.umask(umask) == umask
        finally:
            os.umask(before)

    def test_file_and_folder_reach_the_disk_in_this_order(self, tmp_path, monkeypatch):
        synced = []
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(Path(f"/proc/self/fd/{fd}").readlink()), real(fd)))
        write_text(tmp_path / "a.txt", "x")
        assert [path.parent for path in synced] == [tmp_path, tmp_path.parent]
        assert synced[1] == tmp_path

    def test_a_missing_folder_is_made(self, tmp_path):
        write_text(tmp_path / "neu é" / "b" / "a.txt", "x")
        assert (tmp_path / "neu é" / "b" / "a.txt").read_text() == "x"

    def test_a_folder_in_the_way_is_said(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(DataError, match=r"cannot write to the output folder .*file.sub: .*; choose another folder"):
            write_text(tmp_path / "file" / "sub" / "a.txt", "x")
        (tmp_path / "folder").mkdir()
        with pytest.raises(DataError, match=r"cannot write the file .*folder: a folder has this name"):
            write_text(tmp_path / "folder", "x")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]

    def test_a_link_is_replaced_and_not_followed(self, tmp_path):
        (tmp_path / "target").write_text("keep")
        (tmp_path / "link").symlink_to(tmp_path / "target")
        write_text(tmp_path / "link", "new")
        assert (tmp_path / "target").read_text() == "keep"
        assert (tmp_path / "link").read_text() == "new"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


class TestJson:
    @given(value=JSON_VALUES)
    def test_round_trip(self, tmp_path_factory, value):
        # Lone surrogates are no UTF-8; hypothesis' text() has none.
        path = tmp_path_factory.getbasetemp() / "round_trip.json"
        write_json(path, value)
        assert read_json(path) == value

    def test_no_nan_is_written_and_the_old_file_stays(self, tmp_path):
        write_json(tmp_path / "a.json", {"miou": 0.5})
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", {"miou": float("nan")})
        assert read_json(tmp_path / "a.json") == {"miou": 0.5}

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"{'a': 1}", b"\xff\xfe{}", b"[" * 200_000, b"1" * 5000, b'{"a": 1}x'],
        ids=["empty", "open", "quotes", "not utf-8", "too deep", "too many digits", "trailing"],
    )
    def test_what_is_no_json_is_named(self, tmp_path, content):
        (tmp_path / "broken.json").write_bytes(content)
        with pytest.raises(DataError, match=r"broken\.json is not valid JSON"):
            read_json(tmp_path / "broken.json")

    def test_a_missing_file_or_a_folder(self, tmp_path):
        with pytest.raises(MissingFileError, match="absent"):
            read_json(tmp_path / "absent.json")
        with pytest.raises(MissingFileError):
            read_json(tmp_path)


class TestContained:
    @pytest.mark.parametrize("relative", ["a.png", "a/b.png", "./a", "a/../b", "", "..a", "a b/é.png"])
    def test_below_the_root(self, tmp_path, relative):
        assert contained(tmp_path, relative) == tmp_path / relative

    @pytest.mark.parametrize("relative", ["..", "../x", "a/../../x", "/etc/passwd", "a/../.."])
    def test_outside(self, tmp_path, relative):
        with pytest.raises(DataError, match="leaves its root"):
            contained(tmp_path, relative)

    def test_what_is_no_path_is_a_data_error(self, tmp_path):
        with pytest.raises(DataError, match="cannot be read: embedded null"):
            contained(tmp_path, "a\0b")

    def test_links(self, tmp_path):
        root = tmp_path / "root"
        (root / "in").mkdir(parents=True)
        (tmp_path / "root-2").mkdir()  # a sibling whose name begins like the root's
        (root / "inside").symlink_to(root / "in")
        (root / "outside").symlink_to(tmp_path / "root-2")
        (root / "circle").symlink_to(root / "circle")
        assert contained(root, "inside/x") == root / "inside" / "x"
        for relative in ("outside", "outside/x", "../root-2/x"):
            with pytest.raises(DataError, match="leaves its root"):
                contained(root, relative)
        with pytest.raises(DataError, match="cannot be read"):
            contained(root, "circle/x")

    def test_a_root_that_is_a_link_or_relative(self, tmp_path, monkeypatch):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert contained(tmp_path / "link", "a") == tmp_path / "link" / "a"
        monkeypatch.chdir(tmp_path)
        assert contained(Path("real"), "a") == Path("real/a")

    @given(st.lists(st.sampled_from(["..", ".", "a", "b"]), max_size=6))
    def test_against_counting_levels(self, parts):
        depth = lowest = 0
        for part in parts:
            depth += {"..": -1, ".": 0}.get(part, 1)
            lowest = min(lowest, depth)
        # The folders do not exist, so `a/..` is where it began: only where the walk ends counts.
        root = Path("/nowhere/root")
        if _end(parts)[:2] == ("nowhere", "root"):
            assert contained(root, "/".join(parts)) == root / "/".join(parts)
        else:
            assert lowest < 0
            with pytest.raises(DataError):
                contained(root, "/".join(parts))


def _end(parts: list[str]) -> tuple[str, ...]:
    walk = ["nowhere", "root"]
    for part in parts:
        if part == "..":
            walk = walk[:-1]
        elif part != ".":
            walk.append(part)
    return tuple(walk)


class TestCheckWritable:
    def test_it_is_made_and_left_empty(self, tmp_path):
        assert check_writable(tmp_path / "a/b") == tmp_path / "a/b"
        assert files_in(tmp_path / "a/b") == []

    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "a").write_text("x")
        for folder in (tmp_path / "a", tmp_path / "a/b"):
            with pytest.raises(DataError, match=r"cannot write to the output folder .*; choose another folder"):
                check_writable(folder)

    def test_a_system_without_room(self):
        if not Path("/proc/self").is_dir():
            pytest.skip("needs /proc, where nothing can be written")
        with pytest.raises(DataError, match="/proc/self/x"):
            check_writable(Path("/proc/self/x"))


HOLD = """
import sys, time
from pathlib import Path
from segkit._files import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

# Takes the lock for a moment, and counts how many hold it at that time: a file each, made and removed while it is held.
RACE = """
import os, sys, time
from pathlib import Path
from segkit._files import folder_lock
from segkit.errors import DataError
folder = Path(sys.argv[1])
while not (folder / "go").exists():
    time.sleep(0.001)
try:
    with folder_lock(folder):
        mine = folder / f"holder-{os.getpid()}"
        mine.touch()
        time.sleep(0.15)
        print("held", len(list(folder.glob("holder-*"))))
        mine.unlink()
except DataError:
    print("busy")
"""


class TestLock:
    def test_it_is_taken_and_given_back(self, tmp_path):
        for _ in range(2):
            with folder_lock(tmp_path):
                owner = json.loads((tmp_path / ".lock").read_text())
                assert owner == {"host": socket.gethostname(), "pid": os.getpid()}
            assert files_in(tmp_path) == []

    def test_it_is_given_back_after_an_error(self, tmp_path):
        with pytest.raises(KeyError), folder_lock(tmp_path):
            raise KeyError
        assert files_in(tmp_path) == []

    def test_a_second_writer_is_told_of_the_first_and_takes_over_when_it_is_killed(self, tmp_path):
        with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as first:
            try:
                assert first.stdout.readline() == "held\n"
                with pytest.raises(DataError, match=f"in use by process {first.pid} on"), folder_lock(tmp_path):
                    pass
                assert files_in(tmp_path) == [".lock"]
            finally:
                first.kill()
        with folder_lock(tmp_path):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        assert files_in(tmp_path) == []

    def test_another_host_is_never_taken_over(self, tmp_path):
        (tmp_path / ".lock").write_text(json.dumps({"host": "elsewhere", "pid": 1}))
        with pytest.raises(DataError, match="process 1 on elsewhere; choose another folder, or remove"):
            folder_lock(tmp_path).__enter__()

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "h"}', '{"host": "h", "pid": "x"}'])
    def test_a_broken_lock_is_taken_over(self, tmp_path, content):
        (tmp_path / ".lock").write_text(content)
        with folder_lock(tmp_path):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()

    @pytest.mark.parametrize("stale", [False, True])
    def test_of_many_at_once_one_holds_it(self, tmp_path, stale):
        if stale:
            dead = subprocess.Popen([sys.executable, "-c", ""])
            dead.wait()
            (tmp_path / ".lock").write_text(json.dumps({"host": socket.gethostname(), "pid": dead.pid}))
        command = [sys.executable, "-c", RACE, str(tmp_path)]
        racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
        time.sleep(1.0)  # all of them are waiting by then
        (tmp_path / "go").touch()
        said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
        assert "held 1" in said
        assert set(said) <= {"held 1", "busy"}, said


def test_a_lock_of_a_dead_run_with_this_process_id_is_taken_over(tmp_path: Path) -> None:
    """As after a restart in a container, where the new run often gets the id of the one that was killed."""
    (tmp_path / ".lock").write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    with folder_lock(tmp_path), pytest.raises(DataError, match="in use by process"), folder_lock(tmp_path):
        pass

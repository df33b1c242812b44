"""Files that are whole or absent, folders with one writer, and paths that stay under their root."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segkit.errors import DataError, MissingFileError

__all__ = [
    "check_writable",
    "contained",
    "exclusive",
    "folder_lock",
    "read_json",
    "write_atomic",
    "write_json",
    "write_text",
]


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place: the old file or the new, never half.

    The folder is made if needed; file and folder are fsynced. The mode follows the umask. If ``write`` raises, nothing
    at ``path`` changes. A folder that cannot be written, or one with the file's name, is a `DataError`.
    """
    path = Path(path)
    check_writable(path.parent)
    if path.is_dir() and not path.is_symlink():
        raise DataError(f"cannot write the file {path}: a folder has this name; choose another name")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _umask() -> int:
    # The only portable way to read the umask is to set it; 0o77 in between errs on the side of privacy.
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no fsync of folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN is refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one raises with its path."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"no file {path}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: broken UTF-8 or JSON, or a number of too many digits
        raise DataError(f"{path} is not valid JSON: {error}") from error


def contained(root: Path, relative: str | Path) -> Path:
    """Return ``root / relative``; raise `DataError` if it is absolute or leaves ``root`` (links resolved)."""
    candidate = Path(root) / relative
    try:
        inside = not Path(relative).is_absolute() and candidate.resolve().is_relative_to(Path(root).resolve())
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, links in a circle, a null character
        raise DataError(f"the path {str(relative)!r} under {root} cannot be read: {error}") from error
    if not inside:
        raise DataError(f"the path {str(relative)!r} leaves its root {root}; only paths below the root are read")
    return candidate


def check_writable(folder: Path) -> Path:
    """Make ``folder`` (and parents) if needed and prove that a file can be written there."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"cannot write to the output folder {folder}: {error.strerror or error}; choose another folder"
        ) from error
    return folder


# The locks that this process holds. After a restart in a container a dead run may have had this very process id.
_held: set[Path] = set()


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for one writer: a second live process on this host gets a `DataError` that names the first.

    The lock is the file ``.lock`` with host and process id. One left behind by a process that has died is taken over.
    """
    lock = Path(folder) / ".lock"
    mine = Path(folder) / f".lock.{os.getpid()}.tmp"
    mine.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}), encoding="utf-8")
    try:
        _take(lock, mine)
    finally:
        mine.unlink(missing_ok=True)
    held = lock.resolve()
    _held.add(held)
    try:
        yield
    finally:
        _held.discard(held)
        lock.unlink(missing_ok=True)


def _take(lock: Path, mine: Path) -> None:
    while True:
        try:
            os.link(mine, lock)  # atomic, and the lock is never seen empty
            return
        except FileExistsError:
            # Two processes that find the same dead lock must not both remove it: the second would remove the first
            # one's new lock.
            with exclusive(lock.parent):
                _discard_stale(lock)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time into the block, of all that name ``folder``; the others wait. None on Windows."""
    if os.name == "nt":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _discard_stale(lock: Path) -> None:
    try:
        owner = _owner(lock)
    except FileNotFoundError:  # given back in between; what stands there now is somebody's new one
        return
    here = owner is not None and owner["host"] == socket.gethostname()
    if owner is not None and not (here and _dead(owner["pid"], lock)):
        raise DataError(
            f"the folder {lock.parent} is in use by process {owner['pid']} on {owner['host']}; "
            f"choose another folder, or remove {lock} if that process is gone"
        )
    lock.unlink()


def _owner(lock: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(lock.read_text(encoding="utf-8"))
        return {"host": str(owner["host"]), "pid": int(owner["pid"])}
    except (ValueError, KeyError, TypeError):
        return None


def _dead(pid: int, lock: Path) -> bool:
    return lock.resolve() not in _held if pid == os.getpid() else not _alive(pid)


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there os.kill ends the process instead of asking after it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

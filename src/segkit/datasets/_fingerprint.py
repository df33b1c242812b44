"""What an item of a data set is made of: settings, code and the bytes of its files, as one digest."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import inspect
import io
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from segkit.datasets._base import SegmentationDataset
from segkit.errors import InputError, MissingFileError

__all__ = ["FileDigests", "settings_digest"]

_SCALARS = (
    enum.Enum,
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    PurePath,
    np.dtype,
    np.generic,
    torch.dtype,
    range,
    slice,
)
# What items are called and which files they come from, not how they are read.
_ABOUT_ITEMS = frozenset({"ids", "groups", "pairing", "files", "_files", "_pairs"})
_NOT_OURS = ("builtins", "abc", "typing", "collections.abc", "torch.utils.data")


def settings_digest(dataset: object) -> str:
    """Name the settings and the code with which a data set reads.

    Its ``cache_key`` (a string, or a method that gives one) where it has any; else all its attributes, whatever they
    hold, and the source files of its classes. So another ``resize``, other labels or another version are other ones.

    Raises:
        InputError: an attribute whose value cannot be told from another one's, such as an open file.
    """
    digest = hashlib.blake2b(digest_size=16)
    own = getattr(dataset, "cache_key", None)
    if own is not None:
        kind = type(dataset)
        digest.update(repr((kind.__module__, kind.__qualname__, own() if callable(own) else own)).encode())
        return digest.hexdigest()
    for part in _parts(dataset, type(dataset).__name__, ()):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _parts(value: Any, where: str, above: tuple[int, ...]) -> Iterator[str]:
    """Texts that tell one value from another; ``above`` are the objects that hold it."""
    if isinstance(value, _SCALARS):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, np.ndarray | torch.Tensor):
        yield _array(value)
    elif id(value) in above:
        yield f"again {above.index(id(value))}"
    else:
        above = (*above, id(value))
        for name, inner in _inside(value, where):
            yield name
            yield from _parts(inner, f"{where}.{name}", above)


def _inside(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The parts of a thing that has parts, each with its name."""
    yield (
        "kind",
        f"{type(value).__module__}.{type(value).__qualname__} {len(value) if hasattr(value, '__len__') else ''}",
    )
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{number}]", inner) for number, inner in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield "members", sorted(map(repr, value))
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif isinstance(value, types.MethodType | functools.partial):
        yield "function", getattr(value, "__func__", None) or value.func  # type: ignore[union-attr]
        yield "bound", getattr(value, "__self__", None) or (value.args, value.keywords)  # type: ignore[union-attr]
    elif isinstance(value, type | types.BuiltinFunctionType):
        yield "name", f"{value.__module__}.{value.__qualname__}"
    elif hasattr(value, "__dict__") and not isinstance(value, types.ModuleType | io.IOBase):
        yield from _of_object(value)
    else:
        raise InputError(
            f"`{where}` is a {type(value).__qualname__}, of which a cache cannot tell whether it changes: give the "
            "data set a `cache_key`, a string that names all that its items depend on but the bytes of its files"
        )


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    yield "code", code.co_code
    yield "constants", repr([one for one in code.co_consts if not isinstance(one, types.CodeType)])
    yield "names", repr(code.co_names)
    yield "defaults", (function.__defaults__, function.__kwdefaults__)
    yield "closure", [cell.cell_contents for cell in function.__closure__ or ()]


def _of_object(value: Any) -> Iterator[tuple[str, Any]]:
    yield "sources", [_source(kind.__module__) for kind in type(value).__mro__]
    skipped: frozenset[str] = _ABOUT_ITEMS if isinstance(value, SegmentationDataset) else frozenset()
    attributes = vars(value)
    if dataclasses.is_dataclass(value):
        attributes = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)} | attributes
    yield from ((name, inner) for name, inner in sorted(attributes.items()) if name not in skipped)


def _array(value: Any) -> str:
    array = np.asarray(value)
    return f"{array.dtype} {array.shape} {hashlib.blake2b(np.ascontiguousarray(array).tobytes()).hexdigest()}"


@functools.cache
def _source(module: str) -> str:
    """A digest of a module's source; of the whole package where it is one of segkit's."""
    if module.startswith(_NOT_OURS):
        return module
    file = getattr(sys.modules.get(module), "__file__", None)
    if module.startswith("segkit."):
        folder = Path(__file__).parents[1]
        files = sorted(folder.glob("*.py")) + sorted((folder / "datasets").rglob("*.py"))
    else:
        files = [Path(inspect.getfile(sys.modules[module]))] if file else []
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        digest.update(path.read_bytes())
    return f"{module} {digest.hexdigest()}"


class FileDigests:
    """Digests of files' bytes, taken anew where size or time of change differ from the last look."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], bytes]] = {}

    def of(self, paths: tuple[Path, ...]) -> bytes:
        """One digest for some files, in their order.

        Raises:
            MissingFileError: one of them is gone.
        """
        return b"".join(self._one(Path(path)) for path in paths)

    def _one(self, path: Path) -> bytes:
        try:
            found = path.stat()
            stamp = (found.st_size, found.st_mtime_ns)
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                with path.open("rb") as file:
                    known = stamp, hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
                self._known[path] = known
            return known[1]
        except FileNotFoundError:
            raise MissingFileError(f"no file {path}") from None

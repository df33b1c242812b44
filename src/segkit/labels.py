"""What the numbers in a mask mean: class names, colours, the task, and the value that is ignored."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segkit._checks import check_choice, check_int, check_unknown_options, counted, listed
from segkit._files import read_json, write_json
from segkit.errors import ConfigError, InputError, LabelError, ShapeError

if TYPE_CHECKING:
    from segkit._html import Html

__all__ = ["IGNORE_INDEX", "Labels", "Task", "default_palette"]

IGNORE_INDEX = 255
"""The mask value that no loss, gradient or score sees, unless `Labels` says otherwise."""

Task: TypeAlias = Literal["multiclass", "binary", "multilabel"]
Color: TypeAlias = tuple[int, int, int]

# What a mask file may hold: ids of 16 bits, or the 32 bits of panoptic and volume formats.
_LOWEST, _HIGHEST = -(2**31), 2**31 - 1

TASKS = ("multiclass", "binary", "multilabel")
BLACK: Color = (0, 0, 0)

# Twelve colours that stay apart for most colour-blind readers (varied in lightness as well as hue).
_FIRST_COLORS: tuple[Color, ...] = (
    (70, 130, 180), (214, 39, 40), (255, 187, 51), (110, 64, 140), (44, 160, 44), (23, 190, 207),
    (255, 127, 14), (227, 119, 194), (0, 63, 136), (188, 189, 34), (140, 86, 75), (152, 223, 138),
)  # fmt: skip


def default_palette(num_colors: int) -> tuple[Color, ...]:
    """Return ``num_colors`` different colours, none of them black; the first ones are the same for any count."""
    colors = list(_FIRST_COLORS[:num_colors])
    seen, step = set(colors), 0
    while len(colors) < num_colors:
        hue, lightness = (step * 0.618033988749895) % 1.0, 0.35 + 0.4 * ((step * 0.7548776662466927) % 1.0)
        red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, 0.65))
        if (red, green, blue) not in seen:
            seen.add((red, green, blue))
            colors.append((red, green, blue))
        step += 1
    return tuple(colors)


@dataclass(frozen=True, init=False)
class Labels:
    """Names and colours of the classes, the task, and the ignored value.

    Args:
        names: one name a class, all different. A binary task has one: the foreground's.
        palette: one (red, green, blue) in 0..255 a class; `default_palette` if None.
        ignore_index: the mask value that counts for nothing; outside the classes. The default is 255, or -1 for more
            than 255 classes (their masks are int32).
        task: ``"multiclass"`` (one class a pixel), ``"binary"`` (mask values 0 and 1), or ``"multilabel"`` (a 0/1 plane
            a class).
        values: what a value in a mask file becomes, where it is not the class id: ``{7: 0, 8: 1, 9: 1, 0: 255}`` takes
            7 as the first class, merges 8 and 9 into the second, and ignores 0. Values that it does not name stay.
            None says nothing about the files; an empty mapping says that they hold the class ids.

    Raises:
        InputError: names that are empty, repeated or too few, a palette of another length, an ``ignore_index`` inside
            the classes, or ``values`` that are no whole numbers.
        LabelError: ``values`` that lead to neither a class nor ``ignore_index``.

    Example:
        >>> labels = Labels(["road", "car"], palette=[(128, 64, 128), (64, 0, 128)])
        >>> labels.num_classes
        2
        >>> labels.encode([[[64, 0, 128], [128, 64, 128]]])
        array([[1, 0]], dtype=uint8)
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...]
    ignore_index: int
    task: Task
    values: Mapping[int, int] | None = field(hash=False)

    def __init__(
        self,
        names: Iterable[str],
        palette: ArrayLike | None = None,
        ignore_index: int | None = None,
        task: Task = "multiclass",
        values: Mapping[int, int] | None = None,
    ) -> None:
        if isinstance(names, str):
            raise InputError(f"`names` must be a list of class names; got the single string {names!r}")
        names = tuple(names)
        check_choice("task", task, TASKS)
        _check_names(names, task)
        highest = max(len(names), 2) - 1
        if ignore_index is None:
            ignore_index = IGNORE_INDEX if highest < IGNORE_INDEX else -1
        ignore_index = check_int("ignore_index", ignore_index)
        if 0 <= ignore_index <= highest:
            raise InputError(
                f"`ignore_index` (={ignore_index}) lies inside 0..{highest}; use a value outside the classes, such as "
                f"{IGNORE_INDEX if highest < IGNORE_INDEX else -1}"
            )
        colors = default_palette(len(names)) if palette is None else _check_palette(palette, len(names))
        settled = {"names": names, "palette": colors, "ignore_index": ignore_index, "task": task}
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "values", None if values is None else self._check_values(values))

    @property
    def num_classes(self) -> int:
        """How many classes there are, which is how many logits a pixel has (1 for a binary task)."""
        return len(self.names)

    @property
    def value_names(self) -> tuple[str, ...]:
        """The name of each mask value, from 0: the class names, with ``background`` first where the task is binary."""
        return ("background", *self.names) if self.task == "binary" else self.names

    @property
    def value_palette(self) -> tuple[Color, ...]:
        """The colour of each mask value, from 0, as `value_names` names them (a binary background is black)."""
        return (BLACK, *self.palette) if self.task == "binary" else self.palette

    @property
    def mask_dtype(self) -> np.dtype[Any]:
        """The smallest dtype of a mask: uint8, or int32 where classes or ``ignore_index`` do not fit it."""
        fits = len(self.value_names) <= 256 and 0 <= self.ignore_index <= 255
        return np.dtype(np.uint8 if fits else np.int32)

    def encode(self, mask: ArrayLike, *, ignore_colors: Iterable[Sequence[int]] = (), where: str = "") -> NDArray[Any]:
        """Turn a colour mask into an index mask.

        Args:
            mask: ``(H, W, 3)`` colours, integers in 0..255.
            ignore_colors: colours that mean "not labelled"; they become ``ignore_index``.
            where: what the mask is, for messages (a file name).

        Returns:
            ``(H, W)`` class ids of `mask_dtype`.

        Raises:
            LabelError: a colour that neither the palette nor ``ignore_colors`` holds (each is named with its count).
            ShapeError: not ``(H, W, 3)``.
        """
        colors = np.asarray(mask)
        if colors.ndim != 3 or colors.shape[2] != 3:
            raise ShapeError(f"a colour mask must be (H, W, 3); got {colors.shape}{_of(where)}")
        if not np.issubdtype(colors.dtype, np.integer) or (colors.size and (colors.min() < 0 or colors.max() > 255)):
            raise LabelError(f"a colour mask must hold integers in 0..255; got {colors.dtype}{_of(where)}")
        table = {_code(color): value for value, color in enumerate(self.value_palette)}
        table.update({_code(color): self.ignore_index for color in ignore_colors})
        codes = (colors.astype(np.int32) << np.array([16, 8, 0], np.int32)).sum(axis=2, dtype=np.int32)
        found, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
        unknown = [(code, count) for code, count in zip(found, counts, strict=True) if code not in table]
        if unknown:
            named = listed(f"{_decode(code)} ({counted(count, 'pixel')})" for code, count in unknown)
            raise LabelError(
                f"colours that the palette does not hold: {named}{_of(where)}; "
                f"add them to the palette, or to `ignore_colors` if they mean 'not labelled'"
            )
        values = np.array([table[code] for code in found], self.mask_dtype)
        return values[inverse].reshape(codes.shape) if found.size else np.zeros(codes.shape, self.mask_dtype)

    def decode(self, mask: ArrayLike, *, ignore_color: Sequence[int] = BLACK) -> NDArray[np.uint8]:
        """Turn an index mask ``(H, W)`` into colours ``(H, W, 3)``; ignored pixels take ``ignore_color``.

        Raises:
            LabelError: a value that is neither a class nor ``ignore_index``.
        """
        values = self.check(mask)
        table = np.array([*self.value_palette, ignore_color], np.uint8)
        return table[np.where(values == self.ignore_index, len(table) - 1, values)]

    def map_values(self, raw: ArrayLike, where: str = "") -> NDArray[Any]:
        """Turn the values of a mask file into class ids, as `values` says, and check them.

        Args:
            raw: ``(H, W)``, or ``(K, H, W)`` for a multilabel task: whole numbers of any integer type, as they stand in
                the file.
            where: what the mask is, for messages (a file name).

        Returns:
            Class ids of `mask_dtype`, in the shape of ``raw``.

        Raises:
            LabelError: a value that ``values`` does not name and that is neither a class nor ``ignore_index``; the
                message has them with their counts, and the likely cause.

        Example:
            >>> Labels(["road", "car"], values={7: 0, 26: 1, 0: 255}).map_values([[7, 26, 0]])
            array([[  0,   1, 255]], dtype=uint8)
        """
        array = np.asarray(raw)
        if self.values and np.issubdtype(array.dtype, np.integer):
            array = _mapped(array, self.values)
        return self.check(array, where).astype(self.mask_dtype, copy=False)

    def check(self, mask: ArrayLike, where: str = "") -> NDArray[Any]:
        """Return ``mask`` as an array if every value is a class or ``ignore_index``.

        Raises:
            LabelError: other values; the message has them with their counts, and the likely cause.
        """
        values = np.asarray(mask)
        if values.dtype == bool:
            return values.astype(np.uint8)
        if not np.issubdtype(values.dtype, np.integer):
            raise LabelError(f"a mask must hold integers; got {values.dtype}{_of(where)}")
        highest = 1 if self.task == "multilabel" else len(self.value_names) - 1
        if not values.size or (values.min() >= 0 and values.max() <= highest):
            return values
        wrong = (values != self.ignore_index) & ((values < 0) | (values > highest))
        if wrong.any():
            raise LabelError(self._explain(values, wrong, highest, where))
        return values

    def _check_values(self, values: Mapping[int, int]) -> dict[int, int]:
        if not isinstance(values, Mapping):
            raise InputError(f"`values` must map a mask file's values to class ids, such as {{7: 0}}; got {values!r}")
        checked = {
            check_int("values", raw, minimum=_LOWEST, maximum=_HIGHEST): check_int("values", value)
            for raw, value in values.items()
        }
        self.check(list(checked.values()) or np.zeros(0, np.uint8), "the ids that `values` leads to")
        return dict(sorted(checked.items()))

    def _explain(self, values: NDArray[Any], wrong: NDArray[np.bool_], highest: int, where: str) -> str:
        found, counts = np.unique(values[wrong], return_counts=True)
        shown = listed(f"{value} ({counted(count, 'pixel')})" for value, count in zip(found, counts, strict=True))
        present = set(np.unique(values).tolist())
        ignoring = f"`values={{{found[0]}: {self.ignore_index}}}`"
        if present <= {0, 255}:
            cause = "a 0/255 mask: divide it by 255, or map it with `values={255: 1}`"
        elif found.tolist() == [highest + 1] and 0 not in present:
            cause = "ids that start at 1: subtract 1, or map them with `values={1: 0, 2: 1, ...}`"
        elif (
            not getattr(self, "values", None)  # absent while they are being checked themselves
            and highest == len(found) == 1
            and found[0] > 0
            and present <= {0, int(found[0]), self.ignore_index}
        ):
            cause = f"an object at {found[0]}: map it with `values={{{found[0]}: 1}}`, or {ignoring} if it is void"
        elif found.tolist() == [highest + 1]:
            cause = f"a void class that is not mapped: turn {highest + 1} into {self.ignore_index}, with {ignoring}"
        elif len(found) > 32:
            cause = "a picture instead of ids (grey levels, or a colour mask read as grey)"
        else:
            cause = f"labels that lack these ids: name them, or ignore them with {ignoring}"
        allowed = f"0..{highest} and ignore_index {self.ignore_index}"
        return f"mask values outside {allowed}: {shown}{_of(where)}; likely {cause}"

    def legend(self) -> Html:
        """The colours with their names as one line of markup, which a notebook shows as such.

        Example:
            >>> Labels(["road", "car"]).legend().count("<svg")
            2
        """
        from segkit._html import Html, escape, fragment, swatch  # only a page or a notebook needs it

        pairs = zip(self.value_names, self.value_palette, strict=True)
        return fragment((Html(f"{swatch(color)}&nbsp;{escape(name)}") for name, color in pairs), Html(" &emsp;"))

    def _repr_html_(self) -> str:
        from segkit._html import fragment, swatch, table

        values = zip(self.value_names, self.value_palette, strict=True)
        rows = [[value, fragment([swatch(color), " ", name])] for value, (name, color) in enumerate(values)]
        rows.append([self.ignore_index, "ignored"])
        return str(table(["value", "class"], rows, caption=f"{self.task} labels"))

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` turns back into the same labels."""
        plain = {
            "names": list(self.names),
            "palette": [list(color) for color in self.palette],
            "ignore_index": self.ignore_index,
            "task": self.task,
        }
        if self.values is not None:
            plain["values"] = {str(raw): value for raw, value in self.values.items()}
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build labels from what `to_dict` returned; what cannot be used raises `ConfigError`."""
        if not isinstance(values, Mapping) or "names" not in values:
            raise ConfigError(f"labels must be an object with `names`; got {str(values)[:200]}")
        try:
            check_unknown_options("Labels", values, ("names", "palette", "ignore_index", "task", "values"))
            raw = values.get("values")
            numbers = {int(key): value for key, value in raw.items()} if isinstance(raw, Mapping) else raw
            return cls(**{**values, "values": numbers})
        except (ValueError, TypeError) as error:  # InputError is a ValueError, and so is a key that is no number
            raise ConfigError(f"these labels cannot be used: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the labels as a JSON file."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read labels from a JSON file that `save` wrote."""
        return cls.from_dict(read_json(Path(path)))


def _mapped(raw: NDArray[Any], values: Mapping[int, int]) -> NDArray[Any]:
    """``raw`` with each value that ``values`` names replaced, wide enough for what comes out."""
    if raw.dtype in (np.uint8, np.uint16):
        table = np.arange(np.iinfo(raw.dtype).max + 1, dtype=np.int32)
        inside = [(key, value) for key, value in values.items() if 0 <= key < len(table)]
        for key, value in inside:
            table[key] = value
        narrow = all(0 <= value <= np.iinfo(raw.dtype).max for _, value in inside)
        looked_up: NDArray[Any] = table.astype(raw.dtype if narrow else np.int32)[raw]
        return looked_up
    keys, targets = np.array([*values], np.int64), np.array([*values.values()], np.int64)  # the keys are sorted
    wide = raw.astype(np.int64)
    place = np.searchsorted(keys, wide).clip(max=len(keys) - 1)
    mapped: NDArray[Any] = np.where(keys[place] == wide, targets[place], wide)
    return mapped


def _check_names(names: tuple[str, ...], task: Task) -> None:
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"`names` must be non-empty strings; got {listed(map(repr, names))}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"`names` must all be different; repeated: {listed(repeated)}")
    if task == "binary" and len(names) != 1:
        raise InputError(
            f"a binary task has one class name, the foreground's; got {len(names)}: {listed(names)}. "
            'For two named classes use task="multiclass"'
        )
    if len(names) < {"multiclass": 2, "binary": 1, "multilabel": 1}[task]:
        raise InputError(f'a {task} task has at least 2 classes; got {len(names)}. For one class use task="binary"')


def _check_palette(palette: ArrayLike, num_classes: int) -> tuple[Color, ...]:
    try:
        colors = np.asarray(palette)
        whole = np.issubdtype(colors.dtype, np.integer)
    except ValueError:
        raise InputError("`palette` must be one (red, green, blue) a class; got rows of different lengths") from None
    if colors.shape != (num_classes, 3):
        raise InputError(f"`palette` must be {num_classes} rows of (red, green, blue); got shape {colors.shape}")
    if not whole or colors.min() < 0 or colors.max() > 255:
        raise InputError(f"`palette` must hold whole numbers in 0..255; got {colors.dtype} up to {colors.max()}")
    rows = tuple((int(red), int(green), int(blue)) for red, green, blue in colors)
    if len(set(rows)) < num_classes:
        raise InputError("`palette` has the same colour twice; a colour mask could not be read back")
    return rows


def _code(color: Sequence[int]) -> int:
    red, green, blue = (int(part) for part in color)
    return red << 16 | green << 8 | blue


def _decode(code: int) -> Color:
    return int(code) >> 16, (int(code) >> 8) & 255, int(code) & 255


def _of(where: str) -> str:
    return f" in {where}" if where else ""

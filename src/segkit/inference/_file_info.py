"""What an exported file says of itself, as strings, which both formats hold: classes, colours, input, version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from segkit import __version__
from segkit._checks import check_choice, check_int
from segkit.errors import ConfigError, DataError, InputError
from segkit.labels import TASKS, Labels, Task
from segkit.models import Segmenter

__all__ = ["DTYPES", "FORMAT", "FileInfo", "ImageType", "Output"]

FORMAT = 1
DTYPES = ("uint8", "uint16", "float32")
_PREFIX = "segkit."

Output: TypeAlias = Literal["labels", "logits"]
ImageType: TypeAlias = Literal["uint8", "uint16", "float32"]


@dataclass(frozen=True)
class FileInfo:
    """What must be known of a graph to use it; the preprocessing is in the graph and stands here to be read."""

    output: Output
    dtype: ImageType
    in_channels: int
    num_classes: int
    task: Task
    labels: Labels | None
    normalize: Mapping[str, Any]
    reading: dict[str, Any] | None
    precision: str = "float32"
    version: str = __version__

    @classmethod
    def of(cls, model: Segmenter, *, output: Output, dtype: ImageType, task: Task) -> FileInfo:
        """What will stand in the file of ``model``."""
        normalize = {
            "mean": model.normalize.mean.flatten().tolist(),
            "std": model.normalize.std.flatten().tolist(),
            "scale": model.normalize.scale,
        }
        return cls(output, dtype, model.in_channels, model.num_classes, task, model.labels, normalize, model.reading)

    def to_strings(self) -> dict[str, str]:
        """A JSON value a key; the classes also as such, for readers in other languages."""
        labels = self.labels
        values = {
            "format": FORMAT,
            "version": self.version,
            "output": self.output,
            "dtype": self.dtype,
            "layout": "NCHW",
            "precision": self.precision,
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
            "task": self.task,
            "classes": None if labels is None else labels.value_names,
            "palette": None if labels is None else labels.value_palette,
            "labels": None if labels is None else labels.to_dict(),
            "normalize": dict(self.normalize),
            "reading": self.reading,
        }
        return {_PREFIX + key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], where: str) -> FileInfo:
        """Read what `to_strings` gave.

        Raises:
            DataError: a file that segkit did not write, or a newer one.
            ConfigError: values that cannot be used.
        """
        if _PREFIX + "format" not in strings:
            raise DataError(
                f"{where} holds no description by segkit (classes, task, input), so it cannot be used for predict; "
                "write it with segkit.export, or run it with the library that wrote it"
            )
        try:
            values = {key: json.loads(text) for key, text in strings.items() if key.startswith(_PREFIX)}
            return cls._checked({key.removeprefix(_PREFIX): value for key, value in values.items()}, where)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise ConfigError(f"the description in {where} cannot be used: {error!r}") from error

    @classmethod
    def _checked(cls, values: Mapping[str, Any], where: str) -> FileInfo:
        number = check_int("format", values["format"], minimum=1)
        if number > FORMAT:
            raise DataError(f"{where} has format {number}; this segkit reads up to {FORMAT}: update segkit")
        labels = None if values["labels"] is None else Labels.from_dict(values["labels"])
        num_classes = check_int("num_classes", values["num_classes"], minimum=1)
        if labels is not None and labels.num_classes != num_classes:
            raise InputError(f"{labels.num_classes} `labels` for {num_classes} classes")
        if not isinstance(values["reading"], dict | None) or not isinstance(values["normalize"], dict):
            raise InputError("`reading` and `normalize` must be objects")
        return cls(
            cast(Output, check_choice("output", values["output"], ("labels", "logits"))),
            cast(ImageType, check_choice("dtype", values["dtype"], DTYPES)),
            check_int("in_channels", values["in_channels"], minimum=1),
            num_classes,
            cast(Task, check_choice("task", values["task"], TASKS)),
            labels,
            values["normalize"],
            values["reading"],
            str(values["precision"]),
            str(values["version"]),
        )

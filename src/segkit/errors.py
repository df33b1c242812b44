"""What segkit raises.

::

    SegkitError
    ├── InputError (ValueError)            a wrong argument or wrong data; the user can mend it
    │   ├── ShapeError                     arrays whose shapes do not fit
    │   ├── LabelError                     a mask value or colour outside the labels
    │   ├── UnknownNameError (LookupError) a name that nothing is registered under
    │   ├── ConfigError                    a saved configuration that cannot be used
    │   └── DataError                      a file or folder that cannot be used
    │       └── MissingFileError (FileNotFoundError)
    ├── MissingExtraError (ImportError)    an optional package is not installed
    ├── KernelError (RuntimeError)         a forced kernel that cannot run
    ├── ExportError (RuntimeError)         a model whose exported file cannot be made, or is not the model
    └── TrainingError (RuntimeError)       a run that cannot go on

Every message says what was expected, what was got, where, and what to do next.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DataError",
    "ExportError",
    "InputError",
    "KernelError",
    "LabelError",
    "MissingExtraError",
    "MissingFileError",
    "SegkitError",
    "ShapeError",
    "TrainingError",
    "UnknownNameError",
]


class SegkitError(Exception):
    """Base of every error that segkit raises on purpose."""


class InputError(SegkitError, ValueError):
    """An argument or a datum that does not keep its contract."""


class ShapeError(InputError):
    """Arrays whose shapes do not fit each other."""


class LabelError(InputError):
    """A mask value, or a colour, that the labels do not name."""


class UnknownNameError(InputError, LookupError):
    """A name under which nothing is registered."""


class ConfigError(InputError):
    """A saved configuration that cannot be used."""


class DataError(InputError):
    """A file or folder that cannot be used."""


class MissingFileError(DataError, FileNotFoundError):
    """A file or folder that is not there."""


class MissingExtraError(SegkitError, ImportError):
    """An optional package that is not installed."""


class KernelError(SegkitError, RuntimeError):
    """A kernel that was asked for by name and cannot run."""


class ExportError(SegkitError, RuntimeError):
    """A model that cannot be exported, or a file that does not give what the model gives."""


class TrainingError(SegkitError, RuntimeError):
    """A training run that cannot go on."""

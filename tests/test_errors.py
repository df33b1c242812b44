"""The exception tree is the one that the module draws at its top."""

from __future__ import annotations

import re

import pytest

from segkit import errors

DRAWN = re.compile(r"^ {4}([│ ]*)(?:[├└]── )?(\w+)(?: \((\w+)\))?", re.MULTILINE)


def drawn_tree() -> dict[str, tuple[str | None, str | None]]:
    """Name to (parent, builtin base), as the docstring draws it."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    for indent, name, builtin in DRAWN.findall(errors.__doc__.partition("::\n")[2].partition("Every message")[0]):
        depth = 0 if name == "SegkitError" else len(indent) // 4 + 1
        path = [*path[:depth], name]
        tree[name] = (path[-2] if depth else None, builtin or None)
    return tree


def test_the_drawing_is_the_truth():
    tree = drawn_tree()
    assert set(tree) == set(errors.__all__)
    for name, (parent, builtin) in tree.items():
        bases = [base.__name__ for base in getattr(errors, name).__bases__]
        assert bases == [base for base in (parent or "Exception", builtin) if base]


@pytest.mark.parametrize("name", errors.__all__)
def test_each_is_a_segkit_error_and_says_what_it_is(name):
    error = getattr(errors, name)
    assert issubclass(error, errors.SegkitError)
    assert error.__doc__
    with pytest.raises(errors.SegkitError, match="expected a, got b"):
        raise error("expected a, got b")


def test_a_user_can_catch_what_python_calls_it():
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.MissingFileError, FileNotFoundError)
    assert issubclass(errors.MissingExtraError, ImportError)


def test_a_lookup_error_prints_its_message_and_not_its_repr():
    assert str(errors.UnknownNameError("no loss is named 'x'")) == "no loss is named 'x'"

"""A registry: what goes in comes out by its name, and a wrong name is answered with the nearest."""

from __future__ import annotations

import pytest

from segkit._registry import Registry
from segkit.errors import InputError, UnknownNameError


@pytest.fixture
def losses() -> Registry[str]:
    registry: Registry[str] = Registry("loss")
    for name in ("focal", "dice", "cross_entropy"):
        registry.register(name)(name.upper())
    return registry


def test_a_decorated_thing_stays_what_it_was():
    registry: Registry[object] = Registry("thing")

    @registry.register("f")
    def f():
        return 1

    assert registry["f"] is f
    assert f() == 1


def test_it_is_a_sorted_collection(losses):
    assert list(losses) == ["cross_entropy", "dice", "focal"]
    assert len(losses) == 3
    assert "dice" in losses
    assert "dise" not in losses


def test_names_by_pattern(losses):
    assert losses.names() == list(losses)
    assert losses.names("*c*e*") == ["cross_entropy", "dice"]
    assert losses.names("none") == []


def test_a_name_is_entered_once(losses):
    with pytest.raises(InputError, match="a loss named 'dice' is registered already"):
        losses.register("dice")("another")
    assert losses["dice"] == "DICE"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dise", r"no loss is named 'dise'; did you mean 'dice'\? \(there is cross_entropy, dice, focal\)"),
        ("zzz", r"no loss is named 'zzz' \(there is"),
        (None, "no loss is named None"),
        (["dice"], r"no loss is named \['dice'\]"),
    ],
)
def test_a_wrong_name(losses, name, message):
    with pytest.raises(UnknownNameError, match=message):
        losses[name]


def test_registries_share_nothing(losses):
    assert len(Registry("loss")) == 0

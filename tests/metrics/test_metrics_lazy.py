"""The package's lazy table hands out what it says."""

from __future__ import annotations

import importlib

import pytest

from segkit import metrics


def test_all_and_the_lazy_table_are_the_same():
    assert set(metrics.__all__) == set(metrics._HOMES)
    assert set(metrics.__all__) <= set(dir(metrics))


@pytest.mark.parametrize("name", metrics.__all__)
def test_each_name_is_its_homes(name):
    home = importlib.import_module(f"segkit.metrics.{metrics._HOMES[name]}")
    assert getattr(metrics, name) is getattr(home, name)
    assert name in home.__all__


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'segkit\.metrics' has no attribute 'mIoU'"):
        _ = metrics.mIoU

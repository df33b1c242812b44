"""Named settings, and the class weights that they ask for."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.datasets import CamVid
from segkit.errors import InputError, LabelError, UnknownNameError
from segkit.labels import Labels
from segkit.training import Trainer
from segkit.training.balance import balanced_weights
from segkit.training.recipes import RECIPES, recipe_settings


def items(*masks: list[list[int]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [
        (torch.zeros(3, *np.shape(mask), dtype=torch.uint8), torch.tensor(mask, dtype=torch.uint8)) for mask in masks
    ]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_holds_arguments_of_the_trainer(name: str) -> None:
    known = set(inspect.signature(Trainer.__init__).parameters)
    assert set(RECIPES[name]) - {"balance"} <= known
    assert set(RECIPES[name]) == set(RECIPES["plain"])


def test_what_is_given_replaces_the_recipes_own() -> None:
    assert recipe_settings("street", {"lr": 0.1, "loss": None})["lr"] == 0.1
    assert recipe_settings("street", {"loss": None})["loss"] == RECIPES["street"]["loss"]


@pytest.mark.parametrize(
    ("name", "given", "epochs", "minutes"),
    [
        ("plain", {}, 40, None),
        ("plain", {"minutes": 5.0}, None, 5.0),
        ("street", {}, None, 20.0),
        ("street", {"epochs": 3}, 3, None),
        ("street", {"epochs": 3, "minutes": 5.0}, 3, 5.0),
    ],
)
def test_a_limit_that_is_given_replaces_the_recipes_limits(name, given, epochs, minutes) -> None:  # type: ignore[no-untyped-def]
    chosen = recipe_settings(name, given)
    assert (chosen["epochs"], chosen["minutes"]) == (epochs, minutes)


def test_an_unknown_recipe() -> None:
    with pytest.raises(UnknownNameError, match=r"'stret'.*did you mean 'street'"):
        recipe_settings("stret", {})


def test_weights_by_hand() -> None:
    # 12 valid pixels: 8, 3 and 1 of the three classes.
    data = items([[0, 0, 0, 0], [0, 0, 0, 0]], [[1, 1, 1, 2], [255, 255, 255, 255]])
    raw = np.array([8 / 12, 3 / 12, 1 / 12]) ** -0.5
    mean = (8 * raw[0] + 3 * raw[1] + raw[2]) / 12
    np.testing.assert_allclose(balanced_weights(data, Labels(list("abc")), power=0.5), raw / mean)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=1, max_size=40), st.floats(0, 1))
def test_weights_have_the_mean_one_over_the_pixels_and_lift_the_rare(values: list[int], power: float) -> None:
    labels = Labels(list("abcd"))
    if set(values) == {255}:
        with pytest.raises(InputError, match="none of the 1 masks has a valid pixel"):
            balanced_weights(items([values]), labels, power=power)
        return
    weights = balanced_weights(items([values]), labels, power=power)
    valid = [value for value in values if value != 255]
    assert np.mean([weights[value] for value in valid]) == pytest.approx(1)
    by_count = sorted(set(valid), key=valid.count)
    assert all(weights[a] >= weights[b] * (1 - 1e-12) for a, b in itertools.pairwise(by_count))
    absent = set(range(4)) - set(valid)
    assert all(weights[value] == weights[by_count[0]] for value in absent)


def test_power_zero_weighs_all_alike_and_power_one_all_classes() -> None:
    data = items([[0, 0, 0, 1]])
    assert balanced_weights(data, Labels(list("ab")), power=0) == (1.0, 1.0)
    weights = balanced_weights(data, Labels(list("ab")), power=1)
    assert 3 * weights[0] == pytest.approx(weights[1])


def test_a_binary_task_weighs_background_and_foreground() -> None:
    assert len(balanced_weights(items([[0, 0, 1]]), Labels(["crack"], task="binary"), power=0.5)) == 2


def test_real_frames(camvid_root) -> None:  # type: ignore[no-untyped-def]
    data = CamVid(camvid_root, "val")
    weights = dict(zip(data.labels.names, balanced_weights(data, data.labels, power=0.25), strict=True))
    assert weights["road"] < 1 < weights["bicyclist"]


def test_errors() -> None:
    with pytest.raises(LabelError, match="item 0"):
        balanced_weights(items([[0, 7]]), Labels(list("ab")), power=0.5)
    with pytest.raises(InputError, match="multilabel"):
        balanced_weights(items([[0, 1]]), Labels(list("ab"), task="multilabel"), power=0.5)
    with pytest.raises(InputError, match="power"):
        balanced_weights(items([[0, 1]]), Labels(list("ab")), power=1.5)

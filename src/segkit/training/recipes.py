"""Named settings for a whole training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segkit._checks import check_choice

__all__ = ["RECIPES", "recipe_settings"]

# What `jobs.train` takes, and how far rare classes are lifted (`balanced_weights`).
_PLAIN: Mapping[str, Any] = {
    "loss": "cross_entropy",
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": "one_cycle",
    "batch_size": 8,
    "augment": "street",
    "size": (192, 256),
    "balance": 0.0,
    "epochs": 40,
    "minutes": None,
}

_STREET: Mapping[str, Any] = {
    **_PLAIN,
    "loss": "cross_entropy + dice",
    "optimizer": "adamw",
    "lr": 3e-3,
    "weight_decay": 0.02,
    "batch_size": 4,
    "balance": 0.25,
    "epochs": None,
    "minutes": 20.0,
}

RECIPES: Mapping[str, Mapping[str, Any]] = {"plain": _PLAIN, "street": _STREET}


def recipe_settings(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recipe; those that are ``given`` (not None) replace its own.

    Raises:
        UnknownNameError: no such recipe.
    """
    recipe = dict(RECIPES[check_choice("recipe", name, RECIPES)])
    given = {key: value for key, value in given.items() if value is not None}
    if "epochs" in given or "minutes" in given:
        recipe |= {"epochs": None, "minutes": None}
    return recipe | given

"""Instances: which pixel belongs to which object, as `objects` and the masks say it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segkit.datasets import StreetScenes


@pytest.mark.parametrize("index", range(5))
def test_instances_agree_with_objects_and_masks(index):
    scenes = StreetScenes(5, size=(90, 120), seed=4)
    owner, things, mask = scenes.instances(index), scenes.objects(index), scenes[index][1]
    assert (owner.shape, owner.dtype) == ((90, 120), torch.int32)
    assert sorted(set(owner.unique().tolist()) - {-1}) == list(range(len(things)))
    for number, thing in enumerate(things):
        rows, columns = np.nonzero(owner.numpy() == number)
        assert len(rows) == thing.area
        assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == thing.box
        assert (mask[owner == number] == thing.class_id).all()
    nothing = {scenes.labels.names[value] for value in mask[owner == -1].unique().tolist()}
    assert nothing <= {"sky", "road", "pavement"}

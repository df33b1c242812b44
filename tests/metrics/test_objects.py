"""Connected regions against scipy, and scores of objects that add up to those of the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from segkit.errors import InputError, LabelError, ShapeError
from segkit.metrics import Objects, confusion_matrix, match_objects, object_scores, regions

maps = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12),
    elements=st.sampled_from([0, 1, 2, 255]),
)


def check_regions(mask, connectivity):
    found = regions(mask, connectivity=connectivity)
    structure = np.ones((3, 3)) if connectivity == 8 else None
    expected = np.full(mask.shape, -1)
    boxes = {}
    for k in np.unique(mask[mask != 255]):
        labelled, _ = ndimage.label(mask == k, structure)
        for number, (rows, columns) in enumerate(ndimage.find_objects(labelled), 1):
            members = labelled == number
            first = int(np.flatnonzero(members)[0])
            expected[members] = first
            boxes[first] = (int(k), int(members.sum()), rows.start, columns.start, rows.stop, columns.stop)
    order = sorted(boxes)
    names = np.full(mask.size + 1, -1)
    names[order] = np.arange(len(order))
    np.testing.assert_array_equal(found.map, names[expected])
    rows = [tuple(map(int, (k, a, *box))) for k, a, box in zip(found.classes, found.areas, found.boxes, strict=True)]
    assert rows == [boxes[first] for first in order]
    assert len(found) == len(order)


@given(maps, st.sampled_from([4, 8]))
def test_regions_equal_scipy(mask, connectivity):
    check_regions(mask, connectivity)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_regions_of_real_masks_and_of_noise(camvid_root, connectivity):
    mask = np.array(Image.open(sorted((camvid_root / "valannot").glob("*.png"))[0]))
    mask[mask == 11] = 255
    check_regions(mask[::2, ::2], connectivity)
    check_regions(np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8), connectivity)


def test_a_long_snake_is_one_region():
    mask = np.zeros((41, 40), int)
    mask[::2] = 1
    mask[1::4, -1] = mask[3::4, 0] = 1
    found = regions(mask, connectivity=4)
    assert (found.classes == 1).sum() == 1
    assert found.boxes[0].tolist() == [0, 0, 41, 40]


@given(maps, maps, st.booleans(), st.sampled_from([None, [2.0], [1.0, 3.0, 9.0]]))
def test_bins_add_up_to_the_whole(pred, target, same, bounds):
    shape = np.minimum(pred.shape, target.shape)
    pred, target = pred[: shape[0], : shape[1]], target[: shape[0], : shape[1]]
    pred = np.where(pred == 255, 1, pred)
    result = object_scores(pred, target, num_classes=3, bounds=bounds)
    matrix = confusion_matrix(pred, target, num_classes=3)
    np.testing.assert_array_equal(result.hits.sum(1), matrix.diagonal())
    np.testing.assert_array_equal(result.pixels.sum(1), matrix.sum(1))
    np.testing.assert_array_equal(result.extra.sum(1), matrix.sum(0) - matrix.diagonal())
    found = regions(target)
    np.testing.assert_array_equal(result.num_objects.sum(1), np.bincount(found.classes, minlength=3))
    if bounds is not None:
        for k in range(3):
            places = np.searchsorted(bounds, found.areas[found.classes == k], side="right")
            np.testing.assert_array_equal(result.num_objects[k], np.bincount(places, minlength=len(bounds) + 1))


def test_small_objects_that_are_missed():
    target = np.zeros((30, 30), int)
    target[2:4, 2:4] = target[10:12, 2:4] = 1  # two small ones
    target[15:25, 15:25] = 1
    pred = np.zeros((30, 30), int)
    pred[2:4, 2] = 1  # half of one
    pred[15:25, 15:27] = 1  # the large one, and two columns too many
    pred[28, 28] = 1  # a false alarm
    result = object_scores(pred, target, num_classes=2, bounds=[10, 50], names=["road", "car"])
    assert result.bins == ("below 10", "10 to 50", "from 50")
    assert result.num_objects[1].tolist() == [2, 0, 1]
    assert result.num_found[1].tolist() == [1, 0, 1]
    assert result.recall[1, 0] == 2 / 8
    assert np.isnan(result.recall[1, 1])
    assert result.iou[1, 0] == 2 / (8 + 1)
    assert result.iou[1, 2] == 100 / 120
    assert result.found[1].tolist()[::2] == [0.5, 1.0]
    for text in (str(result), result.to_markdown(), result._repr_html_()):
        assert "car" in text
        assert "below 10" in text


def test_thirds_of_each_class():
    target = np.zeros((20, 100), int)
    for number in range(9):  # areas 1 to 9
        target[2, 10 * number : 11 * number + 1] = 1
    target[10:14, :] = 2
    result = object_scores(target, target, num_classes=3)
    assert result.bins == ("small", "medium", "large")
    assert result.num_objects[1].tolist() == [3, 3, 3]
    assert result.pixels[1].tolist() == [6, 15, 24]
    assert result.num_objects[2].sum() == 1
    assert result.iou[1].tolist() == [1, 1, 1]


def test_objects_by_how_much_of_them_is_hidden():
    target = np.array([[1, 1, 0, 1, 1, 0, 2, 2]])
    instances = np.array([[0, 0, -1, 1, 1, -1, 2, 2]])
    pred = np.array([[1, 1, 0, 0, 1, 0, 2, 0]])
    result = object_scores(
        [pred], [target], num_classes=3, instances=[instances], values=[[0.0, 0.7, 0.2, 0.9]], bounds=[0.5]
    )
    assert result.recall[1].tolist() == [1.0, 0.5]
    assert result.num_objects.tolist() == [[0, 0], [1, 1], [1, 0]]
    assert result.recall[2, 0] == 0.5


def test_touching_objects_of_one_class_are_told_apart_by_instances():
    target = np.ones((2, 6), int)
    instances = np.array([[0, 0, 0, 1, 1, 1]] * 2)
    pred = np.array([[1, 1, 1, 0, 0, 0]] * 2)
    result = object_scores(pred, target, num_classes=2, instances=[instances], bounds=[100])
    assert result.num_objects[1, 0] == 2
    assert result.num_found[1, 0] == 1


def rows_of(found):
    columns = (found.images, found.classes, found.pixels, found.hits)
    return [(*map(int, row), tuple(map(int, box))) for *row, box in zip(*columns, found.boxes, strict=True)]


def one_at_a_time(preds, targets, owners):
    """Each object's pixels, one by one."""
    rows = []
    for image, (pred, target, owner) in enumerate(zip(preds, targets, owners, strict=True)):
        for number in range(owner.max(initial=-1) + 1):
            mine = (owner == number) & (target != 255)
            if mine.any():
                down, across = np.nonzero(mine)
                box = (down.min(), across.min(), down.max() + 1, across.max() + 1)
                hits = int((mine & (pred == target)).sum())
                rows.append((image, int(target[mine][0]), int(mine.sum()), hits, tuple(map(int, box))))
    return rows


@given(maps, maps, maps)
def test_objects_equal_a_count_of_one_at_a_time(pred, target, first):
    shape = np.minimum(np.minimum(pred.shape, target.shape), first.shape)
    pred, target, first = (part[: shape[0], : shape[1]] for part in (pred, target, first))
    pred = np.where(pred == 255, 1, pred)
    found = match_objects([pred, pred], [target, first], num_classes=3)
    assert rows_of(found) == one_at_a_time([pred, pred], [target, first], [regions(target).map, regions(first).map])
    assert all(found.found == (found.recall >= 0.5))


@given(maps, st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_instances_have_boxes_and_values_of_their_own(numbers, hidden):
    owner = np.where(numbers == 255, -1, numbers.astype(int))  # of several parts, scattered
    target = np.array([2, 0, 2, 255])[owner]  # the third, -1, is ignored
    target[:1] = 255
    pred = np.zeros_like(target)
    found = match_objects(pred, target, num_classes=3, instances=[owner], values=[hidden])
    expected = one_at_a_time([pred], [target], [owner])
    assert rows_of(found) == expected
    there = [number for number in range(3) if ((owner == number) & (target != 255)).any()]
    assert found.values.tolist() == [hidden[number] for number in there]
    scored = object_scores(pred, target, num_classes=3, instances=[owner], values=[hidden], bounds=[0.25, 0.75])
    bins = found.bins([0.25, 0.75])
    for k in range(3):
        np.testing.assert_array_equal(scored.num_objects[k], np.bincount(bins[found.classes == k], minlength=3))


@given(maps, maps)
def test_thirds_are_those_of_object_scores(pred, target):
    shape = np.minimum(pred.shape, target.shape)
    pred, target = pred[: shape[0], : shape[1]], target[: shape[0], : shape[1]]
    pred = np.where(pred == 255, 1, pred)
    found, scored = match_objects(pred, target, num_classes=3), object_scores(pred, target, num_classes=3)
    for k in range(3):
        mine = found.classes == k
        for total, part in (("num_found", found.found), ("pixels", found.pixels), ("hits", found.hits)):
            sums = np.bincount(found.bins()[mine], weights=part[mine], minlength=3)
            np.testing.assert_array_equal(getattr(scored, total)[k], sums)


def test_objects_are_joined_and_chosen():
    image = np.array([[0, 0, 1], [2, 2, 1]])
    found = match_objects(image, image, num_classes=3)
    both = Objects.joined([found, found])
    assert both.classes.tolist() == [0, 1, 2] * 2
    assert len(both[both.classes == 1]) == 2
    assert both[:1].boxes.tolist() == [[0, 0, 1, 2]]
    assert both.values is None
    assert len(Objects.joined([])) == 0
    assert len(match_objects([], [], num_classes=3)) == 0


def test_arguments_are_checked():
    image = np.zeros((4, 4), int)
    with pytest.raises(ShapeError, match=r"\(H, W\)"):
        regions([0, 1])
    with pytest.raises(InputError, match="4 or 8"):
        regions(image, connectivity=6)
    with pytest.raises(InputError, match="whole numbers"):
        regions(image.astype(float))
    with pytest.raises(InputError, match="ascending"):
        object_scores(image, image, num_classes=2, bounds=[3, 1])
    with pytest.raises(InputError, match="`values` belong to `instances`"):
        object_scores(image, image, num_classes=2, bounds=[1], values=[[1]])
    with pytest.raises(InputError, match="`values` need `bounds`"):
        object_scores(image, image, num_classes=2, instances=[image], values=[[1]])
    with pytest.raises(InputError, match=r"one number an object \(1\); got 0"):
        object_scores(image, image, num_classes=2, bounds=[1], instances=[image], values=[[]])
    with pytest.raises(InputError, match=r"one item an image \(1\); got 2"):
        object_scores(image, image, num_classes=2, instances=[image, image])
    with pytest.raises(ShapeError, match="instances"):
        object_scores(image, image, num_classes=2, instances=[image[:2]])
    with pytest.raises(LabelError):
        object_scores(image + 3, image, num_classes=2)


def test_a_false_alarm_as_large_as_the_objects_is_in_their_bin():
    target = np.zeros((10, 30), np.uint8)
    target[2:4, 2:4] = target[2:4, 10:12] = 1
    pred = target.copy()
    pred[7:9, 20:22] = 1
    found = object_scores(pred, target, num_classes=2)
    assert found.num_objects[1].tolist() == [2, 0, 0]
    assert found.extra[1].tolist() == [4, 0, 0]

"""Turned and bent crops against a slow oracle, and a whole batch on a device against the host."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.warping import slow_warp
from segkit._rng import generator
from segkit.transforms import Augment, Context, RandAugment, create_transform
from segkit.transforms._change import Change, Noise
from segkit.transforms._crop import Crop
from segkit.transforms._device import change_batch
from segkit.transforms._tone import Tone
from segkit.transforms._warp import Warp, box_matrix, cubic_weights, flat_matrix


def picture(height=20, width=26, channels=3, dtype=np.uint8):
    return np.random.default_rng(3).integers(0, 256, (height, width, channels)).astype(dtype)


def slow_weight(distance):
    """The cubic B-spline, from its definition as a mean of means of means of boxes."""
    distance = abs(distance)
    if distance < 1:
        return 2 / 3 - distance**2 + distance**3 / 2
    return (2 - distance) ** 3 / 6 if distance < 2 else 0.0


def slow_shift(nodes, size, row, column):
    """The displacement at a pixel: every node, those beyond the grid being its outermost, by its weight."""
    rows, columns = nodes.shape
    y, x = (row + 0.5) * rows / size[0] - 0.5, (column + 0.5) * columns / size[1] - 0.5
    total = 0.0
    for i in range(-4, rows + 4):
        for j in range(-4, columns + 4):
            node = nodes[min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)]
            total += slow_weight(y - i) * slow_weight(x - j) * node
    return total


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("degrees", [0, 17, 90, -140])
def test_a_turned_crop_equals_the_slow_one(dtype, degrees):
    image, mask = picture(dtype=dtype), np.random.default_rng(1).integers(0, 9, (20, 26), np.uint8)
    crop = Crop((3.3, 2.1, 16.3, 15.1), (12, 14), flip=True)
    matrix = flat_matrix(degrees, 0.2, (9.0, 8.0)) @ np.vstack([box_matrix(crop), [0, 0, 1]])
    got, labels = Warp(matrix, crop.size).apply(image, mask, 255)
    planes = image.transpose(2, 0, 1).astype(np.float64)
    expected, wanted, clear = slow_warp(planes, mask.astype(np.int64), matrix, crop.size, -1.0, 255)
    assert clear.mean() > 0.9
    assert (labels == wanted)[clear].all()
    inside = clear & (wanted != 255)
    assert inside.any()
    assert got.dtype == dtype
    assert np.abs(got.transpose(2, 0, 1) - expected)[:, inside].max() <= 0.51
    assert np.abs(got[clear & ~inside] - image.mean((0, 1))).max(initial=0) <= 0.51


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_a_bent_crop_lies_where_the_splines_say(seed):
    rng = np.random.default_rng(seed)
    nodes = rng.normal(0, 2, (2, 3, 4)).astype(np.float32)
    mask = np.arange(40 * 50, dtype=np.int32).reshape(40, 50)
    warp = Warp(np.array([[1.0, 0, 10], [0, 1.0, 8]]), (9, 11), nodes)
    _, labels = warp.apply(np.zeros((40, 50, 1), np.uint8), mask, -1)
    for row, column in [(0, 0), (4, 5), (8, 10), (2, 9)]:
        x = column + 10.5 + slow_shift(nodes[0], (9, 11), row, column)
        y = row + 8.5 + slow_shift(nodes[1], (9, 11), row, column)
        if min(abs(x - round(x)), abs(y - round(y))) > 1e-4:
            assert labels[row, column] == mask[math.floor(y), math.floor(x)]


@given(st.integers(1, 40), st.integers(2, 9))
def test_weights_are_shares(size, nodes):
    weights = cubic_weights(size, nodes)
    assert (weights >= 0).all()
    assert np.allclose(weights.sum(1), 1, atol=1e-6)


def test_a_warp_that_is_a_crop_gives_the_crop():
    image, mask = picture(), np.random.default_rng(1).integers(0, 9, (20, 26), np.uint8)
    crop = Crop((4, 3, 16, 13), (10, 12), flip=True, vertical_flip=True)
    for got, expected in zip(
        Warp(box_matrix(crop), crop.size).apply(image, mask, 255), crop.apply(image, mask, 255), strict=True
    ):
        assert (got == expected).all()


def test_what_shrinks_is_averaged():
    image = np.zeros((64, 64, 1), np.uint8)
    image[::2, ::2] = 200  # single pixels would be 0 or 200
    matrix = flat_matrix(10, 0, (32, 32)) @ np.array([[4.0, 0, 16], [0, 4.0, 16], [0, 0, 1]])
    got, _ = Warp(matrix, (8, 8)).apply(image, np.zeros((64, 64), np.uint8), 255)
    assert ((got > 40) & (got < 60)).all()


def test_a_place_outside_is_all_padding():
    image, mask = picture(), np.zeros((20, 26), np.uint8)
    got, labels = Warp(np.array([[1.0, 0, 100], [0, 1.0, 100]]), (5, 6)).apply(image, mask, 255)
    assert (labels == 255).all()
    assert (got == np.rint(image.mean((0, 1)))).all()


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_turned_and_bent_images_and_masks_stay_aligned(seed):
    y, x = torch.meshgrid(torch.arange(120), torch.arange(120), indexing="ij")
    mask = (x + y).to(torch.uint8)
    augment = Augment(size=(40, 56), scale=(0.8, 2.0), rotate=180, elastic=0.1, vertical_flip=0.5)
    image, labels = augment(mask[None].clone(), mask, generator(seed))
    inside = labels != 255
    assert inside.any()
    assert (image[0].int() - labels.int())[inside].abs().max() <= 5


@pytest.mark.parametrize("name", ["light", "street", "medical", "aerial", "auto"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_batch_on_a_device_is_what_the_host_makes(name, dtype):
    rng = np.random.default_rng(0)
    smooth = np.repeat(np.repeat(rng.integers(0, 256, (3, 9, 12)), 8, 1), 8, 2)
    images = torch.from_numpy(np.stack([smooth, 255 - smooth, smooth[::-1]])).to(dtype)
    masks = torch.from_numpy(rng.integers(0, 11, (3, 72, 96), np.uint8))
    transform = create_transform(name, size=(32, 40))
    changes = [
        transform.draw(image, mask, generator(0, i)) for i, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]
    changes = [Change(one.place, one.tone) for one in changes]  # the noise's numbers differ
    pictures, labels = change_batch(images, masks, changes, 255)
    assert pictures.shape == (3, 3, 32, 40)
    assert pictures.dtype == dtype
    for index, change in enumerate(changes):
        expected, wanted = change.apply(images[index].permute(1, 2, 0).contiguous().numpy(), masks[index].numpy(), 255)
        assert (labels[index].numpy() != wanted).mean() < 0.002
        difference = np.abs(pictures[index].permute(1, 2, 0).numpy().astype(float) - expected)
        assert np.median(difference) <= 1.5
        assert difference.mean() < 6


def test_noise_on_a_device_has_its_share_and_its_seed():
    images = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (1, 1, 64, 64)).astype(np.float32))
    place = Crop((0, 0, 64, 64), (64, 64))
    change = Change(place, Tone(1, 1, 1, 1, (1,)), Noise(0.5, 7))
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    first, second = (change_batch(images, masks, [change], 255)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert (first - images).std().item() == pytest.approx(0.5 * images.std().item(), rel=0.05)
    on_host = change.apply(images[0].permute(1, 2, 0).numpy(), masks[0].numpy(), 255)[0]
    assert (on_host - images[0].permute(1, 2, 0).numpy()).std() == pytest.approx(0.5 * images.std().item(), rel=0.05)


def test_masks_with_planes_are_bent_alike_on_host_and_device():
    masks = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (2, 4, 48, 48), np.uint8))
    images = torch.zeros(2, 3, 48, 48, dtype=torch.uint8)
    augment = Augment(size=(24, 24), rotate=40, elastic=0.1)
    changes = [
        augment.draw(image, mask, generator(i)) for i, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]
    _, labels = change_batch(images, masks, changes, 255)
    for index, change in enumerate(changes):
        wanted = change.apply(images[index].permute(1, 2, 0).numpy(), masks[index].numpy(), 255)[1]
        assert (labels[index].numpy() != wanted).mean() < 0.002


@pytest.mark.parametrize("augment", [Augment(size=(16, 16), rotate=180), RandAugment(size=(16, 16), ops=3)])
def test_a_crop_shows_the_class_it_was_drawn_for(augment):
    mask = torch.zeros(90, 120, dtype=torch.uint8)
    mask[41, 21] = 7  # one pixel, at an odd place
    image = torch.zeros(1, 90, 120, dtype=torch.uint8)
    found = [augment(image, mask, generator(i), Context(target=7))[1] for i in range(40)]
    assert sum(bool((labels == 7).any()) for labels in found) >= 25
    absent = augment(image, mask, generator(0), Context(target=5))[1]
    assert absent.shape == (16, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotate": 181}, "`rotate`"),
        ({"elastic": 0.4}, "`elastic`"),
        ({"elastic_cells": 1}, "`elastic_cells`"),
        ({"noise": -1}, "`noise`"),
    ],
)
def test_wrong_options_of_the_new_kind(options, message):
    with pytest.raises(ValueError, match=message):
        Augment(size=(8, 8), **options)

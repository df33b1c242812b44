from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit._rng import generator
from segkit.errors import InputError, ShapeError, UnknownNameError
from segkit.transforms import Augment, create_transform, list_transforms

RECIPES = ["aerial", "auto", "light", "medical", "street"]
DTYPES = [torch.uint8, torch.uint16, torch.float32]


def sample(channels=3, height=40, width=52, dtype=torch.uint8):
    rng = np.random.default_rng(channels)
    image = torch.from_numpy(rng.integers(0, 256, (height, width, channels))).to(dtype).permute(2, 0, 1)
    return image, torch.from_numpy(rng.integers(0, 11, (height, width), np.uint8))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_recipes_keep_types_and_give_the_size(name, dtype, channels):
    image, mask = sample(channels, dtype=dtype)
    got, labels = create_transform(name, size=(33, 29))(image, mask, generator(0, 0, 0))
    assert got.shape == (channels, 33, 29)
    assert got.dtype == dtype
    assert labels.shape == (33, 29)
    assert labels.dtype == torch.uint8


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60))
def test_a_mask_gets_no_new_value(name, seed, height, width):
    image, mask = sample(height=height, width=width)
    _, labels = create_transform(name, size=(16, 24))(image, mask, generator(seed))
    assert set(labels.unique().tolist()) <= set(mask.unique().tolist()) | {255}


@given(st.integers(0, 10**6))
def test_the_same_key_gives_the_same_result(seed):
    image, mask = sample()
    street = create_transform("street", size=(16, 24))
    np.random.seed(seed % 1000)  # noqa: NPY002
    torch.manual_seed(seed)
    first = street(image, mask, generator(seed, 3, 7))
    second = street(image, mask, generator(seed, 3, 7))
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_another_key_gives_another_result():
    image, mask = sample()
    street = create_transform("street", size=(16, 24))
    results = {street(image, mask, generator(0, 0, i))[0].contiguous().numpy().tobytes() for i in range(20)}
    assert len(results) == 20


def test_global_random_state_is_not_touched():
    image, mask = sample()
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    create_transform("street", size=(16, 24))(image, mask, generator(0))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


@given(st.integers(0, 10**6))
def test_image_and_mask_stay_aligned(seed):
    # The image is the mask itself, smooth (a ramp), so that bilinear and nearest must nearly agree.
    y, x = torch.meshgrid(torch.arange(120), torch.arange(120), indexing="ij")
    mask = (x + y).to(torch.uint8)  # 0..238
    augment = Augment(size=(40, 56), scale=(0.5, 2.0), aspect=1.2, vertical_flip=0.5)
    image, labels = augment(mask[None].clone(), mask, generator(seed))
    inside = labels != 255
    assert inside.any()
    assert (image[0].int() - labels.int())[inside].abs().max() <= 5


def test_flips_come_in_their_share_and_are_flips():
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    image[0, :2, :2] = 200
    mask = image[0] // 200
    seen = {(False, False): 0, (False, True): 0, (True, False): 0, (True, True): 0}
    augment = Augment(size=(8, 8), flip=0.5, vertical_flip=0.25)
    for seed in range(400):
        _, labels = augment(image, mask, generator(seed))
        seen[bool(labels[0, 7] or labels[7, 7]), bool(labels[7, 0] or labels[7, 7])] += 1
    assert 160 < seen[True, False] + seen[True, True] < 240
    assert 65 < seen[False, True] + seen[True, True] < 135


def test_no_recipe_turns_a_street_upside_down():
    image = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[32:] = 1
    for name in ("light", "street"):
        for seed in range(50):
            _, labels = create_transform(name, size=(64, 64))(image, mask, generator(seed))
            rows = [row[row != 255].float().mean().item() for row in labels if (row != 255).any()]
            assert rows == sorted(rows)


def test_scale_is_even_on_a_log_scale_and_crops_reach_every_pixel():
    mask = torch.arange(200 * 200, dtype=torch.int32).reshape(200, 200)
    image = torch.zeros(1, 200, 200, dtype=torch.uint8)
    augment = Augment(size=(50, 50), flip=0, scale=(0.5, 2.0), ignore_index=-1)
    zooms, seen = [], torch.zeros(200 * 200, dtype=torch.bool)
    for seed in range(600):
        _, labels = augment(image, mask, generator(seed))
        columns = labels[0] % 200
        zooms.append(49 / (columns[-1] - columns[0]).item())
        seen[labels.flatten().long()] = True
    assert np.log(zooms).mean() == pytest.approx(0, abs=0.06)
    assert min(zooms) < 0.55
    assert max(zooms) > 1.8
    assert seen.float().mean() > 0.95


@pytest.mark.parametrize("planes", [False, True])
@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_focus_finds_what_is_rare(planes, seed):
    mask = torch.zeros(90, 120, dtype=torch.uint8)
    mask[:, 70:] = 255
    mask[40:42, 20:22] = 7  # four pixels of 10800
    if planes:
        mask = torch.stack([(mask == value).to(torch.uint8) for value in (0, 7, 3)])
    image = torch.zeros(1, 90, 120, dtype=torch.uint8)
    augment = Augment(size=(20, 30), scale=(0.5, 2.0), focus=1.0)
    found = [augment(image, mask, generator(seed, i))[1] for i in range(60)]
    rare = sum(bool((labels[1] == 1).any() if planes else (labels == 7).any()) for labels in found)
    usual = sum(bool((labels[0] == 1).any() if planes else (labels == 0).any()) for labels in found)
    assert rare > 15  # half of the crops at least, by chance; without focus about one in ten
    assert usual > 50


def test_focus_on_a_mask_without_a_class_is_any_crop():
    image, mask = torch.zeros(1, 30, 30, dtype=torch.uint8), torch.full((30, 30), 255, dtype=torch.uint8)
    _, labels = Augment(size=(10, 10), focus=1.0)(image, mask, generator(0))
    assert (labels == 255).all()


@pytest.mark.parametrize("size", [(5, 5), (10, 50), (60, 60)])
@given(st.integers(0, 10**6))
def test_focus_keeps_the_crop_where_it_may_lie(size, seed):
    mask = torch.zeros(20, 30, dtype=torch.uint8)
    mask[0, 0] = mask[18, 28] = 1
    image = torch.zeros(1, 20, 30, dtype=torch.uint8)
    _, labels = Augment(size=size, focus=1.0, flip=0)(image, mask, generator(seed))
    inside = min(size[0], 20) * min(size[1], 30)
    assert (labels != 255).sum() == pytest.approx(inside, abs=sum(size))


def test_a_small_image_is_padded_with_its_mean_and_ignored():
    image = torch.full((3, 10, 10), 50, dtype=torch.uint8)
    got, labels = Augment(size=(30, 30), flip=0)(image, torch.ones(10, 10, dtype=torch.uint8), generator(0))
    assert (got == 50).all()
    assert (labels == 1).sum() == 100
    assert (labels == 255).sum() == 800


def test_another_ignore_index_is_used():
    image, mask = sample(height=5, width=5)
    _, labels = create_transform("light", size=(30, 30), ignore_index=11)(image, mask, generator(0))
    assert (labels == 11).any()
    assert not (labels == 255).any()


def test_real_frames_keep_their_classes(camvid_root):
    from segkit.datasets import CamVid

    image, mask = CamVid(camvid_root, split="val")[0]
    street = create_transform("street", size=(256, 352))
    for seed in range(20):
        got, labels = street(image, mask, generator(seed))
        assert set(labels.unique().tolist()) <= set(mask.unique().tolist()) | {255}
        assert 10 < got.float().mean() < 245


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 5)}, "`size`"),
        ({"size": 256}, "height, width"),
        ({"size": (8, 8), "flip": 1.5}, "`flip`"),
        ({"size": (8, 8), "vertical_flip": -1}, "`vertical_flip`"),
        ({"size": (8, 8), "scale": (2, 0.5)}, "smallest, largest"),
        ({"size": (8, 8), "scale": 2}, "smallest, largest"),
        ({"size": (8, 8), "scale": (0, 1)}, "`scale`"),
        ({"size": (8, 8), "focus": 2}, "`focus`"),
        ({"size": (8, 8), "aspect": 0.5}, "`aspect`"),
        ({"size": (8, 8), "gamma": -0.1}, "`gamma`"),
        ({"size": (8, 8), "ignore_index": "void"}, "`ignore_index`"),
    ],
)
def test_wrong_options_say_so(options, message):
    with pytest.raises(InputError, match=message):
        Augment(**options)


@pytest.mark.parametrize(
    ("image", "mask", "error", "message"),
    [
        (torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.uint8), ShapeError, r"\(4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8), ShapeError, r"\(4, 5\)"),
        (torch.zeros(3, 0, 4, dtype=torch.uint8), torch.zeros(0, 4, dtype=torch.uint8), ShapeError, "not empty"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), torch.zeros(4, 4, dtype=torch.uint8), InputError, "torch.int64"),
        (torch.zeros(3, 4, 4), torch.zeros(4, 4), InputError, "integers"),
        (torch.zeros(3, 4, 4), torch.zeros(4, 4, dtype=torch.int8), InputError, "`ignore_index` \\(=255\\)"),
    ],
)
def test_wrong_samples_say_so(image, mask, error, message):
    with pytest.raises(error, match=message):
        Augment(size=(4, 4))(image, mask, generator(0))


def test_names():
    assert list_transforms() == sorted([*RECIPES, "copy_paste"])
    assert list_transforms("s*") == ["street"]
    with pytest.raises(UnknownNameError, match="did you mean 'street'"):
        create_transform("streat", size=(8, 8))


@pytest.mark.parametrize("size", [(1, 8), (8, 1), (1, 1)])
def test_a_flipped_result_of_one_row_or_column_is_a_tensor(size):
    # Where there is one, numpy takes what goes backwards for contiguous, and torch does not take it.
    image, mask = torch.arange(192, dtype=torch.uint8).view(3, 8, 8), torch.zeros(8, 8, dtype=torch.uint8)
    both = Augment(size=size, flip=1, vertical_flip=1)
    pixels, labels = both(image, mask, np.random.default_rng(0))
    assert pixels.shape == (3, *size)
    assert labels.shape == size

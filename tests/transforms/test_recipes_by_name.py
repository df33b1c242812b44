"""Recipes: their strengths, sums, tables against Pillow's, copy-paste, and that the old ones stay as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from segkit._rng import generator
from segkit.errors import InputError, UnknownNameError
from segkit.transforms import Augment, Context, CopyPaste, RandAugment, create_transform
from segkit.transforms._crop import Crop
from segkit.transforms._steps import Steps


def sample(height=90, width=120):
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (height, width, 3), np.uint8)).permute(2, 0, 1)
    return image, torch.from_numpy(rng.integers(0, 11, (height, width), np.uint8))


def test_what_street_draws_is_what_it_drew_for_the_story():
    change = create_transform("street", size=(64, 80)).draw(*sample(), generator(0, 1, 3))
    assert isinstance(change.place, Crop)
    assert change.place.flip
    # For the story the box started at (54.2329, 8.4369); it starts on whole pixels since.
    width, height = 107.53022606553742 - 54.23290217270283, 54.71312430576013 - 8.436911346667305
    assert change.place.box == pytest.approx((54, 8, 54 + width, 8 + height), rel=1e-12)
    tone = change.tone
    assert (tone.brightness, tone.contrast) == pytest.approx((1.1220251914078685, 0.8122125233652532), rel=1e-12)
    assert (tone.saturation, tone.gamma) == pytest.approx((0.8140135920944577, 0.9723041864627535), rel=1e-12)
    assert tone.cast == pytest.approx((1.001636512757475, 0.971685104433618, 1.0295387929126125), rel=1e-12)
    assert change.noise is None


def test_a_strength_widens_the_ranges():
    street = create_transform("street", size=(8, 8))
    assert create_transform("1*street", size=(8, 8)) == street
    twice = create_transform("2*street", size=(8, 8))
    assert twice.scale == pytest.approx((0.75**2, 1.5**2))
    assert twice.brightness == pytest.approx(1.3**2 - 1)
    none = create_transform("0*medical", size=(8, 8))
    assert none == Augment(size=(8, 8))
    assert create_transform("0.5*aerial", size=(8, 8)).rotate == 180  # what has no upright has none
    assert create_transform("2*auto", size=(8, 8)).magnitude == pytest.approx(0.6)


def test_sums():
    both = create_transform("0.5*street + 0.6*copy_paste", size=(8, 9), ignore_index=200)
    assert isinstance(both, CopyPaste)
    assert both.chance == pytest.approx(0.3)
    assert both.size == (8, 9)
    assert both.base == create_transform("0.5*street", size=(8, 9), ignore_index=200)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("street + light", "one recipe and copy-paste"),
        ("copy_paste + copy_paste", "one recipe and copy-paste"),
        ("5*street", "`strength` must be between 0 and 4"),
        ("1.2.3*street", "the strength '1.2.3'"),
        ("0.5*streat", "did you mean 'street'"),
        ("street +", "no transform is named ''"),
        (("street",), "no transform is named"),
    ],
)
def test_wrong_names(name, message):
    with pytest.raises((InputError, UnknownNameError)) as caught:
        create_transform(name, size=(8, 8))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("step", "theirs"),
    [
        (("autocontrast", 1), ImageOps.autocontrast),
        (("equalize", 1), ImageOps.equalize),
        (("posterize", 5), lambda image: ImageOps.posterize(image, 5)),
        (("solarize", 100), lambda image: ImageOps.solarize(image, 100)),
    ],
)
@pytest.mark.parametrize("spread", [(0, 256), (40, 200), (7, 8)])
def test_tables_are_pillows(step, theirs, spread):
    rng = np.random.default_rng(5)
    image = np.clip(rng.normal(np.mean(spread), 30, (50, 60, 3)), spread[0], spread[1] - 1).astype(np.uint8)
    got = Steps((step,)).apply(image)
    expected = np.asarray(theirs(Image.fromarray(image)))
    # Pillow cuts after the stretch where others round: one level at most.
    assert np.abs(got.astype(int) - expected).max() <= (1 if step[0] == "autocontrast" else 0)


def test_steps_follow_one_another():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    steps = (("solarize", 128.0), ("equalize", 1.0), ("posterize", 4.0))
    one_by_one = image
    for step in steps:
        one_by_one = Steps((step,)).apply(one_by_one)
    assert (Steps(steps).apply(image) == one_by_one).all()


def test_randaugment_draws_each_change_as_often():
    image, mask = sample(40, 40)
    augment = RandAugment(size=(16, 16), ops=1, magnitude=1.0)
    names = []
    for seed in range(660):
        change = augment.draw(image, mask, generator(seed))
        if change.tone is None:
            names.append("place or none")
        else:
            names.append(change.tone.steps[0][0] if change.tone.steps else "saturation")
    counts = {name: names.count(name) for name in set(names)}
    assert counts.pop("place or none") == pytest.approx(4 * 60, abs=45)  # identity, and three of place
    assert len(counts) == 7
    assert all(35 < count < 90 for count in counts.values())


def test_without_magnitude_only_what_has_none_changes():
    image, mask = sample()
    plain = RandAugment(size=(90, 120), ops=0, flip=0, scale=(1, 1))(image, mask, generator(0))
    assert torch.equal(plain[0], image)
    assert torch.equal(plain[1], mask)
    with pytest.raises(InputError, match="`magnitude`"):
        RandAugment(size=(8, 8), magnitude=1.1)


class TestCopyPaste:
    base = Augment(size=(20, 20), flip=0)

    def rare(self, rng):
        mask = torch.zeros(30, 30, dtype=torch.uint8)
        mask[10:14, 10:14] = 3
        return torch.full((3, 30, 30), 99, dtype=torch.uint8), mask, 3

    def test_pastes_the_class_and_nothing_else(self):
        paste = CopyPaste(base=self.base, chance=1.0)
        image, mask = torch.zeros(3, 30, 30, dtype=torch.uint8), torch.ones(30, 30, dtype=torch.uint8)
        for seed in range(10):
            got, labels = paste(image, mask, generator(seed), Context(rare=self.rare))
            pasted = labels == 3
            assert 1 <= pasted.sum() <= 16
            assert (got[:, pasted] == 99).all()
            assert (got[:, ~pasted] == 0).all()
            assert (labels[~pasted] == 1).all()

    def test_planes_are_pasted_whole(self):
        def rare(rng):
            mask = torch.zeros(2, 20, 20, dtype=torch.uint8)
            mask[:, 5:9, 5:9] = 1
            return torch.full((1, 20, 20), 50, dtype=torch.uint8), mask, 1

        paste = CopyPaste(base=self.base, chance=1.0)
        got, labels = paste(
            torch.zeros(1, 20, 20, dtype=torch.uint8),
            torch.zeros(2, 20, 20, dtype=torch.uint8),
            generator(0),
            Context(rare=rare),
        )
        assert (labels[0] == (got[0] == 50)).all()
        assert labels.sum() == 32

    def test_by_chance_or_where_no_class_is_rare_nothing_is_pasted(self):
        image, mask = torch.zeros(3, 30, 30, dtype=torch.uint8), torch.ones(30, 30, dtype=torch.uint8)
        never, always = CopyPaste(base=self.base, chance=0), CopyPaste(base=self.base, chance=1)
        assert (never(image, mask, generator(0), Context(rare=self.rare))[1] == 1).all()
        assert (always(image, mask, generator(0), Context())[1] == 1).all()

    def test_needs_a_second_sample_of_the_same_type(self):
        image, mask = torch.zeros(1, 30, 30), torch.ones(30, 30, dtype=torch.uint8)
        paste = CopyPaste(base=self.base, chance=1)
        with pytest.raises(InputError, match="needs a second sample"):
            paste(image, mask, generator(0))
        with pytest.raises(InputError, match=r"float32 with 1 channels, another torch\.uint8 with 3"):
            paste(image, mask, generator(0), Context(rare=self.rare))

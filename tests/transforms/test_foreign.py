"""Other libraries' transforms: in the form of Albumentations, and torchvision's own."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from segkit._rng import generator
from segkit.errors import InputError, LabelError, ShapeError
from segkit.transforms import Augment, Foreign, as_transform

NORMALISED = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])


def sample(channels=3):
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (20, 30, channels), np.uint8)).permute(2, 0, 1)
    return image, torch.from_numpy(rng.integers(0, 5, (20, 30), np.uint8))


class Flip:
    """As Albumentations' Compose is called; it draws from all three global generators."""

    def __call__(self, *args, force_apply=False, **data):
        self.drawn = random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002
        return {**data, "image": data["image"][:, ::-1], "mask": data["mask"][:, ::-1]}


def test_arrays_go_in_and_come_out():
    image, mask = sample()
    got, labels = as_transform(Flip())(image, mask, generator(0))
    assert torch.equal(got, image.flip(2))
    assert torch.equal(labels, mask.flip(1))


def test_global_generators_are_seeded_by_the_key_and_given_back():
    image, mask = sample()
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    seen = []
    for key in (3, 3, 4):
        flip = Flip()
        as_transform(flip)(image, mask, generator(key))
        seen.append(flip.drawn)
    assert seen[0] == seen[1]
    assert all(one != other for one, other in zip(seen[1], seen[2], strict=True))
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_generators_are_given_back_after_an_error():
    def fail(image, mask):
        random.random()
        raise RuntimeError("no")

    before = random.getstate()
    with pytest.raises(RuntimeError, match="no"):
        as_transform(fail)(*sample(), generator(0))
    assert random.getstate() == before


def test_a_generator_of_its_own_is_seeded_where_it_can_be():
    class Own:
        def set_random_seed(self, seed):
            self.rng = np.random.default_rng(seed)

        def __call__(self, image, mask):
            return {"image": image + self.rng.integers(0, 9, dtype=np.uint8), "mask": mask}

    results = [as_transform(Own())(*sample(), generator(key))[0] for key in (1, 1, 2, 3, 4)]
    assert torch.equal(results[0], results[1])
    assert len({result.contiguous().numpy().tobytes() for result in results}) > 1


def test_torchvision_changes_both():
    image, mask = sample()
    transform = as_transform(v2.Compose([v2.RandomCrop(12), v2.RandomHorizontalFlip()]))
    assert isinstance(transform, Foreign)
    got, labels = transform(image, mask, generator(0))
    again = transform(image, mask, generator(0))
    assert type(got) is torch.Tensor
    assert got.shape == (3, 12, 12)
    assert torch.equal(got, again[0])
    found = [(y, x) for y in range(9) for x in range(19) for part in (mask[y : y + 12, x : x + 12],)
             if torch.equal(part, labels) or torch.equal(part.flip(1), labels)]  # fmt: skip
    assert len(found) == 1


def test_what_is_given_is_never_written_to():
    def scribble(image, mask):
        image[:] = 0
        mask[:] = 1
        return {"image": image, "mask": mask}

    image, mask = sample()
    kept = image.clone(), mask.clone()
    as_transform(scribble)(image, mask, generator(0))
    assert torch.equal(image, kept[0])
    assert torch.equal(mask, kept[1])


def test_forms_that_are_told_apart():
    ours = Augment(size=(8, 8))
    assert as_transform(ours) is ours

    def three(image, mask, rng):
        return image, mask

    assert as_transform(three) is three
    assert as_transform("light", size=(4, 5)).size == (4, 5)
    assert isinstance(as_transform(lambda *, image, mask: {}), Foreign)


def test_grey_masks_with_planes_and_tensors():
    image = torch.zeros(1, 6, 7, dtype=torch.uint8)
    planes = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (4, 6, 7), np.uint8))
    got, labels = as_transform(lambda image, mask: {"image": image[:, :, 0], "mask": mask})(image, planes, generator(0))
    assert got.shape == (1, 6, 7)
    assert torch.equal(labels, planes)

    def tensors(image, mask):
        return {"image": torch.from_numpy(image).permute(2, 0, 1), "mask": torch.from_numpy(mask).long()}

    got, labels = as_transform(tensors)(*sample(), generator(0))
    assert labels.dtype == torch.uint8
    assert torch.equal(labels, sample()[1])


@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        (lambda image, mask: (image, mask), InputError, "a dict with 'image' and 'mask'; got tuple"),
        (lambda image, mask: {"image": image}, InputError, r"got \['image'\]"),
        (lambda image, mask: {"image": [1], "mask": mask}, InputError, "the image as an array .* got list"),
        (lambda image, mask: {"image": image[:5], "mask": mask}, ShapeError, r"one height and width; got \(3, 5, 30\)"),
        (lambda image, mask: {"image": image, "mask": mask / 2}, LabelError, "turned the mask's torch.uint8 into"),
        (lambda image, mask: {"image": (image - 100.0) / 50, "mask": mask}, InputError, "leave out its normalisation"),
        (NORMALISED, InputError, "leave out its"),
    ],
)  # fmt: skip
def test_wrong_results_say_so(transform, error, message):
    with pytest.raises(error, match=message):
        as_transform(transform)(*sample(), generator(0))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (7, "a recipe's name or a transform; got int"),
        ("light", "needs `size="),
        (lambda image: image, "image= and mask= by name; function takes image"),
    ],
)
def test_wrong_forms_say_so(transform, message):
    with pytest.raises(InputError, match=message):
        as_transform(transform)


def test_torchvisions_first_transforms_are_refused():
    from torchvision import transforms

    with pytest.raises(InputError, match=r"take torchvision.transforms.v2"):
        as_transform(transforms.RandomCrop(8))


def test_scaled_floats_are_taken():
    got, _ = as_transform(v2.ToDtype(torch.float32, scale=True))(*sample(), generator(0))
    assert got.dtype == torch.float32
    assert got.max() <= 1

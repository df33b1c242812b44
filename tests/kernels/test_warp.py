"""`warp`: against a slow loop, torch's grid sampling, Pillow, and slices where pixels only change places."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from references.warping import slow_warp
from segkit._resample import nearest_index, resize_mask
from segkit.errors import InputError, ShapeError
from segkit.kernels import warp
from segkit.kernels._choice import pop_forced, push_forced
from segkit.kernels.cpu import warp as cpu_form

FORMS = ("reference", "cpu")
IMAGES = (torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32)
H, W = 19, 23


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    push_forced(request.param)
    yield request.param
    pop_forced()


def pair(dtype: torch.dtype = torch.uint8, batch: int = 2, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    most = {torch.uint8: 256, torch.uint16: 65536}.get(dtype)
    shape = (batch, channels, H, W)
    values = (
        torch.randn(shape, generator=generator) if most is None else torch.randint(0, most, shape, generator=generator)
    )
    return values.to(dtype), torch.randint(0, 12, (batch, H, W), generator=generator, dtype=torch.uint8)


def affine(*numbers: float, batch: int = 2) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32).view(1, 2, 3).repeat(batch, 1, 1)


MOVES = {
    "identity": ((1, 0, 0, 0, 1, 0), (H, W), lambda x: x),
    "left to right": ((-1, 0, W, 0, 1, 0), (H, W), lambda x: x.flip(-1)),
    "upside down": ((1, 0, 0, 0, -1, H), (H, W), lambda x: x.flip(-2)),
    "half a turn": ((-1, 0, W, 0, -1, H), (H, W), lambda x: x.flip(-1, -2)),
    "transposed": ((0, 1, 0, 1, 0, 0), (W, H), lambda x: x.transpose(-1, -2)),
    "a quarter turn": ((0, -1, W, 1, 0, 0), (W, H), lambda x: x.rot90(1, (-2, -1))),
    "a crop": ((1, 0, 5, 0, 1, 3), (7, 9), lambda x: x[..., 3:10, 5:14]),
    "a crop, flipped": ((-1, 0, 14, 0, 1, 3), (7, 9), lambda x: x[..., 3:10, 5:14].flip(-1)),
    "doubled by pixels": ((3, 0, -1, 0, 3, -1), (6, 7), lambda x: x[..., 0:18:3, 0:21:3]),
}


@pytest.mark.parametrize("dtype", IMAGES)
@pytest.mark.parametrize("move", list(MOVES))
def test_pixels_that_only_change_places_are_exact(form: str, move: str, dtype: torch.dtype) -> None:
    numbers, size, expected = MOVES[move]
    image, mask = pair(dtype)
    for layout in (torch.contiguous_format, torch.channels_last):
        ours = warp(image.contiguous(memory_format=layout), mask, affine(*numbers), size=size)
        assert ours[0].is_contiguous(memory_format=layout)
        assert torch.equal(ours[0], expected(image))
        assert torch.equal(ours[1], expected(mask))
        whole = warp(image, mask, affine(*numbers).long(), size=size)
        assert torch.equal(whole[0], ours[0])


def test_what_lies_outside_is_filled_and_ignored(form: str) -> None:
    image, mask = pair()
    ours = warp(image, mask, affine(1, 0, -2, 0, 1, -1), size=(H + 3, W + 4), fill=(7, 8, 9), ignore_index=200)
    expected = torch.tensor([7, 8, 9], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, H + 3, W + 4).clone()
    expected[:, :, 1:-2, 2:-2] = image
    assert torch.equal(ours[0], expected)
    assert torch.equal(ours[1], F.pad(mask, (2, 2, 1, 2), value=200))


matrices = st.builds(
    lambda size, turn, stretch, shear, x, y: np.array(
        [
            [size * stretch * np.cos(turn), -size * np.sin(turn) + shear, x],
            [size * np.sin(turn), size * np.cos(turn), y],
        ]
    ),
    st.floats(0.2, 3),
    st.floats(-3.2, 3.2),
    st.floats(0.5, 2),
    st.floats(-0.5, 0.5),
    st.floats(-10, 30),
    st.floats(-10, 30),
)


@settings(max_examples=15)
@given(st.lists(matrices, min_size=2, max_size=2))
def test_any_map_is_what_a_slow_loop_gives(maps: list[np.ndarray]) -> None:
    image, mask = pair(torch.float32, channels=2)
    matrix, size = torch.from_numpy(np.stack(maps)).float(), (8, 11)
    for name in FORMS:
        push_forced(name)
        pictures, labels = warp(image, mask, matrix, size=size, fill=0.5, ignore_index=99)
        pop_forced()
        for index in range(2):
            expected = slow_warp(
                image[index].double().numpy(), mask[index].numpy(), matrix[index].double().numpy(), size, 0.5, 99
            )
            clear = expected[2]
            assert np.array_equal(labels[index].numpy()[clear], expected[1][clear])
            np.testing.assert_allclose(pictures[index].numpy()[:, clear], expected[0][:, clear], atol=2e-4)


TURNED = (0.9, -0.31, 4.2, 0.27, 1.13, -3.3)


@pytest.mark.parametrize(("dtype", "most"), [(torch.uint8, 1), (torch.uint16, 2), (torch.float16, 4e-3)])
def test_other_types_are_the_float_result_rounded(form: str, dtype: torch.dtype, most: float) -> None:
    image, mask = pair(dtype)
    wide, _ = warp(image.float(), mask, affine(*TURNED), size=(30, 40), fill=3)
    ours, _ = warp(image, mask, affine(*TURNED), size=(30, 40), fill=3)
    assert ours.dtype == dtype
    difference = (ours.float() - (wide if dtype.is_floating_point else wide.round())).abs()
    assert difference.max() <= most
    assert (difference > most / 2).float().mean() < 0.01


def test_torchs_grid_sampling_gives_the_same(form: str) -> None:
    image, mask = pair(torch.float32)
    (a, b, c, d, e, f), size = TURNED, (30, 40)
    # Both sides as shares from -1 to 1: x = (X + 1) * W / 2, and u = (U + 1) * w / 2.
    h, w = size
    theta = [
        [a * w / W, b * h / W, (a * w + b * h + 2 * c) / W - 1],
        [d * w / H, e * h / H, (d * w + e * h + 2 * f) / H - 1],
    ]
    grid = F.affine_grid(torch.tensor([theta] * 2, dtype=torch.float64), [2, 3, h, w], align_corners=False)
    theirs = F.grid_sample(image.double(), grid, padding_mode="border", align_corners=False)
    ours, labels = warp(image, mask, affine(*TURNED), size=size, fill=-9)
    inside = ((grid >= -1) & (grid < 1)).all(-1)
    assert torch.equal(labels != 255, inside)
    seen = inside.unsqueeze(1).expand_as(ours)
    torch.testing.assert_close(ours[seen].double(), theirs[seen], atol=1e-4, rtol=0)
    assert (ours[~seen] == -9).all()


def test_pillow_takes_the_same_numbers(form: str) -> None:
    image, mask = pair(torch.float32, batch=1, channels=1)
    picture, size = Image.fromarray(image[0, 0].numpy()), (30, 40)
    theirs = picture.transform((40, 30), Image.Transform.AFFINE, TURNED, Image.Resampling.BILINEAR, fillcolor=-9)
    ours, labels = warp(image, mask, affine(*TURNED, batch=1), size=size, fill=-9)
    np.testing.assert_allclose(ours[0, 0].numpy(), np.asarray(theirs), atol=1e-4)
    nearest = Image.fromarray(mask[0].numpy()).transform((40, 30), Image.Transform.AFFINE, TURNED, fillcolor=255)
    # Pillow's nearest counts in 16 bits of fractions: it may take the neighbour near a border.
    assert (labels[0].numpy() == np.asarray(nearest)).mean() > 0.99


@pytest.mark.parametrize("size", [(38, 46), (7, 9), (57, 5)])
def test_masks_are_resized_as_everywhere_in_the_library(form: str, size: tuple[int, int]) -> None:
    image, mask = pair()
    _, labels = warp(image, mask, affine(W / size[1], 0, 0, 0, H / size[0], 0), size=size)
    expected = resize_mask(mask.numpy(), size)
    rows, columns = (np.arange(n) / n * m + 0.5 * m / n for n, m in zip(size, (H, W), strict=True))
    clear = np.abs(rows - rows.round())[:, None] > 1e-5, np.abs(columns - columns.round()) > 1e-5
    clear = clear[0] & clear[1]
    assert clear.mean() > 0.7
    assert np.array_equal(labels.numpy()[:, clear], expected[:, clear])
    # Halves are exact, also on the border of two pixels: the right and lower one is taken.
    _, labels = warp(image, mask, affine(2, 0, 0, 0, 2, 0), size=(9, 11))
    index = nearest_index(9, 0, 18), nearest_index(11, 0, 22)
    assert np.array_equal(labels.numpy(), mask.numpy()[:, index[0]][:, :, index[1]])


def test_colours_are_mixed_after_filling_and_clamped(form: str) -> None:
    image, mask = pair()
    color = torch.randn((2, 3, 4), generator=torch.Generator().manual_seed(1))
    color[:, :, 3] *= 50
    ours, _ = warp(image, mask, affine(1, 0, -1, 0, 1, 0), size=(H, W + 1), fill=(10, 20, 30), color=color)
    plain = torch.tensor([10.0, 20, 30]).view(1, 3, 1, 1).expand(2, 3, H, W + 1).clone()
    plain[..., 1:] = image
    mixed = torch.einsum("bck,bkhw->bchw", color[:, :, :3].double(), plain.double()) + color[:, :, 3, None, None]
    expected = mixed.round().clamp(0, 255)
    assert (ours == 0).any()
    assert (ours == 255).any()
    assert (ours - expected).abs().max() <= 1
    assert (ours != expected).float().mean() < 1e-3
    wide, _ = warp(image.float(), mask, affine(1, 0, -1, 0, 1, 0), size=(H, W + 1), fill=(10, 20, 30), color=color)
    torch.testing.assert_close(wide.double(), mixed, rtol=1e-5, atol=1e-3)  # floats have no range


def test_the_fill_is_the_mean_colour_unless_given(form: str) -> None:
    image, mask = pair(torch.float32)
    away = affine(1, 0, 1000, 0, 1, 0)
    for fill, expected in (
        (None, image.mean((2, 3))),
        (0.25, torch.full((2, 3), 0.25)),
        ([1, 2, 3], torch.tensor([[1.0, 2, 3]] * 2)),
        (torch.arange(6.0).view(2, 3), torch.arange(6.0).view(2, 3)),
    ):
        ours, labels = warp(image, mask, away, size=(2, 3), fill=fill)
        torch.testing.assert_close(ours, expected[:, :, None, None].expand(2, 3, 2, 3))
        assert (labels == 255).all()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_maps_that_lead_nowhere_show_nothing(form: str, number: float) -> None:
    image, mask = pair()
    for place in range(6):
        numbers = [1.0, 0, 0, 0, 1, 0]
        numbers[place] = number
        ours, labels = warp(image, mask, affine(*numbers), size=(4, 5), fill=3)
        assert (ours == 3).all()
        assert (labels == 255).all()


def test_masks_of_planes_and_of_wide_integers(form: str) -> None:
    image, mask = pair()
    planes = torch.stack([mask == 3, mask == 5, mask < 5], 1).to(torch.int64)
    _, labels = warp(image, planes, affine(*TURNED), size=(9, 8), ignore_index=-1)
    _, whole = warp(image, mask, affine(*TURNED), size=(9, 8))
    assert labels.shape == (2, 3, 9, 8)
    for plane, hit in zip(labels.unbind(1), (whole == 3, whole == 5, whole < 5), strict=True):
        assert torch.equal(plane, torch.where(whole == 255, -1, hit.long()))


@pytest.mark.parametrize("channels", [1, 2, 5, 9])
def test_any_number_of_channels(form: str, channels: int) -> None:
    image, mask = pair(channels=channels)
    color = torch.eye(channels, channels + 1).repeat(2, 1, 1)
    plain, _ = warp(image, mask, affine(*TURNED), size=(9, 8))
    mixed, _ = warp(image, mask, affine(*TURNED), size=(9, 8), color=color)
    assert torch.equal(plain, mixed)
    for channel in range(channels):
        alone, _ = warp(image[:, channel : channel + 1], mask, affine(*TURNED), size=(9, 8))
        assert torch.equal(plain[:, channel : channel + 1], alone)


def test_parts_of_images_in_any_layout(form: str) -> None:
    image, mask = pair()
    plain = warp(image[:, :, 2:, 3:-1].contiguous(), mask[:, 2:, 3:-1].contiguous(), affine(*TURNED), size=(9, 8))
    for strange in (
        image,
        image.contiguous(memory_format=torch.channels_last),
        image.transpose(1, 3).contiguous().transpose(1, 3),
    ):
        turned = mask.transpose(1, 2).contiguous().transpose(1, 2)
        ours = warp(strange[:, :, 2:, 3:-1], turned[:, 2:, 3:-1], affine(*TURNED), size=(9, 8))
        assert torch.equal(ours[0], plain[0])
        assert torch.equal(ours[1], plain[1])


def test_one_pixel_and_none(form: str) -> None:
    image, mask = torch.full((1, 3, 1, 1), 9, dtype=torch.uint8), torch.ones((1, 1, 1), dtype=torch.uint8)
    ours = warp(image, mask, affine(0.25, 0, 0, 0, 0.25, 0, batch=1), size=(4, 4))
    assert (ours[0] == 9).all()
    assert (ours[1] == 1).all()
    image, mask = pair()
    ours = warp(image[:0], mask[:0], affine(*TURNED)[:0], size=(4, 5))
    assert ours[0].shape == (0, 3, 4, 5)
    assert ours[1].shape == (0, 4, 5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_blocks_and_threads_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = pair()
    plain = warp(image, mask, affine(*TURNED), size=(31, 40))
    monkeypatch.setattr(cpu_form, "BLOCK", 160)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    with torch.inference_mode(threads == 3):
        ours = warp(image, mask, affine(*TURNED), size=(31, 40))
    assert torch.equal(ours[0], plain[0])
    assert torch.equal(ours[1], plain[1])


def test_nothing_has_a_gradient(form: str) -> None:
    image, mask = pair(torch.float32)
    ours, _ = warp(image.requires_grad_(), mask, affine(*TURNED).requires_grad_(), size=(4, 4))
    assert not ours.requires_grad


def test_wrong_arguments_are_named() -> None:
    image, mask = pair()
    same = affine(1, 0, 0, 0, 1, 0)
    with pytest.raises(InputError, match=r"`image` must be .*float64"):
        warp(image.double(), mask, same, size=(4, 4))
    with pytest.raises(InputError, match=r"`mask` must be .*bool"):
        warp(image, mask > 3, same, size=(4, 4))
    with pytest.raises(InputError, match="`ignore_index`"):
        warp(image, mask, same, size=(4, 4), ignore_index=-1)
    with pytest.raises(InputError, match="`matrix` must be a tensor of real numbers; got list"):
        warp(image, mask, same.tolist(), size=(4, 4))
    with pytest.raises(InputError, match="complex64"):
        warp(image, mask, same.to(torch.complex64), size=(4, 4))
    with pytest.raises(InputError, match="`size`"):
        warp(image, mask, same, size=(0, 4))
    with pytest.raises(InputError, match="one device"):
        warp(image, mask, same.to("meta"), size=(4, 4))
    with pytest.raises(InputError, match="one device"):
        warp(image, mask.to("meta"), same, size=(4, 4))
    with pytest.raises(ShapeError, match=r"\(2, 3, 19, 23\) and \(2, 18, 23\)"):
        warp(image, mask[:, 1:], same, size=(4, 4))
    with pytest.raises(ShapeError, match=r"`matrix` must be \(2, 2, 3\)"):
        warp(image, mask, same[:1], size=(4, 4))
    with pytest.raises(ShapeError, match=r"`color` must be \(2, 3, 4\)"):
        warp(image, mask, same, size=(4, 4), color=torch.eye(3).repeat(2, 1, 1))
    with pytest.raises(ShapeError, match=r"`fill` must be one number, or one a channel \(3\); got 2"):
        warp(image, mask, same, size=(4, 4), fill=(1, 2))
    with pytest.raises(ShapeError, match="must have pixels"):
        warp(image[:, :, :0], mask[:, :0], same, size=(4, 4))


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [True, False])
def test_torchs_own_checks_of_the_custom_op(mixed: bool) -> None:
    image, mask = pair()
    color = torch.eye(3, 4).repeat(2, 1, 1) if mixed else None
    arguments = (image, mask.unsqueeze(1), affine(*TURNED), torch.zeros(2, 3), color, 4, 5, 255, "cpu")
    torch.library.opcheck(torch.ops.segkit.warp.default, arguments)


@pytest.mark.slow
def test_it_compiles_to_one_graph() -> None:
    image, mask = pair()
    compiled = torch.compile(lambda *x: warp(*x, size=(9, 8)), backend="aot_eager", fullgraph=True)
    ours, expected = compiled(image, mask, affine(*TURNED)), warp(image, mask, affine(*TURNED), size=(9, 8))
    assert torch.equal(ours[0], expected[0])
    assert torch.equal(ours[1], expected[1])
    torch._dynamo.reset()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", FORMS)
def test_images_of_more_than_two_billion_pixels(name: str) -> None:
    side = 46341  # 2^31 + 4633 pixels; pages of zeros that nobody writes share one
    image, mask = (torch.from_numpy(np.zeros((1, 1, side, side), np.uint8)) for _ in range(2))
    image[..., -4:, -5:] = torch.arange(20, dtype=torch.uint8).view(4, 5)
    mask[..., -4:, -5:] = torch.arange(20, 40, dtype=torch.uint8).view(4, 5)
    push_forced(name)
    if name == "reference":  # it makes floats of the whole image: here, of a part that is offset as far
        image, mask = image[..., -100:, :], mask[..., -100:, :]
    ours = warp(image, mask, affine(1, 0, side - 5, 0, 1, image.shape[2] - 4, batch=1), size=(4, 5))
    pop_forced()
    assert torch.equal(ours[0], image[..., -4:, -5:])
    assert torch.equal(ours[1], mask[..., -4:, -5:])

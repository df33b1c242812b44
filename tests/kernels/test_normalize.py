"""`normalize`: the definition and the CPU's form against numpy in float64, torchvision, and each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from segkit.errors import InputError, ShapeError
from segkit.kernels import normalize
from segkit.kernels._choice import pop_forced, push_forced
from segkit.kernels.cpu import normalize as cpu_form
from segkit.models import Normalize

FORMS = ("reference", "cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYOUTS = ("contiguous", "channels_last", "cropped", "cropped channels_last", "transposed")


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    push_forced(request.param)
    yield request.param
    pop_forced()


def picture(dtype: torch.dtype, layout: str = "contiguous", channels: int = 3) -> Tensor:
    """(2, channels, 37, 41): some thousand values, and a rest, of the CPU form's rows."""
    shape = (2, channels, 40, 50)
    values = torch.randint(0, 1 << 16, shape, generator=torch.Generator().manual_seed(0))
    image = (values / 65535 if dtype.is_floating_point else values % 256 if dtype == torch.uint8 else values).to(dtype)
    if "channels_last" in layout:
        image = image.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        image = image.transpose(2, 3).contiguous().transpose(2, 3)
    cropped = image[:, :, 2:39, 3:44]
    return cropped if "cropped" in layout else cropped.clone(memory_format=torch.preserve_format)


def in_float64(image: Tensor, scale: float) -> np.ndarray:
    values = image.to(torch.float64).numpy() / scale
    return (values - np.array(MEAN).reshape(3, 1, 1)) / np.array(STD).reshape(3, 1, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.uint8, 255), (torch.uint16, 65535), (torch.float32, 1), (torch.float64, 1), (torch.bfloat16, 1)],
)
def test_any_image_is_scaled_and_normalised(form: str, dtype: torch.dtype, scale: float, layout: str) -> None:
    image = picture(dtype, layout)
    result = normalize(image, MEAN, STD)
    assert result.dtype == torch.float32
    assert result.shape == image.shape
    np.testing.assert_allclose(result.numpy(), in_float64(image, scale), rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_result_has_the_type_that_is_asked_for(form: str, dtype: torch.dtype) -> None:
    image = picture(torch.uint8, "channels_last")
    result = normalize(image, MEAN, STD, dtype=dtype)
    assert result.dtype == dtype
    if dtype == torch.float64:
        np.testing.assert_allclose(result.numpy(), in_float64(image, 255), rtol=1e-14, atol=1e-14)
    else:  # rounded once
        assert torch.equal(result, normalize(image, MEAN, STD).to(dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wanted", [None, True, False])
def test_the_layout_is_the_images_or_as_wanted(form: str, layout: str, wanted: bool | None) -> None:
    image = picture(torch.uint8, layout)
    result = normalize(image, MEAN, STD, channels_last=wanted)
    last = "channels_last" in layout if wanted is None else wanted
    assert result.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    assert torch.equal(result, normalize(image.contiguous(), MEAN, STD))


@pytest.mark.parametrize("block", [32767, 4000, 1])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_the_cpus_form_is_the_definition_up_to_rounding(
    dtype: torch.dtype, layout: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_form, "BLOCK", block)
    image = picture(dtype, layout)[:, :, :7]
    for result_dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 8e-3)):
        results = []
        for name in FORMS:
            push_forced(name)
            results.append(normalize(image, MEAN, STD, dtype=result_dtype))
            pop_forced()
        torch.testing.assert_close(*results, rtol=tolerance, atol=1e-6)


def test_many_channels(form: str) -> None:
    image = torch.randint(0, 256, (1, 300, 3, 5), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    for dtype in (torch.float32, torch.bfloat16):
        result = normalize(image, [0.5] * 300, [0.25] * 300, dtype=dtype)
        torch.testing.assert_close(result, ((image / 255 - 0.5) / 0.25).to(dtype))


def test_a_large_mean_costs_no_digits(form: str) -> None:
    image = torch.linspace(2999, 3001, 101).view(1, 1, 1, 101)  # heights in metres, say
    result = normalize(image, [3000.0], [0.125])
    torch.testing.assert_close(result.double(), (image.double() - 3000) / 0.125, rtol=1e-6, atol=1e-9)


def test_torchvision_gives_the_same(form: str) -> None:
    image = picture(torch.uint8)
    theirs = torchvision.normalize(torchvision.to_dtype(image, torch.float32, scale=True), list(MEAN), list(STD))
    torch.testing.assert_close(normalize(image, MEAN, STD), theirs, rtol=1e-6, atol=1e-6)


def test_full_scale_is_one_and_scale_is_the_users(form: str) -> None:
    for dtype, full in ((torch.uint8, 255), (torch.uint16, 65535)):
        assert normalize(torch.tensor([[[full]]]).to(dtype), [0.0], [1.0]).item() == pytest.approx(1, rel=1e-7)
    assert normalize(torch.tensor([[[4095]]], dtype=torch.int32), [0.5], [0.25], scale=4095).item() == pytest.approx(2)
    assert normalize(torch.tensor([[[True]]]), [0.0], [1.0], scale=1).item() == 1
    assert normalize(torch.tensor([[[3.0]]]), [0.0], [1.0], scale=255).item() == 3  # floats are taken as they are


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0), (1, 1, 1, 1), (1, 7, 1, 1), (3, 5, 6)])
@pytest.mark.parametrize("last", [True, False])
def test_odd_shapes(form: str, shape: tuple[int, ...], last: bool) -> None:
    image, channels = torch.full(shape, 51, dtype=torch.uint8), shape[-3]
    result = normalize(image, range(channels), [0.5] * channels, channels_last=last)
    expected = (0.2 - torch.arange(channels).view(-1, 1, 1)) / 0.5
    torch.testing.assert_close(result, expected.expand(shape))


def test_mean_and_std_may_be_tensors_of_any_shape(form: str) -> None:
    image = picture(torch.uint8)
    tensors = (torch.tensor(values, requires_grad=True).view(3, 1, 1) for values in (MEAN, STD))
    result = normalize(image, *tensors)
    assert torch.equal(result, normalize(image, MEAN, STD))
    assert not result.requires_grad


def test_gradients_are_exact(form: str) -> None:
    image = torch.rand((2, 3, 4, 5), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: normalize(x, MEAN, STD, dtype=torch.float64), image)
    assert torch.autograd.gradgradcheck(lambda x: normalize(x, MEAN, STD, dtype=torch.float64), image)
    half = picture(torch.float16).requires_grad_()
    normalize(half, MEAN, STD, dtype=torch.bfloat16).sum().backward()
    assert half.grad is not None
    expected = (1 / torch.tensor(STD)).view(3, 1, 1).expand(half.shape).half()
    torch.testing.assert_close(half.grad, expected)


def test_wrong_arguments_are_named() -> None:
    image = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    with pytest.raises(InputError, match="complex64"):
        normalize(image.to(torch.complex64), MEAN, STD)
    with pytest.raises(InputError, match="uint8, uint16 or floating point"):
        normalize(image.to(torch.int32), MEAN, STD)
    with pytest.raises(InputError, match=r"`dtype` must be .*int32"):
        normalize(image, MEAN, STD, dtype=torch.int32)
    with pytest.raises(InputError, match="`scale` must be greater than 0"):
        normalize(image, MEAN, STD, scale=0)
    with pytest.raises(InputError, match="`std` must be greater than 0"):
        normalize(image, MEAN, (1, 0, 1))
    with pytest.raises(InputError, match="one device"):
        normalize(image, torch.zeros(3, device="meta"), STD)
    with pytest.raises(ShapeError, match="`mean` must have one value a channel; got 1"):
        normalize(image, [0.5], STD)
    with pytest.raises(ShapeError, match=r"\(2, 2\)"):
        normalize(image[0, 0], MEAN, STD)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_form, "WORTH_A_THREAD", 1000)
    monkeypatch.setattr(cpu_form, "BLOCK", 500)
    image = picture(torch.uint8, "channels_last")
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(normalize(image, MEAN, STD))
            with torch.inference_mode():
                results.append(normalize(image, MEAN, STD))
            leaf = image.float().requires_grad_()
            normalize(leaf, MEAN, STD).sum().backward()
            results.append(leaf.grad)
    finally:
        torch.set_num_threads(before)
    for alone, shared in zip(results[:3], results[3:], strict=True):
        assert torch.equal(alone, shared)


def test_the_model_part_follows_autocast() -> None:
    part, image = Normalize(MEAN, STD), picture(torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = part(image)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, part(image).bfloat16())


def test_shapes_are_known_without_values() -> None:
    part = Normalize(MEAN, STD).to("meta")
    assert part(torch.zeros((2, 3, 4, 5), dtype=torch.uint8, device="meta")).shape == (2, 3, 4, 5)


def test_an_exported_graph_holds_plain_operations_and_gives_the_same() -> None:
    part, image = Normalize(MEAN, STD).eval(), picture(torch.uint8)
    program = torch.export.export(part, (image,))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert called
    assert all(name.startswith("aten.") for name in called), called
    torch.testing.assert_close(program.module()(image), part(image), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
# torch's own check looks at the gradient of the copies that it makes.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_torchs_own_checks_of_the_custom_op(dtype: torch.dtype) -> None:
    image = picture(dtype)[:, :, :4, :5].clone(memory_format=torch.channels_last)
    image.requires_grad_(dtype.is_floating_point)
    arguments = (image, torch.tensor(MEAN), torch.tensor(STD), 1.0, torch.float32, True, "cpu")
    torch.library.opcheck(torch.ops.segkit.normalize.default, arguments)


@pytest.mark.slow
def test_it_compiles_to_one_graph() -> None:
    compiled = torch.compile(lambda x: normalize(x, MEAN, STD) * 2, backend="aot_eager", fullgraph=True)
    image = picture(torch.float32)
    traced, plain = image.clone().requires_grad_(), image.clone().requires_grad_()
    result = compiled(traced)
    assert torch.equal(result, normalize(image, MEAN, STD) * 2)
    result.sum().backward()
    (normalize(plain, MEAN, STD) * 2).sum().backward()
    torch.testing.assert_close(traced.grad, plain.grad)
    torch._dynamo.reset()

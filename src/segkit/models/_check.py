"""The checks that every model must pass, ours and anyone's."""

from __future__ import annotations

import contextlib
import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from segkit.errors import ShapeError
from segkit.models._models import create_model
from segkit.models.decoders import Decoder
from segkit.models.encoders import Encoder
from segkit.models.segmenter import Segmenter
from segkit.models.weights import load_model

__all__ = ["check_model"]

Build = Callable[..., Segmenter]

_CLASSES = 3
_SIZES = ((1, 1), (1, 37), (33, 47), (64, 96))


def check_model(
    model: str | Segmenter | Build, *, compiled: bool = True, exported: bool = True, **options: Any
) -> None:
    """Check that a model keeps the contract of this package; for the tests of whoever writes one, or a part of one.

    Shapes for odd sizes, images of 1 and 4 channels, uint8 and float alike, a batch and its images alone, training
    with gradients in every weight, a batch of one, frozen stages, save and load to the bit, channels-last, bf16, and
    the same logits compiled and exported.

    Args:
        model: a registered name; a class or function that makes a model from ``num_classes``, ``in_channels`` and
            ``options``; or a model, for which other numbers of channels are left out.
        compiled: also under `torch.compile` (``aot_eager``: traced whole, with no code generated).
        exported: also through `torch.export`, with batch, height and width left open.
        options: for the name or the maker, such as ``encoder="resnet18"``.

    Raises:
        AssertionError: it does not; the message names the check, and what was expected and got.

    Example:
        >>> check_model("fpn", encoder="small", compiled=False, exported=False)
    """
    subject = _Subject(model, options)
    for check in _CHECKS:
        if (compiled or check is not _is_the_same_compiled) and (exported or check is not _is_the_same_exported):
            with _named(f"{subject.name}, {check.__name__.strip('_').replace('_', ' ')}"):
                check(subject)


class _Subject:
    """A model with weights that hide nothing, and how to make another."""

    def __init__(self, model: str | Segmenter | Build, options: dict[str, Any]) -> None:
        self.make: Build | None = None
        if isinstance(model, Segmenter):
            self.name = type(model).__name__
            self.model = copy.deepcopy(model)
        else:
            self.make = _maker(model)
            self.name = model if isinstance(model, str) else getattr(model, "__name__", "the model")
            self.name += f" with {options}" if options else ""
            self.options = options
            with _named(f"{self.name}, is built"), torch.random.fork_rng([]):
                torch.manual_seed(0)
                self.model = self.make(num_classes=_CLASSES, in_channels=3, **options)
        _shake(self.model)
        self.model.eval()

    def fresh(self) -> Segmenter:
        """The same weights, in a model that a check may change."""
        return copy.deepcopy(self.model)


def _maker(model: str | Build) -> Build:
    if not isinstance(model, str):
        return model

    def make(**options: Any) -> Segmenter:
        return create_model(model, **options)

    return make


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        raise AssertionError(f"{what}: {kind}{error}") from error


def _expect(kept: bool, message: str) -> None:
    # Not the statement: these checks are the product, also under `python -O`.
    if not kept:
        raise AssertionError(message)


def _shake(model: nn.Module) -> None:
    """Move every scale, shift and statistic off its start: a block that begins as zero would hide its faults."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        values = parameter.detach()
        if values.ndim <= 1 or bool((values == values.flatten()[0]).all()):
            noise = torch.rand(values.shape, generator=generator).to(values)
            values.copy_(0.75 + 0.5 * noise if float(values.mean()) > 0.5 else 0.2 * (noise - 0.5))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.copy_(0.2 * (torch.rand(module.running_mean.shape, generator=generator) - 0.5))


def _image(batch: int, channels: int, height: int, width: int) -> Tensor:
    """uint8 noise over a slope, the same at every call."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    noise = torch.randint(0, 128, (batch, channels, height, width), generator=generator)
    slope = torch.arange(width) * 127 // max(width - 1, 1)
    return (noise + slope).to(torch.uint8)


@torch.no_grad()
def _run(model: Callable[[Tensor], Any], image: Tensor) -> Tensor:
    out = model(image)
    _expect(isinstance(out, Tensor), f"in evaluation a model gives a tensor; got {type(out).__name__}")
    return cast(Tensor, out)


def _close(got: Tensor, expected: Tensor, what: str, share: float = 1e-3) -> None:
    """Equal up to ``share`` of the largest logit."""
    _expect(got.shape == expected.shape, f"{what}: shape {tuple(got.shape)} instead of {tuple(expected.shape)}")
    difference = float((got.float() - expected.float()).abs().max())
    largest = float(expected.float().abs().max())
    kept = difference <= share * largest + 1e-6
    _expect(kept, f"{what}: logits differ by {difference:.3g}, the largest is {largest:.3g}")


def _overrides_no_method(subject: _Subject) -> None:
    own = {name for kind in type(subject.model).__mro__ for name in vars(kind) if kind not in Segmenter.__mro__}
    methods = sorted(name for name in own - {"__init__"} if callable(getattr(Segmenter, name, None)))
    methods = [name for name in methods if getattr(type(subject.model), name) is not getattr(Segmenter, name)]
    _expect(not methods, f"its class overrides {', '.join(methods)}; a named model only assembles parts in __init__")


def _has_parts_that_keep_their_word(subject: _Subject) -> None:
    model = subject.model
    encoder = cast(Encoder, model.encoder)
    _expect(len(encoder.out_channels) == len(encoder.strides), "`out_channels` and `strides` differ in length")
    rising = sorted(encoder.strides) == list(encoder.strides)
    _expect(rising, f"`strides` must not fall: finest first; got {tuple(encoder.strides)}")
    side = max(4 * model.stride, int(getattr(model.decoder, "min_cells", 2)) * encoder.strides[-1])
    with torch.no_grad():
        features = list(model.encoder(model.normalize(_image(1, model.in_channels, side, 2 * side))))
        _expect(len(features) == len(encoder.strides), f"{len(features)} features for {len(encoder.strides)} strides")
        for feature, channels, stride in zip(features, encoder.out_channels, encoder.strides, strict=True):
            expected = (1, channels, side // stride, 2 * side // stride)
            _expect(tuple(feature.shape) == expected, f"a feature is {tuple(feature.shape)}; declared was {expected}")
        decoder = cast(Decoder, model.decoder)
        expected = (1, decoder.channels, side // decoder.stride, 2 * side // decoder.stride)
        got = tuple(model.decoder(features).shape)
        _expect(got == expected, f"the decoder's map is {got}; declared was {expected}")


def _gives_logits_of_any_size(subject: _Subject) -> None:
    model = subject.model
    for height, width in _SIZES:
        image = _image(2, model.in_channels, height, width)
        before = image.clone()
        logits = _run(model, image)
        expected = (2, model.num_classes, height, width)
        _expect(tuple(logits.shape) == expected, f"logits {tuple(logits.shape)} instead of {expected}")
        _expect(logits.dtype == torch.float32, f"logits are {logits.dtype} instead of float32")
        _expect(bool(logits.isfinite().all()), f"logits of a {height}x{width} image are not finite")
        _expect(torch.equal(image, before), "the image was changed")
    _close(_run(model, image[0]), _run(model, image[:1])[0], "an image without a batch")


def _takes_1_and_4_channels(subject: _Subject) -> None:
    if subject.make is None:
        return
    for channels in (1, 4):
        model = subject.make(num_classes=_CLASSES, in_channels=channels, **subject.options).eval()
        got = tuple(_run(model, _image(1, channels, 33, 47)).shape)
        _expect(got == (1, _CLASSES, 33, 47), f"images of {channels} channels give {got}")


def _treats_the_images_of_a_batch_alone(subject: _Subject) -> None:
    images = _image(2, subject.model.in_channels, 40, 56)
    alone = torch.cat([_run(subject.model, image[None]) for image in images])
    _close(_run(subject.model, images), alone, "a batch of two, and each of them alone")


def _normalizes_by_itself(subject: _Subject) -> None:
    image = _image(1, subject.model.in_channels, 33, 47)
    if subject.model.normalize.scale is None:
        _close(_run(subject.model, image / 255), _run(subject.model, image), "an image as floats and as uint8")


def _learns_in_every_weight(subject: _Subject) -> None:
    model = subject.fresh().train()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        out = model(_image(2, model.in_channels, 80, 112))
    levels = [out] if isinstance(out, Tensor) else list(out)
    expected = (2, model.num_classes, 80, 112)
    _expect(tuple(levels[0].shape) == expected, f"in training, logits {tuple(levels[0].shape)} instead of {expected}")
    torch.autograd.backward([level.square().mean() for level in levels])
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    _expect(bool(learning), "no weight learns")
    without = [name for name, parameter in learning.items() if parameter.grad is None]
    _expect(not without, f"no gradient reaches {_some(without)}; take out what is not used")
    broken = [name for name, item in learning.items() if item.grad is not None and not item.grad.isfinite().all()]
    _expect(not broken, f"the gradient is not finite in {_some(broken)}")
    # A bias before a norm rightly has none.
    flat = [name for name, item in learning.items() if item.ndim > 1 and item.grad is not None and not item.grad.any()]
    _expect(not flat, f"the gradient is 0 in {_some(flat)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _trains_on_one_image_or_says_why_not(subject: _Subject) -> None:
    model = subject.fresh().train()
    try:
        out = model(_image(1, model.in_channels, 1, 1))
    except ShapeError as error:
        kept = "Batch normalisation" in str(error) and "batches of two" in str(error)
        _expect(kept, f"the error does not say what to do about batch normalisation: {error}")
        return
    finite = all(bool(level.isfinite().all()) for level in ([out] if isinstance(out, Tensor) else out))
    _expect(finite, "logits of a batch of one 1x1 image are not finite in training")


def _freezes_stages(subject: _Subject) -> None:
    model = subject.fresh()
    model.freeze(1)
    model.train()
    before = {name: item.clone() for name, item in model.encoder.state_dict().items()}
    frozen = {name for name, item in model.encoder.named_parameters() if not item.requires_grad}
    _expect(bool(frozen), "freeze(1) freezes nothing")
    out = model(_image(2, model.in_channels, 40, 56))
    torch.autograd.backward([level.mean() for level in ([out] if isinstance(out, Tensor) else out)])
    moved = [name for name, item in model.encoder.named_parameters() if name in frozen and item.grad is not None]
    _expect(not moved, f"frozen, and yet a gradient: {_some(moved)}")
    norms = {name.rpartition(".")[0] for name in frozen}
    after = model.encoder.state_dict()
    moved = [
        name for name, item in before.items() if name.rpartition(".")[0] in norms and not torch.equal(item, after[name])
    ]
    _expect(not moved, f"frozen, and yet training moved {_some(moved)}")


def _is_saved_and_loaded_to_the_bit(subject: _Subject) -> None:
    model = subject.model
    _expect(model.config is not None, "it has no `config`, so that it cannot be saved; see `register_model`")
    json.dumps(model.config)
    image = _image(1, model.in_channels, 33, 47)
    with tempfile.TemporaryDirectory() as folder:
        again = load_model(model.save(Path(folder) / "model"))
    _expect(type(again) is type(model), f"what was loaded is a {type(again).__name__}, not a {type(model).__name__}")
    _expect(torch.equal(_run(again, image), _run(model, image)), "the logits of the loaded model differ")


def _is_the_same_channels_last(subject: _Subject) -> None:
    model = subject.fresh().to(memory_format=torch.channels_last)
    image = _image(2, model.in_channels, 33, 47)
    got = _run(model, image.contiguous(memory_format=torch.channels_last))
    _close(got, _run(subject.model, image), "channels-last")


def _is_nearly_the_same_in_bf16(subject: _Subject) -> None:
    image = _image(2, subject.model.in_channels, 64, 96)
    expected = _run(subject.model, image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = _run(subject.model, image).float()
    _expect(bool(got.isfinite().all()), "logits in bf16 are not finite")
    error = float((got - expected).norm() / expected.norm())
    _expect(error < 0.1, f"logits in bf16 are off by {error:.0%} of their norm")


def _is_the_same_compiled(subject: _Subject) -> None:
    torch.compiler.reset()
    try:
        compiled = torch.compile(subject.model, backend="aot_eager", fullgraph=True, dynamic=True)
        for height, width in ((33, 47), (64, 96)):
            image = _image(2, subject.model.in_channels, height, width)
            _close(_run(compiled, image), _run(subject.model, image), f"compiled, {height}x{width}")
    finally:
        torch.compiler.reset()


def _is_the_same_exported(subject: _Subject) -> None:
    model = subject.model
    dynamic = torch.export.Dim.DYNAMIC
    example = _image(2, model.in_channels, 70, 50)
    with torch.no_grad():
        shapes = {"image": {0: dynamic, 2: dynamic, 3: dynamic}}
        module = torch.export.export(model, (example,), dynamic_shapes=shapes).module()
    for batch, height, width in ((1, 1, 1), (3, 33, 47), (1, 101, 99)):
        image = _image(batch, model.in_channels, height, width)
        _close(_run(module, image), _run(model, image), f"exported, {batch} of {height}x{width}")


_CHECKS: tuple[Callable[[_Subject], None], ...] = (
    _overrides_no_method,
    _has_parts_that_keep_their_word,
    _gives_logits_of_any_size,
    _takes_1_and_4_channels,
    _treats_the_images_of_a_batch_alone,
    _normalizes_by_itself,
    _learns_in_every_weight,
    _trains_on_one_image_or_says_why_not,
    _freezes_stages,
    _is_saved_and_loaded_to_the_bit,
    _is_the_same_channels_last,
    _is_nearly_the_same_in_bf16,
    _is_the_same_compiled,
    _is_the_same_exported,
)

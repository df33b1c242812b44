"""Other architectures of segmentation-models-pytorch, under our contract."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from segkit._checks import suggests
from segkit.errors import InputError
from segkit.models._assemble import USUAL_NAMES, Start, prepare
from segkit.models._blocks import Norm
from segkit.models._models import register_model
from segkit.models._pool import GridPool
from segkit.models.segmenter import Segmenter

__all__ = ["PAN", "DeepLabV3", "LibraryDecoder", "Linknet", "MAnet", "PSPNet"]

# Of the decoders; an encoder of ours may be told another in `encoder_options`.
_NORM: Norm = "batch"

Make = Callable[[list[int], Sequence[int]], nn.Module]


class LibraryDecoder(nn.Module):
    """A decoder of segmentation-models-pytorch.

    Args:
        out_channels: of the encoder's features, finest first.
        strides: likewise.
        make: builds the library's decoder from its list of channels, which begins with the image's, has 0 where no
            feature of stride 2 exists, and from the strides of these levels.
        channels: of the result.
        stride: of the result.
        min_cells: what the decoder needs of the coarsest map each way.
    """

    def __init__(
        self,
        out_channels: Sequence[int],
        strides: Sequence[int],
        make: Make,
        *,
        channels: int,
        stride: int,
        min_cells: int = 2,
    ) -> None:
        super().__init__()
        places = [place for place, own in enumerate(strides) if own > 1]
        self.first: int = places[0]
        self.fills: bool = strides[self.first] == 4
        if strides[self.first] not in (2, 4):
            raise InputError(f"this decoder needs features from stride 2 or 4 on; the encoder has {tuple(strides)}")
        counts = [3, *([0] if self.fills else []), *(out_channels[place] for place in places)]
        self.body: nn.Module = make(counts, [1, *([2] if self.fills else []), *(strides[place] for place in places)])
        self.channels: int = channels
        self.stride: int = stride
        self.min_cells: int = min_cells

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features, finest first, to one map ``(B, channels, H / stride, W / stride)``."""
        used = list(features)[self.first :]
        if self.fills:
            finest = used[0]
            used.insert(0, finest.new_zeros((finest.shape[0], 0, 2 * finest.shape[2], 2 * finest.shape[3])))
        # The library's lists begin with the image, which none of its decoders looks at.
        out: Tensor = self.body([used[0], *used])
        return out


@register_model("pspnet")
class PSPNet(Segmenter):
    """Averages over grids of an encoder that ends at stride 8 (Zhao et al. 2017).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise, here with ``depth`` 3 unless it says another.
        frozen_stages: likewise.
        decoder_channels: of the result.
        mean: likewise.
        std: likewise.
        scale: likewise.
    """

    @suggests(**USUAL_NAMES)
    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        frozen_stages: int = 0,
        decoder_channels: int = 512,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        import segmentation_models_pytorch as smp

        encoder_options = {"depth": 3, **(encoder_options or {})}
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, _NORM, mean, std, scale
        )

        def make(counts: list[int], strides: Sequence[int]) -> nn.Module:
            body: nn.Module = smp.decoders.pspnet.decoder.PSPDecoder(counts, out_channels=decoder_channels)
            return body

        decoder = _decoder(start, make, channels=decoder_channels, stride=start.encoder.strides[-1])
        _make_exportable(decoder)
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 3, padding=1),
            start.normalize,
            num_classes=num_classes,
            config=_config(start, "pspnet", decoder_channels=decoder_channels),
        )
        self.freeze(frozen_stages)


@register_model("pan")
class PAN(Segmenter):
    """Pyramid attention (Li et al. 2018).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise, here with ``output_stride`` 16 unless it says another.
        frozen_stages: likewise.
        decoder_channels: of the result.
        mean: likewise.
        std: likewise.
        scale: likewise.
    """

    @suggests(**USUAL_NAMES)
    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        frozen_stages: int = 0,
        decoder_channels: int = 32,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        import segmentation_models_pytorch as smp

        encoder_options = {"output_stride": 16, **(encoder_options or {})}
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, _NORM, mean, std, scale
        )

        def make(counts: list[int], strides: Sequence[int]) -> nn.Module:
            depth = len(counts) - 1
            body: nn.Module = smp.decoders.pan.decoder.PANDecoder(counts, depth, decoder_channels)
            return body

        # The coarsest map is halved three times.
        decoder = _decoder(start, make, channels=decoder_channels, stride=4, min_cells=8)
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 3, padding=1),
            start.normalize,
            num_classes=num_classes,
            config=_config(start, "pan", decoder_channels=decoder_channels),
        )
        self.freeze(frozen_stages)


@register_model("linknet")
class Linknet(Segmenter):
    """Skips that are added (Chaurasia and Culurciello 2017).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise.
        frozen_stages: likewise.
        decoder_channels: of the result.
        mean: likewise.
        std: likewise.
        scale: likewise.
    """

    @suggests(**USUAL_NAMES)
    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        frozen_stages: int = 0,
        decoder_channels: int = 32,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        import segmentation_models_pytorch as smp

        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, _NORM, mean, std, scale
        )

        def make(counts: list[int], strides: Sequence[int]) -> nn.Module:
            _check_halving("linknet", strides)
            blocks = len(counts) - 1
            body: nn.Module = smp.decoders.linknet.decoder.LinknetDecoder(counts, decoder_channels, blocks)
            return body

        decoder = _decoder(start, make, channels=decoder_channels, stride=1)
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 1),
            start.normalize,
            num_classes=num_classes,
            config=_config(start, "linknet", decoder_channels=decoder_channels),
        )
        self.freeze(frozen_stages)


@register_model("manet")
class MAnet(Segmenter):
    """Attention over positions and channels (Fan et al. 2020).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise.
        frozen_stages: likewise.
        decoder_channels: one number a level, coarsest first; None for (256, 128, 64, 32, 16), or its last ones.
        mean: likewise.
        std: likewise.
        scale: likewise.
    """

    @suggests(**USUAL_NAMES)
    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        frozen_stages: int = 0,
        decoder_channels: Sequence[int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        import segmentation_models_pytorch as smp

        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, _NORM, mean, std, scale
        )
        channels = list(decoder_channels or (256, 128, 64, 32, 16))

        def make(counts: list[int], strides: Sequence[int]) -> nn.Module:
            _check_halving("manet", strides)
            blocks = len(counts) - 1
            if decoder_channels is not None and len(channels) != blocks:
                raise InputError(f"`decoder_channels` must have {blocks} values for this encoder; got {len(channels)}")
            body: nn.Module = smp.decoders.manet.decoder.MAnetDecoder(counts, channels[-blocks:], blocks)
            return body

        decoder = _decoder(start, make, channels=channels[-1], stride=1)
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 3, padding=1),
            start.normalize,
            num_classes=num_classes,
            config=_config(start, "manet", decoder_channels=decoder_channels),
        )
        self.freeze(frozen_stages)


@register_model("deeplabv3")
class DeepLabV3(Segmenter):
    """Dilated convolutions side by side on the coarsest map, at stride 8 (Chen et al. 2017).

    Args:
        num_classes: logits a pixel.
        in_channels: see `UNet`, also for the other arguments that are not described here.
        encoder: likewise.
        encoder_weights: likewise.
        encoder_options: likewise, here with ``output_stride`` 8 unless it says another.
        frozen_stages: likewise.
        decoder_channels: of the result.
        rates: the dilations; (12, 24, 36) are for stride 8.
        mean: likewise.
        std: likewise.
        scale: likewise.
    """

    @suggests(**USUAL_NAMES)
    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        frozen_stages: int = 0,
        decoder_channels: int = 256,
        rates: Sequence[int] = (12, 24, 36),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | None = None,
    ) -> None:
        import segmentation_models_pytorch as smp

        encoder_options = {"output_stride": 8, **(encoder_options or {})}
        start = prepare(
            num_classes, in_channels, encoder, encoder_weights, encoder_options, frozen_stages, _NORM, mean, std, scale
        )

        def make(counts: list[int], strides: Sequence[int]) -> nn.Module:
            body: nn.Module = smp.decoders.deeplabv3.decoder.DeepLabV3Decoder(
                counts[-1], decoder_channels, rates, aspp_separable=False, aspp_dropout=0.5
            )
            return body

        decoder = _decoder(start, make, channels=decoder_channels, stride=start.encoder.strides[-1])
        super().__init__(
            start.encoder,
            decoder,
            nn.Conv2d(decoder.channels, num_classes, 1),
            start.normalize,
            num_classes=num_classes,
            config=_config(start, "deeplabv3", decoder_channels=decoder_channels, rates=rates),
        )
        self.freeze(frozen_stages)


def _decoder(start: Start, make: Make, *, channels: int, stride: int, min_cells: int = 2) -> LibraryDecoder:
    parts = start.encoder.out_channels, start.encoder.strides
    return LibraryDecoder(*parts, make, channels=channels, stride=stride, min_cells=min_cells)


def _config(start: Start, model: str, **more: Any) -> dict[str, Any]:
    config = start.config(model, **more)
    del config["options"]["norm"]  # these models take none
    return config


def _check_halving(model: str, strides: Sequence[int]) -> None:
    if any(below != 2 * above for above, below in itertools.pairwise(strides)):
        raise InputError(
            f"{model} doubles the size at every level; the encoder's strides {tuple(strides[1:])} do not halve it at "
            "every level: leave out `output_stride`"
        )


def _make_exportable(decoder: nn.Module) -> None:
    """Let averages over grids be taken in a way that holds for any size in an exported graph."""
    for module in list(decoder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                setattr(module, name, GridPool(int(child.output_size[0])))  # type: ignore[index, arg-type]

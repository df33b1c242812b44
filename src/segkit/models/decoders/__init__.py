"""Decoders: from the features of an encoder to one map."""

from segkit.models.decoders._base import DECODERS, Decoder, create_decoder, list_decoders, register_decoder
from segkit.models.decoders.deeplab import DeepLabDecoder
from segkit.models.decoders.fpn import FPNDecoder
from segkit.models.decoders.segformer import SegFormerDecoder
from segkit.models.decoders.unet import UNetDecoder
from segkit.models.decoders.unetplusplus import UNetPlusPlusDecoder
from segkit.models.decoders.upernet import UPerNetDecoder

__all__ = [
    "DECODERS",
    "Decoder",
    "DeepLabDecoder",
    "FPNDecoder",
    "SegFormerDecoder",
    "UNetDecoder",
    "UNetPlusPlusDecoder",
    "UPerNetDecoder",
    "create_decoder",
    "list_decoders",
    "register_decoder",
]

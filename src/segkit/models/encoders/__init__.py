"""Encoders: from an image to features at growing strides."""

from segkit.models.encoders._base import ENCODERS, Encoder, create_encoder, list_encoders, register_encoder
from segkit.models.encoders.classic import ClassicEncoder
from segkit.models.encoders.plain import PlainEncoder
from segkit.models.encoders.small import SmallEncoder

__all__ = [
    "ENCODERS",
    "ClassicEncoder",
    "Encoder",
    "PlainEncoder",
    "SmallEncoder",
    "create_encoder",
    "list_encoders",
    "register_encoder",
]

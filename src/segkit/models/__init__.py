"""Models: an encoder, a decoder and a head, with the preprocessing inside."""

from segkit.models._models import create_model, list_models
from segkit.models.decoders import UNetDecoder
from segkit.models.encoders import Encoder, PlainEncoder, create_encoder
from segkit.models.normalize import Normalize
from segkit.models.segmenter import Segmenter
from segkit.models.unet import UNet
from segkit.models.weights import load_model, load_weights

__all__ = [
    "Encoder",
    "Normalize",
    "PlainEncoder",
    "Segmenter",
    "UNet",
    "UNetDecoder",
    "create_encoder",
    "create_model",
    "list_models",
    "load_model",
    "load_weights",
]

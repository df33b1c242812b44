"""Models: an encoder, a decoder and a head, with the preprocessing inside."""

from segkit.models._check import check_model
from segkit.models._models import create_model, list_models, register_model
from segkit.models._summary import Summary, summary
from segkit.models.composed import Composed
from segkit.models.decoders import (
    Decoder,
    DeepLabDecoder,
    FPNDecoder,
    SegFormerDecoder,
    UNetDecoder,
    UNetPlusPlusDecoder,
    UPerNetDecoder,
    create_decoder,
    list_decoders,
    register_decoder,
)
from segkit.models.encoders import (
    ClassicEncoder,
    Encoder,
    PlainEncoder,
    SmallEncoder,
    create_encoder,
    list_encoders,
    register_encoder,
)
from segkit.models.finetune import adapt_channels, adapt_model
from segkit.models.heads import DeepHead
from segkit.models.hub import push_folder
from segkit.models.library import PAN, DeepLabV3, Linknet, MAnet, PSPNet
from segkit.models.normalize import Normalize
from segkit.models.pyramids import FPN, DeepLabV3Plus, SegFormer, UPerNet
from segkit.models.segmenter import Segmenter
from segkit.models.unet import UNet, UNetPlusPlus
from segkit.models.weights import load_model, load_weights

__all__ = [
    "FPN",
    "PAN",
    "ClassicEncoder",
    "Composed",
    "Decoder",
    "DeepHead",
    "DeepLabDecoder",
    "DeepLabV3",
    "DeepLabV3Plus",
    "Encoder",
    "FPNDecoder",
    "Linknet",
    "MAnet",
    "Normalize",
    "PSPNet",
    "PlainEncoder",
    "SegFormer",
    "SegFormerDecoder",
    "Segmenter",
    "SmallEncoder",
    "Summary",
    "UNet",
    "UNetDecoder",
    "UNetPlusPlus",
    "UNetPlusPlusDecoder",
    "UPerNet",
    "UPerNetDecoder",
    "adapt_channels",
    "adapt_model",
    "check_model",
    "create_decoder",
    "create_encoder",
    "create_model",
    "list_decoders",
    "list_encoders",
    "list_models",
    "load_model",
    "load_weights",
    "push_folder",
    "register_decoder",
    "register_encoder",
    "register_model",
    "summary",
]

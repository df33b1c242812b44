"""Which encoders of timm are offered, by the family (the file of timm) that they belong to, and why others are not.

Offered is what gives features at strides 2, 4, 8, 16 and 32, or 4 to 32, for images of any multiple of 32.
"""

from __future__ import annotations

import functools

__all__ = ["why_left_out"]

_OFFERED = """
    byobnet convnext cpubone cspnet cspnext densenet dla dpn edgenext efficientnet efficientvit_mit
    fasternet fastvit focalnet ghostnet hardcorenas hgnet hrnet iformer inception_next lcnetv2
    lowformer mambaout metaformer mobilenetv3 mobilenetv5 nextvit nfnet pvt_v2 rdnet regnet
    repghost repvit res2net resnest resnet resnetv2 rexnet selecsls senet sknet starnet swiftformer
    tresnet vgg vovnet
"""

_ONE_STRIDE = "its features have one stride or uneven ones, and decoders climb from stride to stride"
_FIXED = "it takes images of one size only (a fixed grid of positions or windows)"
_WINDOWS = "its windows of attention cannot be exported for images of any size"
_COARSE = "its finest features have stride 8 or 16, too coarse to outline anything"
_UNPADDED = "its convolutions are not padded, so that features do not line up with the image"

_LEFT_OUT = {
    _ONE_STRIDE: """
        beit cait convit convmixer crossvit deepseek_vit deit eva gemma4_vit mlp_mixer naflexvit qwen3_vit sequencer
        tnt vision_transformer vision_transformer_hybrid vision_transformer_relpos vision_transformer_sam vitamin
    """,
    _FIXED: "byoanet coat efficientformer efficientformer_v2 gcvit hiera maxxvit mvitv2 nest",
    _WINDOWS: """
        davit hieradet_sam2 mobilevit swin_transformer swin_transformer_v2 swin_transformer_v2_cr tiny_vit twins
    """,
    _COARSE: "csatv2 efficientvim efficientvit_msra levit pit shvit visformer",
    _UNPADDED: "inception_resnet_v2 inception_v3 inception_v4 nasnet pnasnet xception",
}

# Single models of offered families.
_LEFT_OUT_NAMES = {"bat_resnext26ts": _FIXED, "sedarknet21": "it has no features at stride 32"}


@functools.cache
def _family(name: str) -> str:
    import timm

    return str(timm.models.model_entrypoint(name).__module__).rpartition(".")[2]


def why_left_out(name: str) -> str | None:
    """Why a model of timm is not among the encoders, or None; ``name`` is timm's, without a tag."""
    if name in _LEFT_OUT_NAMES:
        return _LEFT_OUT_NAMES[name]
    family = _family(name)
    if family in _OFFERED.split():
        return None
    reasons = [reason for reason, families in _LEFT_OUT.items() if family in families.split()]
    return reasons[0] if reasons else f"nobody has checked timm's family {family!r} yet"

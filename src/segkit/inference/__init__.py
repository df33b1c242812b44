"""Using a trained model."""

from segkit.inference.exported import ExportedModel
from segkit.inference.exporting import Agreement, Export, export
from segkit.inference.forward import predict_batch
from segkit.inference.images import ImageLike
from segkit.inference.predictor import Predictor, load
from segkit.inference.quantizing import Quantized, quantize
from segkit.inference.tiling import predict_tiled

__all__ = [
    "Agreement",
    "Export",
    "ExportedModel",
    "ImageLike",
    "Predictor",
    "Quantized",
    "export",
    "load",
    "predict_batch",
    "predict_tiled",
    "quantize",
]

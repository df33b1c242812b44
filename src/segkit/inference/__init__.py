"""Using a trained model."""

from segkit.inference.forward import predict_batch
from segkit.inference.predictor import ImageLike, Predictor, load

__all__ = ["ImageLike", "Predictor", "load", "predict_batch"]

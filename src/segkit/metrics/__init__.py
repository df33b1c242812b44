"""Numbers that can be trusted, from one counting pass: numpy alone, never torch.

Names are loaded on first use (PEP 562), so that a score costs no more to import than it needs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.metrics._regions import Regions, regions
    from segkit.metrics._scores import Scores
    from segkit.metrics.boundary import boundary_iou, trimap_iou
    from segkit.metrics.calibration import Calibration, RiskCoverage, brier_score, calibration_error, risk_coverage
    from segkit.metrics.checks import Metric, check_metric
    from segkit.metrics.counting import confusion_matrix
    from segkit.metrics.evaluation import Evaluation
    from segkit.metrics.from_logits import confusion_matrix_from_logits
    from segkit.metrics.functions import (
        dice,
        f_beta,
        iou,
        miou,
        pixel_accuracy,
        precision,
        recall,
        scores,
        specificity,
    )
    from segkit.metrics.intervals import Comparison, Interval, compare
    from segkit.metrics.objects import Objects, ObjectScores, match_objects, object_scores
    from segkit.metrics.protocols import list_protocols
    from segkit.metrics.surface import SurfaceScores, surface_scores

__all__ = [
    "Calibration",
    "Comparison",
    "Evaluation",
    "Interval",
    "Metric",
    "ObjectScores",
    "Objects",
    "Regions",
    "RiskCoverage",
    "Scores",
    "SurfaceScores",
    "boundary_iou",
    "brier_score",
    "calibration_error",
    "check_metric",
    "compare",
    "confusion_matrix",
    "confusion_matrix_from_logits",
    "dice",
    "f_beta",
    "iou",
    "list_protocols",
    "match_objects",
    "miou",
    "object_scores",
    "pixel_accuracy",
    "precision",
    "recall",
    "regions",
    "risk_coverage",
    "scores",
    "specificity",
    "surface_scores",
    "trimap_iou",
]

_HOMES = {
    "Calibration": "calibration",
    "Comparison": "intervals",
    "Evaluation": "evaluation",
    "Interval": "intervals",
    "Metric": "checks",
    "ObjectScores": "objects",
    "Objects": "objects",
    "Regions": "_regions",
    "RiskCoverage": "calibration",
    "Scores": "_scores",
    "SurfaceScores": "surface",
    "boundary_iou": "boundary",
    "brier_score": "calibration",
    "calibration_error": "calibration",
    "check_metric": "checks",
    "compare": "intervals",
    "confusion_matrix": "counting",
    "confusion_matrix_from_logits": "from_logits",
    "dice": "functions",
    "f_beta": "functions",
    "iou": "functions",
    "list_protocols": "protocols",
    "match_objects": "objects",
    "miou": "functions",
    "object_scores": "objects",
    "pixel_accuracy": "functions",
    "precision": "functions",
    "recall": "functions",
    "regions": "_regions",
    "risk_coverage": "calibration",
    "scores": "functions",
    "specificity": "functions",
    "surface_scores": "surface",
    "trimap_iou": "boundary",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    # Each import spelled out, and not import_module, which would take any name.
    match home:
        case "_regions":
            import segkit.metrics._regions
        case "_scores":
            import segkit.metrics._scores
        case "boundary":
            import segkit.metrics.boundary
        case "calibration":
            import segkit.metrics.calibration
        case "checks":
            import segkit.metrics.checks
        case "counting":
            import segkit.metrics.counting
        case "evaluation":
            import segkit.metrics.evaluation
        case "from_logits":
            import segkit.metrics.from_logits
        case "functions":
            import segkit.metrics.functions
        case "intervals":
            import segkit.metrics.intervals
        case "objects":
            import segkit.metrics.objects
        case "protocols":
            import segkit.metrics.protocols
        case "surface":
            import segkit.metrics.surface  # noqa: F401 (for sys.modules)
        case _:
            raise AttributeError(f"module 'segkit.metrics' has no attribute {name!r}")
    value = getattr(sys.modules[f"segkit.metrics.{home}"], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

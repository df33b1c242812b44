"""What training makes small: functions on raw logits, thin modules over them, and sums of them by name.

Every loss keeps one contract, which `check_loss` tests: means are over valid pixels, what stands under ignored pixels
moves neither the loss nor a gradient, and with no valid pixel both are 0.
"""

from segkit.losses._boundary import Boundary, boundary_loss
from segkit.losses._check import check_loss
from segkit.losses._cldice import ClDice, cldice_loss
from segkit.losses._create import create_loss, list_losses, register_loss
from segkit.losses._cross_entropy import CrossEntropy, cross_entropy
from segkit.losses._deep_supervision import DeepSupervision
from segkit.losses._dice import Dice, dice_loss
from segkit.losses._focal import Focal, focal_loss
from segkit.losses._jaccard import Jaccard, jaccard_loss
from segkit.losses._lovasz import Lovasz, lovasz_loss
from segkit.losses._matthews import Matthews, matthews_loss
from segkit.losses._prepare import Loss
from segkit.losses._soft_bce import SoftBCE, soft_bce_loss
from segkit.losses._tversky import FocalTversky, Tversky, focal_tversky_loss, tversky_loss

__all__ = [
    "Boundary",
    "ClDice",
    "CrossEntropy",
    "DeepSupervision",
    "Dice",
    "Focal",
    "FocalTversky",
    "Jaccard",
    "Loss",
    "Lovasz",
    "Matthews",
    "SoftBCE",
    "Tversky",
    "boundary_loss",
    "check_loss",
    "cldice_loss",
    "create_loss",
    "cross_entropy",
    "dice_loss",
    "focal_loss",
    "focal_tversky_loss",
    "jaccard_loss",
    "list_losses",
    "lovasz_loss",
    "matthews_loss",
    "register_loss",
    "soft_bce_loss",
    "tversky_loss",
]

"""The measures of a prediction: one number a view, by torchmetrics wherever it has the measure.

Images are rounded to 8 bits before anything is measured, so that a score is the same whether a prediction
comes from memory or from a PNG. A number that does not exist, such as the depth error where nothing is drawn,
is NaN and left out of means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from facelift.data.reader import Views
from facelift.errors import UserError

try:
    from torchmetrics.functional.classification import binary_jaccard_index
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )
    from torchmetrics.functional.regression import mean_absolute_error
except ImportError:
    raise UserError("Measuring needs torchmetrics: pip install 'facelift[evaluate]'.") from None

MAX_PSNR = 100.0  # dB, of identical images: infinity has no mean
MIN_COVERAGE = 0.5  # alpha from which a pixel counts as the head


@dataclass(frozen=True)
class Prediction:
    """V views as a model or a baseline predicts them.

    Attributes:
        images: (V, 3, S, S) RGB on white in [0, 1].
        alpha: (V, 1, S, S) coverage; None where only images are known.
        depth: (V, S, S) mean z-depth of what is shown, world units, anything where alpha is low; or None.
    """

    images: Tensor
    alpha: Tensor | None = None
    depth: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """The portrait (3, S, S) that is shown, and the V true views that a prediction is compared with."""

    portrait: Tensor
    truth: Views


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        key: its name in JSON.
        label: its name in tables, with the unit.
        higher_is_better: which way is up.
        digits: after the point, in tables.
        of: from a prediction and its target to (V,) numbers, NaN where there is none; None if the
            prediction or the truth lacks what it needs altogether.
        absolute: whether it looks at no true view, so that the truth's own score is worth telling.
        orbit_only: whether it makes sense only for views that are close together.
    """

    key: str
    label: str
    higher_is_better: bool
    digits: int
    of: Callable[[Prediction, Target], Tensor | None]
    absolute: bool = False
    orbit_only: bool = False


def rounded(images: Tensor) -> Tensor:
    """Images as a PNG holds them: clamped to [0, 1] and rounded to 8 bits."""
    return images.clamp(0, 1).mul(255).round().div(255)


def psnr(prediction: Prediction, target: Target) -> Tensor:
    """Peak signal-to-noise ratio over all pixels and channels of each view, dB; 100 if identical."""
    found = peak_signal_noise_ratio(
        prediction.images, target.truth.images, data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    return found.clamp_max(MAX_PSNR)


def masked_psnr(prediction: Prediction, target: Target) -> Tensor:
    """The same over the true silhouette alone."""
    truth = target.truth
    values = []
    for shown, true, mask in zip(
        prediction.images, truth.images, truth.alpha[:, 0] > MIN_COVERAGE, strict=True
    ):
        values.append(peak_signal_noise_ratio(shown[:, mask], true[:, mask], data_range=1.0))
    return torch.stack(values).clamp_max(MAX_PSNR)


def ssim(prediction: Prediction, target: Target) -> Tensor:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 pixels, mean over channels."""
    found = structural_similarity_index_measure(
        prediction.images, target.truth.images, data_range=1.0, reduction="none"
    )
    assert isinstance(found, Tensor)
    return found


def silhouette_iou(prediction: Prediction, target: Target) -> Tensor | None:
    """Intersection over union of the silhouettes, where alpha exceeds one half."""
    if prediction.alpha is None:
        return None
    pairs = zip(prediction.alpha > MIN_COVERAGE, target.truth.alpha > MIN_COVERAGE, strict=True)
    return torch.stack([binary_jaccard_index(shown.int(), true.int()) for shown, true in pairs])


def depth_error(prediction: Prediction, target: Target) -> Tensor | None:
    """Mean absolute error of z-depth where both are the head, in thousandths of a world unit."""
    truth = target.truth
    if prediction.alpha is None or prediction.depth is None or truth.depth is None:
        return None
    both = (prediction.alpha[:, 0] > MIN_COVERAGE) & (truth.alpha[:, 0] > MIN_COVERAGE) & (truth.depth > 0)
    return torch.stack(
        [
            1000 * mean_absolute_error(shown[mask], true[mask]) if mask.any() else torch.tensor(torch.nan)
            for shown, true, mask in zip(prediction.depth, truth.depth, both, strict=True)
        ]
    )


IMAGE_MEASURES = (
    Measure("psnr", "PSNR, dB", True, 2, psnr),
    Measure("masked_psnr", "masked PSNR, dB", True, 2, masked_psnr),
    Measure("ssim", "SSIM", True, 3, ssim),
    Measure("iou", "silhouette IoU", True, 3, silhouette_iou),
    Measure("depth", "depth error, 10⁻³", False, 1, depth_error),
)

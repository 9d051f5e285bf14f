"""What public functions ask of the tensors and numbers that they are given."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

from facelift.errors import UserError

SLACK = 0.1  # beyond [0, 1]: what resizing and bright Gaussians leave


def check_images(
    images: Tensor, name: str, shape: Sequence[int | str], device: torch.device | None = None
) -> None:
    """Images are float tensors of a shape, in [0, 1], on a device.

    Args:
        images: what was given.
        name: of it, for the message.
        shape: sizes; a letter stands for any size, and for the same one wherever it stands.
        device: where it must be; None is anywhere.

    Raises:
        UserError: they are not.
    """
    if not isinstance(images, Tensor):
        raise UserError(f"The {name} must be a torch tensor, not {type(images).__name__}.")
    wanted = f"({', '.join(map(str, shape))})"
    if not _fits(images.shape, shape):
        raise UserError(f"The {name} must be of shape {wanted}, not {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise UserError(f"The {name} must be floats in [0, 1], not {images.dtype}: divide bytes by 255.")
    if device is not None and images.device != device:
        raise UserError(f"The {name} are on {images.device}, and all else on {device}: bring them together.")
    if images.device.type == "meta":
        raise UserError(f"The {name} are on the device meta, which holds no values.")
    if not images.numel():
        raise UserError(f"The {name} are empty: {tuple(images.shape)}.")
    low, high = (float(value) for value in torch.aminmax(images.detach()))
    if not (low >= -SLACK and high <= 1 + SLACK):  # NaN is neither
        raise UserError(f"The {name} must lie in [0, 1], not in [{low:.4g}, {high:.4g}].")


def check_number(value: float | None, name: str, low: float, high: float = math.inf) -> None:
    """A number lies in a range, whose ends belong to it; None stands for the model's own.

    Raises:
        UserError: it does not.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise UserError(f"The {name} must be a number, not {value!r}.")
    if not low <= value <= high:
        bounds = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise UserError(f"The {name} must be {bounds}, not {value}.")


def check_whole(
    value: int | None, name: str, low: int, high: float = math.inf, optional: bool = True
) -> None:
    """As `check_number`, and whole: an int, NumPy's as well; None only where it is `optional`.

    Raises:
        UserError: it is not.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UserError(f"The {name} must be a whole number, not {value!r}.")
    check_number(value, name, low, high)


def _fits(sizes: Sequence[int], shape: Sequence[int | str]) -> bool:
    if len(sizes) != len(shape):
        return False
    letters: dict[str, int] = {}
    return all(
        size == (letters.setdefault(wanted, size) if isinstance(wanted, str) else wanted)
        for size, wanted in zip(sizes, shape, strict=True)
    )

"""Distances by networks that learned what people find alike: LPIPS and DreamSim.

Their packages need torchvision, which this project does without, and their weights are fetched. Where either
is missing, the measure says so and is not measured; nothing else takes its place.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.errors import UserError
from facelift.evaluate.metrics import Measure, Prediction, Target

# torchvision's names for LPIPS's backbones, in torch.hub's cache
BACKBONES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
DREAMSIM_FILES = (
    "dino_vitb16_pretrain.pth",
    "open_clip_vitb16_pretrain.pth.tar",
    "clip_vitb16_pretrain.pth.tar",
)
DREAMSIM_SIDE = 224  # pixels of what it sees


def lpips_measure(fetch: bool, backbone: Literal["alex", "vgg"] = "alex") -> Measure:
    """LPIPS (Zhang et al. 2018), version 0.1, by AlexNet as its authors advise, or by VGG as FaceLift has it.

    Args:
        fetch: whether the backbone's weights may be downloaded; torch.hub's cache is looked at first.
        backbone: which network.

    Raises:
        UserError: a package is missing, or the weights are not here and may not or cannot be fetched.
    """
    package = _import("lpips")
    _weights_or_leave([Path(torch.hub.get_dir(), "checkpoints", BACKBONES[backbone])], fetch)
    network = _quietly(lambda: package.LPIPS(net=backbone, verbose=False))

    def measure(prediction: Prediction, target: Target) -> Tensor:
        pairs = zip(prediction.images, target.truth.images, strict=True)
        with torch.no_grad():
            return torch.stack(
                [network(a[None], b[None], normalize=True).reshape(()) for a, b in pairs]
            ).float()

    if backbone == "vgg":
        return Measure("lpips_vgg", "LPIPS (VGG)", False, 3, measure)
    return Measure("lpips", "LPIPS (AlexNet)", False, 3, measure)


def dreamsim_measure(fetch: bool) -> Measure:
    """DreamSim (Fu et al. 2023), the ensemble.

    Args and raises as `lpips_measure`; its weights lie in `dreamsim/` within torch.hub's cache.
    """
    package = _import("dreamsim")
    folder = Path(torch.hub.get_dir(), "dreamsim")
    _weights_or_leave([folder / name for name in DREAMSIM_FILES], fetch)
    folder.parent.mkdir(parents=True, exist_ok=True)
    network, _ = _quietly(lambda: package.dreamsim(pretrained=True, device="cpu", cache_dir=str(folder)))

    def seen(image: Tensor) -> Tensor:
        side = (DREAMSIM_SIDE, DREAMSIM_SIDE)
        return F.interpolate(image[None], side, mode="bicubic", antialias=True).clamp(0, 1)

    def measure(prediction: Prediction, target: Target) -> Tensor:
        pairs = zip(prediction.images, target.truth.images, strict=True)
        with torch.no_grad():
            return torch.stack([network(seen(a), seen(b)).reshape(()) for a, b in pairs]).float()

    return Measure("dreamsim", "DreamSim", False, 3, measure)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or name
        raise UserError(f"{missing} is not installed: pip install 'facelift[perceptual]'") from None


def _weights_or_leave(files: list[Path], fetch: bool) -> None:
    if not fetch and not all(file.exists() for file in files):
        raise UserError(f"its weights are not in {files[0].parent}; --fetch allows the download")


def _quietly(load: Any) -> Any:
    """Load a network that would print, and turn a failed download into a sentence."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return load()
    except (OSError, RuntimeError) as error:
        raise UserError(f"its weights could not be fetched or read: {error}") from None

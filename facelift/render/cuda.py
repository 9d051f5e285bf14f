"""The CUDA rasteriser: gsplat (Ye et al. 2024), called with this package's conventions."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.errors import UserError
from facelift.gaussians import Gaussians

CAMERAS_AT_ONCE = 16  # bounds the memory that a turntable takes


def rasterize(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Colour on black (N, 3, H, W), alpha and depth (N, 1, H, W), as `facelift.render.Rendering` has them.

    gsplat caps alpha at 0.999 where the original, and the CPU rasteriser, cap it at 0.99.
    """
    _require_gsplat()
    from gsplat import rasterization

    home = gaussians.means.device
    device = home if home.type == "cuda" else torch.device("cuda")
    g, cameras = gaussians.to(device), cameras.to(device)
    fields = (g.means, g.quats, g.scales, g.opacities[:, None], g.colors)
    finite = torch.cat(fields, dim=-1).isfinite().all(-1)
    means, quats, scales, opacities, colors = (field[finite].float() for field in fields)
    n, height, width = len(cameras), cameras.height, cameras.width
    if n == 0 or len(means) == 0:
        nothing = torch.zeros(n, 1, height, width, device=home)
        return nothing.repeat(1, 3, 1, 1), nothing, nothing

    fx, fy, cx, cy = cameras.intrinsics.unbind(-1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    matrices = torch.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], dim=-1).view(n, 3, 3)
    pixels, alpha = [], []
    with torch.autocast("cuda", enabled=False):
        for w2c, matrix in zip(
            cameras.w2c.split(CAMERAS_AT_ONCE), matrices.split(CAMERAS_AT_ONCE), strict=True
        ):
            rgbd, a, _ = rasterization(
                means,
                quats,
                scales,
                opacities[:, 0],
                colors,
                viewmats=w2c,
                Ks=matrix,
                width=width,
                height=height,
                near_plane=0.01,
                eps2d=0.3,
                packed=False,
                render_mode="RGB+D",
            )
            pixels.append(rgbd.permute(0, 3, 1, 2))
            alpha.append(a.permute(0, 3, 1, 2))
    color, depth = torch.cat(pixels).to(home).split([3, 1], dim=1)
    return color, torch.cat(alpha).to(home), depth


def _require_gsplat() -> None:
    try:
        kernels = importlib.import_module("gsplat.cuda._backend")
    except ImportError as error:
        raise UserError(
            "Rendering on CUDA needs gsplat: pip install 'facelift[cuda]', or render on the CPU."
        ) from error
    if not torch.cuda.is_available():
        raise UserError("Rendering on CUDA needs a GPU that torch can see: render on the CPU instead.")
    if getattr(kernels, "_C", None) is None:
        raise UserError(
            "gsplat has no compiled kernels here, nor a CUDA toolkit to build them: install the wheel "
            "for your torch and CUDA from https://docs.gsplat.studio/whl, or render on the CPU."
        )

"""The CUDA rasteriser: gsplat (Ye et al. 2024), called with this package's conventions."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

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
    cameras = cameras.to(device)
    means, quats, scales, opacities, colors = _finite(gaussians.to(device))
    n, height, width = len(cameras), cameras.height, cameras.width
    if n == 0 or len(means) == 0:
        nothing = torch.zeros(n, 1, height, width, device=home)
        return nothing.repeat(1, 3, 1, 1), nothing, nothing

    matrices = _matrices(cameras)
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


def rasterize_each(
    heads: Sequence[Gaussians], cameras: Sequence[Cameras]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What `rasterize` gives for each of some heads that have as many cameras, in one go."""
    _require_gsplat()
    from gsplat import rasterization

    drawn = [_finite(gaussians) for gaussians in heads]
    most = max(1, *(len(means) for means, *_ in drawn))
    means, quats, scales, opacities, colors = (
        torch.stack([F.pad(x, (0, 0, 0, most - len(x)), value=filler) for x in field])
        for field, filler in zip(zip(*drawn, strict=True), (0.0, 1.0, 1.0, 0.0, 0.0), strict=True)
    )  # what fills up is clear
    with torch.autocast("cuda", enabled=False):
        rgbd, alpha, _ = rasterization(
            means,
            quats,
            scales,
            opacities[..., 0],
            colors,
            viewmats=torch.stack([c.w2c for c in cameras]).to(means),
            Ks=torch.stack([_matrices(c) for c in cameras]).to(means),
            width=cameras[0].width,
            height=cameras[0].height,
            near_plane=0.01,
            eps2d=0.3,
            packed=False,
            render_mode="RGB+D",
        )
    color, depth = rgbd.movedim(-1, 2).split([3, 1], dim=2)
    return [*zip(color, alpha.movedim(-1, 2), depth, strict=True)]


def _finite(gaussians: Gaussians) -> tuple[Tensor, ...]:
    """Means, quaternions, scales, opacities (N, 1) and colours of those that can be drawn."""
    g = gaussians
    fields = (g.means, g.quats, g.scales, g.opacities[:, None], g.colors)
    finite = torch.cat(fields, dim=-1).isfinite().all(-1)
    return tuple(field[finite].float() for field in fields)


def _matrices(cameras: Cameras) -> Tensor:
    """(N, 3, 3) intrinsics."""
    fx, fy, cx, cy = cameras.intrinsics.unbind(-1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    return torch.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], dim=-1).view(-1, 3, 3)


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

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
from facelift.render.project import EPS2D

CAMERAS_AT_ONCE = 16  # bounds the memory that a turntable takes


def rasterize(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Colour on black (N, 3, H, W), alpha and depth (N, 1, H, W), as `facelift.render.Rendering` has them.

    gsplat caps alpha at 0.999 where the original, and the CPU rasteriser, cap it at 0.99.
    """
    _require_gsplat()
    home = gaussians.means.device
    device = home if home.type == "cuda" else torch.device("cuda")
    cameras = cameras.to(device)
    degree = gaussians.degree
    means, quats, scales, opacities, colors = _finite(gaussians.to(device), degree)
    n, height, width = len(cameras), cameras.height, cameras.width
    if n == 0 or len(means) == 0:
        nothing = torch.zeros(n, 1, height, width, device=home)
        return nothing.repeat(1, 3, 1, 1), nothing, nothing

    parts = [
        _drawn(means, quats, scales, opacities, colors, degree, w2c, matrices, width, height)
        for w2c, matrices in zip(
            cameras.w2c.split(CAMERAS_AT_ONCE), _matrices(cameras).split(CAMERAS_AT_ONCE), strict=True
        )
    ]
    color, alpha, depth = (torch.cat(part).to(home) for part in zip(*parts, strict=True))
    return color, alpha, depth


def rasterize_batch(
    heads: Sequence[Gaussians], cameras: Sequence[Cameras]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What `rasterize` gives for each of some heads that have as many cameras, in one go."""
    _require_gsplat()
    degree = max(gaussians.degree for gaussians in heads)
    drawn = [_finite(gaussians, degree) for gaussians in heads]
    most = max(1, *(len(means) for means, *_ in drawn))
    means, quats, scales, opacities, colors = (
        torch.stack([F.pad(x, (0, 0) * (x.dim() - 1) + (0, most - len(x)), value=filler) for x in field])
        for field, filler in zip(zip(*drawn, strict=True), (0.0, 1.0, 1.0, 0.0, 0.0), strict=True)
    )  # what fills up is clear
    w2c = torch.stack([c.w2c for c in cameras]).to(means)
    matrices = torch.stack([_matrices(c) for c in cameras]).to(means)
    size = cameras[0].width, cameras[0].height
    return [*zip(*_drawn(means, quats, scales, opacities, colors, degree, w2c, matrices, *size), strict=True)]


def _drawn(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    degree: int,
    w2c: Tensor,
    matrices: Tensor,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour (..., N, 3, H, W), alpha and depth of fields (..., G, _), from (..., N, _, _) cameras.

    Above degree 0 `colors` are coefficients (..., G, (degree + 1)^2, 3).
    """
    from gsplat import rasterization

    with torch.autocast("cuda", enabled=False):
        rgbd, alpha, _ = rasterization(
            means,
            quats,
            scales,
            opacities[..., 0],
            colors,
            viewmats=w2c,
            Ks=matrices,
            width=width,
            height=height,
            near_plane=0.01,
            eps2d=EPS2D,
            sh_degree=degree or None,
            packed=False,
            render_mode="RGB+D",
        )
    color, depth = rgbd.movedim(-1, -3).split([3, 1], dim=-3)
    return color, alpha.movedim(-1, -3), depth


def _finite(gaussians: Gaussians, degree: int) -> tuple[Tensor, ...]:
    """Means, quaternions, scales, opacities (N, 1) and colours of those that can be drawn."""
    g = gaussians
    fields = (g.means, g.quats, g.scales, g.opacities[:, None], _colors(g, degree))
    finite = torch.cat([field.flatten(1) for field in fields], dim=-1).isfinite().all(-1)
    return tuple(field[finite].float() for field in fields)


def _colors(gaussians: Gaussians, degree: int) -> Tensor:
    """(N, 3), or for a degree above 0 the coefficients (N, (degree + 1)^2, 3); those it lacks are 0."""
    if degree == 0:
        return gaussians.colors
    coefficients = gaussians.sh0[:, None]
    if gaussians.shN is not None:
        coefficients = torch.cat([coefficients, gaussians.shN], dim=1)
    return F.pad(coefficients, (0, 0, 0, (degree + 1) ** 2 - coefficients.shape[1]))


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

"""Gaussians to pixels: one function in front of a CPU rasteriser (numba) and gsplat on CUDA.

Image formation is that of 3D Gaussian Splatting (Kerbl et al. 2023): each Gaussian is projected to the
image by the EWA approximation (Zwicker et al. 2001), widened a little, and the Gaussians are blended
front to back in the order of their centres' depths. Their colours are spherical harmonics of degree 0 to 3 in
the direction from the camera to the centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.errors import UserError
from facelift.gaussians import Gaussians
from facelift.isolation import isolated

Backend = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Rendering:
    """What N cameras see.

    A pixel's weights are w_i = alpha_i * prod_{j < i} (1 - alpha_j), its Gaussians numbered front to back.

    Attributes:
        image: (N, 3, H, W) RGB over the background: sum of w_i * colour_i + (1 - alpha) * background.
        alpha: (N, 1, H, W) opacity in [0, 1]: sum of w_i.
        depth: (N, 1, H, W) sum of w_i * z_i, where z_i is the distance of the i-th Gaussian's centre from
            the camera along its forward axis, in world units. Not divided by alpha: depth / alpha is the mean
            depth of what the pixel shows, and depth is 0 where nothing is.
    """

    image: Tensor
    alpha: Tensor
    depth: Tensor

    @property
    def mean_depth(self) -> Tensor:
        """(N, 1, H, W) mean depth of what each pixel shows, 0 where nothing is."""
        return self.depth / self.alpha.clamp_min(1e-6)


@isolated(gradients=True)
def render(
    gaussians: Gaussians,
    cameras: Cameras,
    background: float | Tensor = 1.0,
    backend: Backend = "auto",
) -> Rendering:
    """Draw the Gaussians from every camera; differentiable in everything but the cameras.

    Args:
        gaussians: any number of them, none included.
        cameras: N cameras, on any device.
        background: a grey level, or a colour (3,), or one colour a camera (N, 3).
        backend: "cpu", "cuda", or "auto": cuda if the Gaussians are there, else cpu.

    Returns:
        N renderings on the Gaussians' device.

    Raises:
        UserError: "cuda" without a GPU or without gsplat; Gaussians, cameras or a background that are not as
            they must be, see `Gaussians.check`.
    """
    gaussians.check()
    cameras.check()
    _check_background(background, len(cameras))
    if backend == "auto":
        backend = "cuda" if gaussians.means.is_cuda else "cpu"
    if backend == "cuda":
        from facelift.render import cuda

        return _over(background, *cuda.rasterize(gaussians, cameras))
    if backend == "cpu":
        from facelift.render import cpu

        return Rendering(*cpu.rasterize(gaussians, cameras, background))
    raise UserError(f"There is no rendering backend {backend!r}: choose auto, cpu or cuda.")


@isolated(gradients=True)
def render_batch(
    heads: Sequence[Gaussians], cameras: Sequence[Cameras], background: float | Tensor = 1.0
) -> list[Rendering]:
    """Draw several heads, each from cameras of its own, as many for each and of one image size.

    On CUDA all at once, which is what small pictures need to keep a GPU busy. For training: nothing is
    checked, and Gaussians with a field that is not finite are not drawn. For the rest see `render`.
    """
    if not heads[0].means.is_cuda:
        from facelift.render.cpu import rasterize

        return [Rendering(*rasterize(*pair, background)) for pair in zip(heads, cameras, strict=True)]
    from facelift.render.cuda import rasterize_batch

    return [_over(background, *drawn) for drawn in rasterize_batch(heads, cameras)]


def _check_background(background: float | Tensor, cameras: int) -> None:
    shape = tuple(background.shape) if isinstance(background, Tensor) else ()
    if shape not in ((), (3,), (cameras, 3)):
        raise UserError(f"A background must be a number, (3,) or ({cameras}, 3) here, not {shape}.")


def _over(background: float | Tensor, color: Tensor, alpha: Tensor, depth: Tensor) -> Rendering:
    behind = torch.as_tensor(background, dtype=color.dtype, device=color.device)
    return Rendering(torch.addcmul(color, 1.0 - alpha, behind[..., None, None]), alpha, depth)

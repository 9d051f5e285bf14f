"""3D Gaussian Splatting by brute force, in plain torch: every Gaussian at every pixel.

Written from the equations, to check the fast rasterisers against, in float64; autograd gives its gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.gaussians import SH_C0

Images = tuple[Tensor, Tensor, Tensor]


@dataclass
class Splats:
    """The Gaussians in one image, front to back."""

    centres: Tensor  # (G, 2) pixels
    inverses: Tensor  # (G, 2, 2) of the covariances
    opacities: Tensor  # (G,)
    colors: Tensor  # (G, 3)
    depths: Tensor  # (G,)


def reference_render(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh0: Tensor,
    cameras: Cameras,
    background: float | Tensor = 1.0,
    shN: Tensor | None = None,  # noqa: N803 - gsplat's name
) -> Images:
    """image (N, 3, H, W), alpha (N, 1, H, W), depth (N, 1, H, W), as `facelift.render.Rendering` has them."""
    pixels = pixel_centres(cameras.width, cameras.height)
    views = [
        blend(project(means, quats, scales, opacities, sh0, cameras[i], shN), pixels)
        for i in range(len(cameras))
    ]
    color, alpha, depth = (torch.stack(parts) for parts in zip(*views, strict=True))
    background = torch.as_tensor(background, dtype=color.dtype)[..., None, None]
    return color + (1 - alpha) * background, alpha, depth


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh0: Tensor,
    camera: Cameras,
    shN: Tensor | None = None,  # noqa: N803 - gsplat's name
) -> Splats:
    """The EWA projection (Zwicker et al. 2001) for one camera, widened by 0.1 pixels squared."""
    w2c, (fx, fy, cx, cy) = camera.w2c[0].to(means.dtype), camera.intrinsics[0].to(means.dtype)
    width, height = camera.width, camera.height
    turn, shift = w2c[:3, :3], w2c[:3, 3]
    in_camera = means @ turn.T + shift
    order = torch.argsort(in_camera[:, 2].detach(), stable=True)
    order = order[in_camera[order, 2] > 0.01]
    x, y, z = in_camera[order].unbind(-1)

    # The projection's Jacobian, with x / z and y / z kept inside the image and 15% of its size around.
    slope_x = (x / z).clamp((-0.15 * width - cx) / fx, (1.15 * width - cx) / fx)
    slope_y = (y / z).clamp((-0.15 * height - cy) / fy, (1.15 * height - cy) / fy)
    zero = torch.zeros_like(z)
    along_x = torch.stack([fx / z, zero, -fx * slope_x / z], -1)
    along_y = torch.stack([zero, fy / z, -fy * slope_y / z], -1)
    to_image = torch.stack([along_x, along_y], 1) @ turn
    covariances = to_image @ _covariances(quats, scales)[order] @ to_image.transpose(1, 2)
    colors = 0.5 + SH_C0 * sh0[order]
    if shN is not None:
        directions = torch.nn.functional.normalize(means[order] + turn.T @ shift, dim=-1)
        colors = colors + (harmonics(directions)[:, : shN.shape[1], None] * shN[order]).sum(1)
    return Splats(
        centres=torch.stack([fx * x / z + cx, fy * y / z + cy], -1),
        inverses=torch.linalg.inv(covariances + 0.1 * torch.eye(2, dtype=means.dtype)),
        opacities=opacities[order],
        colors=colors.clamp_min(0),
        depths=z,
    )


def harmonics(directions: Tensor) -> Tensor:
    """(G, 15) real spherical harmonics of degree 1 to 3, with the signs of Condon and Shortley.

    Written as Legendre polynomials of z times powers of x + iy, the other way round than in the package.
    """
    x, y, z = directions.unbind(-1)
    legendre = {  # of degree l and order m, without sin(polar angle) ** m, which is |x + iy| ** m
        (1, 0): z,
        (1, 1): torch.ones_like(z),
        (2, 0): (3 * z**2 - 1) / 2,
        (2, 1): 3 * z,
        (2, 2): 3 * torch.ones_like(z),
        (3, 0): (5 * z**3 - 3 * z) / 2,
        (3, 1): (15 * z**2 - 3) / 2,
        (3, 2): 15 * z,
        (3, 3): 15 * torch.ones_like(z),
    }
    powers = [(torch.ones_like(x), torch.zeros_like(x))]
    for _ in range(3):
        real, imaginary = powers[-1]
        powers.append((real * x - imaginary * y, real * y + imaginary * x))
    basis = []
    for degree in (1, 2, 3):
        for order in range(-degree, degree + 1):
            m = abs(order)
            norm = (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m)
            scale = (-1) ** m * math.sqrt(norm * (2 if m else 1))
            basis.append(scale * legendre[degree, m] * powers[m][order < 0])
    return torch.stack(basis, -1)


def blend(splats: Splats, pixels: Tensor) -> Images:
    """Colour on black (3, H, W), alpha (1, H, W) and depth (1, H, W) at these pixel centres (H, W, 2)."""
    offsets = pixels - splats.centres[:, None, None]
    power = 0.5 * torch.einsum("ghwi,gij,ghwj->ghw", offsets, splats.inverses, offsets)
    alpha = (splats.opacities[:, None, None] * torch.exp(-power)).clamp_max(0.99)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)
    after = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(pixels[None, ..., 0]), after])[:-1]
    weights = torch.where(after >= 1e-4, alpha * before, 0.0)  # once below 1e-4, always below
    color = torch.einsum("ghw,gc->chw", weights, splats.colors)
    return color, weights.sum(0)[None], torch.einsum("ghw,g->hw", weights, splats.depths)[None]


def pixel_centres(width: int, height: int) -> Tensor:
    """(H, W, 2) x and y, float64."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).double()


def _covariances(quats: Tensor, scales: Tensor) -> Tensor:
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rotations = torch.stack(
        [
            torch.stack([w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            torch.stack([2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)], -1),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z], -1),
        ],
        1,
    )
    return rotations @ torch.diag_embed(scales**2) @ rotations.transpose(1, 2)

"""3D Gaussian Splatting by brute force, in plain float64 torch: every Gaussian at every pixel.

Written from the equations, to check the fast rasterisers against; autograd gives its gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.gaussians import SH_C0


def reference_render(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh0: Tensor,
    cameras: Cameras,
    background: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """image (N, 3, H, W), alpha (N, 1, H, W) and depth (N, 1, H, W), as `facelift.render.Rendering` has them."""
    views = [
        _view(means, quats, scales, opacities, sh0, w2c, intrinsics, cameras.width, cameras.height)
        for w2c, intrinsics in zip(cameras.w2c.double(), cameras.intrinsics.double(), strict=True)
    ]
    color, alpha, depth = (torch.stack(parts) for parts in zip(*views, strict=True))
    background = torch.as_tensor(background, dtype=torch.float64)[..., None, None]
    return color + (1 - alpha) * background, alpha, depth


def _view(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh0: Tensor,
    w2c: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor, Tensor]:
    turn, shift = w2c[:3, :3], w2c[:3, 3]
    in_camera = means @ turn.T + shift
    order = torch.argsort(in_camera[:, 2].detach(), stable=True)
    order = order[in_camera[order, 2] > 0.01]
    x, y, z = in_camera[order].unbind(-1)
    fx, fy, cx, cy = intrinsics

    # The projection's Jacobian, with x / z and y / z kept inside the image and 15% of its size around.
    slope_x = (x / z).clamp((-0.15 * width - cx) / fx, (1.15 * width - cx) / fx)
    slope_y = (y / z).clamp((-0.15 * height - cy) / fy, (1.15 * height - cy) / fy)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([fx / z, zero, -fx * slope_x / z], -1),
            torch.stack([zero, fy / z, -fy * slope_y / z], -1),
        ],
        1,
    )
    to_image = jacobian @ turn
    covariance = to_image @ _covariances(quats, scales)[order] @ to_image.transpose(1, 2) + 0.3 * torch.eye(2)
    inverse = torch.linalg.inv(covariance)

    columns, rows = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).double()  # (H, W, 2)
    centres = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    offsets = pixels[None] - centres[:, None, None]
    power = 0.5 * torch.einsum("ghwi,gij,ghwj->ghw", offsets, inverse, offsets)
    alpha = (opacities[order, None, None] * torch.exp(-power)).clamp_max(0.99)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)

    after = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    weights = torch.where(after >= 1e-4, alpha * before, 0.0)  # `after` only falls: once below, always below
    colors = (0.5 + SH_C0 * sh0[order]).clamp_min(0)
    return (
        torch.einsum("ghw,gc->chw", weights, colors),
        weights.sum(0)[None],
        torch.einsum("ghw,g->hw", weights, z)[None],
    )


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

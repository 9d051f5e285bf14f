"""What the tokens predict becomes Gaussians (GS-LRM section 3.3; FaceLift section 3.3).

A pixel's Gaussian lies on the pixel's ray, at a predicted distance; those of the learned tokens lie anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras
from facelift.gaussians import SH_C0, Gaussians
from facelift.reconstruct.config import GSLRMConfig

RAW_CHANNELS = (3, 3, 3, 4, 1)
"""Of xyz, SH, scale, rotation and opacity, in the order in which a token predicts them."""

DEPTH_RANGE = 1.8  # Gaussians lie within this distance of the ray's point nearest the origin, world units


@dataclass(frozen=True)
class GaussianBatch:
    """What GS-LRM predicts for one head or for several, before activation where noted.

    The first `learned` Gaussians are those of the learned tokens; the others lie on rays. Either come head by
    head.

    Attributes:
        means, log_scales, sh0: (N, 3) each.
        quats: (N, 4) wxyz, not normalised.
        opacity_logits: (N,).
        pixel: (N - learned,) index of each Gaussian's cell in the flattened (head, view, row, column) grid,
            whose last rows are those of the bottom padding, and whose last view is the one from above if
            there are overhead tokens.
        distance: (N - learned,) along its unit ray, world units.
        learned: how many Gaussians belong to no pixel.
        head: (N,) which of the `heads` each belongs to.
    """

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    sh0: Tensor
    pixel: Tensor
    distance: Tensor
    learned: int
    head: Tensor
    heads: int

    def activated(self) -> Gaussians:
        """Gaussians ready to render."""
        return Gaussians(
            means=self.means,
            quats=F.normalize(self.quats, dim=-1),
            scales=self.log_scales.exp(),
            opacities=self.opacity_logits.sigmoid(),
            sh0=self.sh0,
        )

    def unbatch(self) -> list[Gaussians]:
        """The heads one by one, as `activated` has them all."""
        together = self.activated()
        return [together[self.head == i] for i in range(self.heads)]


def decode(
    learned: Tensor,
    raw: Tensor,
    pixel: Tensor,
    head: Tensor,
    images: Tensor,
    cameras: Cameras,
    heads: int,
    config: GSLRMConfig,
) -> GaussianBatch:
    """Gaussians from the raw channels of both kinds of tokens.

    Args:
        learned: (L, 14) of the learned tokens.
        raw: (P, 14) of the pixels' cells.
        pixel: (P,) which cell each is, see `GaussianBatch.pixel`.
        head: (L + P,) which head each belongs to.
        images: (heads * V, 3, H, W) RGB in [0, 1], padding and overhead views included.
        cameras: of these images.
        heads: how many.
        config: of the model.
    """
    cells = cameras.resized(cameras.width // config.cell)
    origins, directions = (rays.flatten(0, 2)[pixel] for rays in cells.rays())
    xyz, sh, scale, rotation, opacity = raw.split(RAW_CHANNELS, -1)
    nearest = -(origins * directions).sum(-1)
    distance = (2 * xyz.mean(-1).sigmoid() - 1) * DEPTH_RANGE + nearest
    means = origins + distance[:, None] * directions
    if config.residual_color:
        colors = F.avg_pool2d(images, config.cell).movedim(1, -1).flatten(0, 2)[pixel]
        sh = sh + (colors - 0.5) / SH_C0
    if config.footprint_scale:
        footprint = distance.clamp_min(0.1) / cells.intrinsics[0, 0]
        log_scales = scale.clamp(-4, 4) + (0.5 * footprint).log()[:, None]
    else:
        log_scales = _log_scales(scale)

    free_xyz, free_sh, free_scale, free_rotation, free_opacity = learned.split(RAW_CHANNELS, -1)
    return GaussianBatch(
        means=torch.cat([free_xyz, means]),
        quats=torch.cat([free_rotation, rotation]),
        log_scales=torch.cat([_log_scales(free_scale), log_scales]),
        opacity_logits=torch.cat([free_opacity, opacity])[:, 0] - 2.0,
        sh0=torch.cat([free_sh, sh]),
        pixel=pixel,
        distance=distance,
        learned=len(learned),
        head=head,
        heads=heads,
    )


def _log_scales(raw: Tensor) -> Tensor:
    return (raw - 2.3).clamp_max(-1.2)

"""What any model must beat, each for a reason.

mean         the mean image of the training heads in each view: what can be predicted without looking
billboard    the portrait as a flat picture that turns to every camera: what the input alone says
mean_head    one solid head, the average of the training heads, in the portrait's mean colour: what can be
             predicted about shape without looking
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras, canonical_rig
from facelift.data.reader import Views
from facelift.evaluate.metrics import MIN_COVERAGE, Prediction
from facelift.gaussians import SH_C0, Gaussians
from facelift.render import render

CELL = 4  # pixels of a 256 px view along one Gaussian of the mean head
WHITE = 0.98  # a pixel with all channels above is background


@dataclass
class MeanImages:
    """The mean of each of V views over heads, gathered one by one."""

    total: Tensor | float = 0.0
    heads: int = 0

    def add(self, views: Views) -> None:
        """Take in the views of one more head."""
        self.total = self.total + views.images
        self.heads += 1

    def prediction(self) -> Prediction:
        """The mean image of each view."""
        assert isinstance(self.total, Tensor)
        return Prediction(self.total / self.heads)


@dataclass
class MeanHead:
    """The surface that half of all heads reach, from the canonical views' depth, gathered one by one.

    Every cell of 4 x 4 pixels (of 256) of each view that at least half of the heads cover becomes one opaque
    Gaussian at the mean of their depths.
    """

    depth: Tensor | float = 0.0
    covered: Tensor | float = 0.0
    heads: int = 0

    def add(self, six: Views) -> None:
        """Take in one more head, its six canonical views with depth."""
        assert six.depth is not None
        side = max(1, CELL * six.cameras.width // 256)
        mask = ((six.alpha[:, 0] > MIN_COVERAGE) & (six.depth > 0)).float()
        share = F.avg_pool2d(mask, side)
        near = F.avg_pool2d(six.depth * mask, side) / share.clamp_min(1e-6)
        full = (share > MIN_COVERAGE).float()
        self.depth = self.depth + near * full
        self.covered = self.covered + full
        self.heads += 1

    def gaussians(self) -> Gaussians:
        """The head in grey."""
        assert isinstance(self.depth, Tensor) and isinstance(self.covered, Tensor)
        cells = canonical_rig(self.depth.shape[-1])
        origins, directions = cells.rays()
        kept = self.covered >= 0.5 * self.heads
        z = (self.depth / self.covered.clamp_min(1))[kept]
        means = origins[kept] + directions[kept] * (z / cells.depth_along_rays()[kept])[:, None]
        count = len(means)
        return Gaussians(
            means=means,
            quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
            scales=(0.5 * z / cells.intrinsics[0, 0])[:, None].repeat(1, 3),
            opacities=torch.full((count,), 0.95),
            sh0=torch.zeros(count, 3),
        )


def colored(gaussians: Gaussians, portrait: Tensor) -> Gaussians:
    """The Gaussians in the mean colour of the portrait (3, S, S) where it is not background."""
    ink = portrait[:, portrait.amin(0) < WHITE]
    color = ink.mean(1) if ink.numel() else torch.full((3,), 0.5)
    sh0 = ((color - 0.5) / SH_C0).expand(len(gaussians), 3)
    return Gaussians(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, sh0)


def rendered(gaussians: Gaussians, cameras: Cameras) -> Prediction:
    """Gaussians as the cameras see them, with depth."""
    drawn = render(gaussians, cameras)
    return Prediction(drawn.image.cpu(), drawn.alpha.cpu(), drawn.mean_depth[:, 0].cpu())


def billboard(portrait: Tensor, alpha: Tensor, cameras: Cameras) -> Prediction:
    """The portrait (3, S, S) and its alpha (1, S, S) on a plane through the origin that faces each camera.

    From the rig's own distance and field of view it is the portrait itself.
    """
    front = canonical_rig(portrait.shape[-1])
    size = cameras.width
    pixel = torch.arange(size) + 0.5
    origin = cameras.w2c[:, :3, 3]  # of the world, as each camera sees it
    fx, fy, cx, cy = cameras.intrinsics.unbind(-1)
    x = (pixel - cx[:, None]) * origin[:, 2:] / fx[:, None] - origin[:, :1]  # (N, S), world units
    y = (pixel - cy[:, None]) * origin[:, 2:] / fy[:, None] - origin[:, 1:2]
    focal, distance = front.intrinsics[0, 0], math.dist((0, 0, 0), front.positions[0].tolist())
    half = front.width / 2
    columns, rows = (focal * edge / distance / half for edge in (x, y))
    places = torch.stack(
        [columns[:, None, :].expand(-1, size, -1), rows[:, :, None].expand(-1, -1, size)], -1
    )
    # What lies beyond the portrait is white and empty.
    layers = torch.cat([1 - portrait, alpha]).expand(len(cameras), -1, -1, -1)
    found = F.grid_sample(layers, places, align_corners=False)
    depth = origin[:, 2].reshape(-1, 1, 1).expand(-1, size, size)
    return Prediction(1 - found[:, :3], found[:, 3:], depth)

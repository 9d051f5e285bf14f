"""Which pixels are the person's: a small network that has seen synthetic people before many backgrounds.

A U-Net (Ronneberger, Fischer, Brox, MICCAI 2015) at half the resolution. Beside the colours it is told where
a person would be around the face that was found, so that it knows whom to keep.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLD = 2  # pixels of a block that become channels
GROUP = 16  # channels that are normalised together


@dataclass(frozen=True)
class SegmenterConfig:
    """Attributes:
    widths: channels at each resolution, the finest first; multiples of GROUP.
    """

    widths: tuple[int, ...] = (32, 64, 96, 128, 96)

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class Segmenter(nn.Module):
    """Colours and prior log odds of a person, (B, 4, H, W), become better log odds, (B, 1, H, W)."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.down_blocks = nn.ModuleList(_block(a, b) for a, b in pairwise([4 * FOLD**2, *widths]))
        self.up_blocks = nn.ModuleList(_block(a + b, a) for a, b in pairwise(widths))
        self.leave = nn.Conv2d(widths[0], FOLD**2, 1)

    def forward(self, layers: Tensor) -> Tensor:
        """H and W are multiples of `cell`."""
        x = F.pixel_unshuffle(layers, FOLD)
        skips: list[Tensor] = []
        for block in self.down_blocks:
            x = block(F.avg_pool2d(x, 2) if skips else x)
            skips.append(x)
        for block, skip in zip(reversed(self.up_blocks), reversed(skips[:-1]), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([skip, x], dim=1))
        return F.pixel_shuffle(self.leave(x), FOLD)

    @property
    def cell(self) -> int:
        """Pixels along one side of the coarsest cell."""
        return FOLD * 2 ** (len(self.config.widths) - 1)

    @torch.no_grad()
    def odds(self, rgb: Tensor, prior: Tensor) -> Tensor:
        """Log odds (H, W) that a pixel is the person's.

        Args:
            rgb: (3, H, W) in [0, 1], of any size; about 256 pixels a portrait is what it was trained at.
            prior: (H, W) log odds, see `facelift.portrait.matte.prior`.
        """
        h, w = prior.shape
        layers = as_input(rgb[None], prior[None, None])
        layers = F.pad(layers, (0, -w % self.cell, 0, -h % self.cell), mode="replicate")
        return self(layers)[0, 0, :h, :w]


def as_input(rgb: Tensor, prior: Tensor) -> Tensor:
    """(B, 3, H, W) colours in [0, 1] and (B, 1, H, W) log odds, as a `Segmenter` takes them."""
    return torch.cat([rgb * 2 - 1, prior / 6], dim=1)


def _block(inputs: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, width):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.GroupNorm(width // GROUP, width),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers)

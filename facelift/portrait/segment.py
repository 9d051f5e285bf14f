"""Which pixels are the person's, and where the face is: a network that has seen many synthetic people.

A U-Net (Ronneberger, Fischer, Brox, MICCAI 2015) at half the resolution. Beside the colours its input has the
prior of where a person is around the face that was found, so that it keeps that person. One of its layers
also gives a heat map for each landmark, whose mean position is the landmark (Sun et al., "Integral Human Pose
Regression", 2018).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelift.portrait.landmarks import POINTS, LandmarkFraming

PIXEL_UNSHUFFLE = 2  # side of the blocks whose pixels become channels
MAP_STRIDE = 2 * PIXEL_UNSHUFFLE  # pixels along a cell of a landmark's map
GROUP_SIZE = 16  # channels that are normalised together


@dataclass(frozen=True)
class SegmenterConfig:
    """The size of a `Segmenter`.

    Attributes:
        widths: channels at each resolution, the finest first; multiples of GROUP_SIZE.
        landmarks: whether it finds these, too.
    """

    widths: tuple[int, ...] = (32, 64, 96, 128, 96)
    landmarks: bool = False

    def to_dict(self) -> dict[str, object]:
        """What its JSON file holds."""
        return asdict(self)


@dataclass(frozen=True)
class SegmenterOutput:
    """What the network sees in B pictures.

    Attributes:
        logits: (B, 1, H, W) log odds that a pixel is the person's.
        maps: (B, 68, H / MAP_STRIDE, W / MAP_STRIDE) logits of where each landmark is; None if it finds none.
    """

    logits: Tensor
    maps: Tensor | None

    @property
    def points(self) -> Tensor:
        """(B, 68, 2) x and y of the landmarks in pixels."""
        assert self.maps is not None
        likely = self.maps.flatten(2).softmax(-1).view_as(self.maps)
        axes = (torch.arange(n, device=likely.device, dtype=likely.dtype) + 0.5 for n in likely.shape[-2:])
        y, x = (axis * MAP_STRIDE for axis in axes)
        return torch.stack([(likely.sum(2) * x).sum(-1), (likely.sum(3) * y).sum(-1)], dim=-1)


@dataclass(frozen=True)
class LandmarkEstimate:
    """The landmarks of one face.

    Attributes:
        points: (68, 2) x and y in pixels.
        entropy: (68,) of the distribution of each place, nats; about 2 where it is visible, else 4 and more.
    """

    points: Tensor
    entropy: Tensor


class Segmenter(nn.Module):
    """Colours and the prior logits of a person, (B, 4, H, W), become a `SegmenterOutput`."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.down_blocks = nn.ModuleList(_block(a, b) for a, b in pairwise([4 * PIXEL_UNSHUFFLE**2, *widths]))
        self.up_blocks = nn.ModuleList(_block(a + b, a) for a, b in pairwise(widths))
        self.leave = nn.Conv2d(widths[0], PIXEL_UNSHUFFLE**2, 1)
        self.map_head = nn.Conv2d(widths[1], POINTS, 1) if config.landmarks else None
        self.framing = LandmarkFraming() if config.landmarks else None

    def forward(self, layers: Tensor) -> SegmenterOutput:
        """H and W are multiples of `cell`."""
        x = F.pixel_unshuffle(layers, PIXEL_UNSHUFFLE)
        skips: list[Tensor] = []
        for block in self.down_blocks:
            x = block(F.avg_pool2d(x, 2) if skips else x)
            skips.append(x)
        maps = None
        for block, skip in zip(reversed(self.up_blocks), reversed(skips[:-1]), strict=True):
            if block is self.up_blocks[0] and self.map_head is not None:
                maps = self.map_head(x)
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([skip, x], dim=1))
        return SegmenterOutput(F.pixel_shuffle(self.leave(x), PIXEL_UNSHUFFLE), maps)

    @property
    def cell(self) -> int:
        """Pixels along one side of the coarsest cell."""
        return PIXEL_UNSHUFFLE * 2 ** (len(self.config.widths) - 1)

    @torch.no_grad()
    def logits(self, rgb: Tensor, prior: Tensor) -> Tensor:
        """Logits (H, W), log odds that a pixel is the person's.

        Args:
            rgb: (3, H, W) in [0, 1], of any size; about 256 pixels a portrait is what it was trained at.
            prior: (H, W) logits, see `facelift.portrait.matte.prior`.
        """
        h, w = prior.shape
        return self._look(rgb, prior).logits[0, 0, :h, :w]

    @torch.no_grad()
    def square(self, rgb: Tensor, prior: Tensor) -> Tensor | None:
        """(3,) centre x and y and side, in pixels, of the square in which a face is framed as a portrait's.

        None if it finds no landmarks. Args: as `logits` takes them.
        """
        if self.framing is None:
            return None
        return self.framing(self._look(rgb, prior).points[0])

    @torch.no_grad()
    def landmarks(self, rgb: Tensor, prior: Tensor) -> LandmarkEstimate | None:
        """The landmarks of a face; None if it finds none. Args: as `logits` takes them."""
        if self.framing is None:
            return None
        output = self._look(rgb, prior)
        assert output.maps is not None
        likely = output.maps[0].flatten(1).log_softmax(-1)
        return LandmarkEstimate(output.points[0], -(likely.exp() * likely).sum(-1))

    def _look(self, rgb: Tensor, prior: Tensor) -> SegmenterOutput:
        h, w = prior.shape
        layers = stack_inputs(rgb[None], prior[None, None])
        return self(F.pad(layers, (0, -w % self.cell, 0, -h % self.cell), mode="replicate"))


def stack_inputs(rgb: Tensor, prior: Tensor) -> Tensor:
    """(B, 3, H, W) colours in [0, 1] and (B, 1, H, W) logits of the prior, as a `Segmenter` takes them."""
    return torch.cat([rgb * 2 - 1, prior / 6], dim=1)


def _block(inputs: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, width):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.GroupNorm(width // GROUP_SIZE, width),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers)

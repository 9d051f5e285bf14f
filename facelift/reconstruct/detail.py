"""A second look at the pixels, cell by cell: what a token says too coarsely is said again more finely.

Ours, not in the paper, whose patches are smaller and tokens wider. A token of `mini` speaks for 64 Gaussians
at once and knows no outline within its patch; this small U-Net (Ronneberger, Fischer, Brox, MICCAI 2015) sees
what all tokens of a view said beside the pixels that they spoke of, and adds to it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Detail(nn.Module):
    """Raw Gaussians of each cell, (V, C, H, W), and its pixels, (V, P, H, W), become what to add to them.

    At first that is nothing: the last layer begins at zero.
    """

    def __init__(self, raw: int, pixels: int, widths: tuple[int, int]) -> None:
        """
        Args:
            raw, pixels: channels of either.
            widths: channels of the features at the resolution of the cells, and at half of it.
        """
        super().__init__()
        fine, coarse = widths
        self.enter = _conv(raw + pixels, fine)
        self.down = nn.ModuleList([_conv(fine, coarse), _conv(coarse, coarse)])
        self.up = nn.ModuleList([_conv(coarse + fine, fine), _conv(fine, fine)])
        self.leave = nn.Conv2d(fine, raw, 1)

    def init_weights(self) -> None:
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, raw: Tensor, pixels: Tensor) -> Tensor:
        x = torch.cat([raw, pixels], dim=1).contiguous(memory_format=torch.channels_last)
        seen = F.silu(self.enter(x))
        x = F.avg_pool2d(seen, 2)
        for conv in self.down:
            x = F.silu(conv(x))
        x = torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), seen], dim=1)
        for conv in self.up:
            x = F.silu(conv(x))
        return self.leave(x)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)

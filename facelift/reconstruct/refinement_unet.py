"""A small U-Net over the pixels that refines the Gaussians which the tokens predict.

Ours, not in the paper, whose patches are smaller and tokens wider. A token of `mini` predicts 64 Gaussians at
once and cannot place an outline within its patch. This network (after Ronneberger, Fischer, Brox, MICCAI
2015) sees what all tokens of a view predicted, beside the pixels themselves, and adds to it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RefinementUNet(nn.Module):
    """Raw Gaussians of each cell, (V, C, H, W), and its pixels, (V, P, H, W), become a residual (V, C, H, W).

    The last layer begins at zero, and so does the residual.

    Args:
        raw: channels C.
        pixels: channels P.
        widths: channels of the features at the resolution of the cells, and at half of it.
    """

    def __init__(self, raw: int, pixels: int, widths: tuple[int, int]) -> None:
        super().__init__()
        fine, coarse = widths
        self.conv_in = _conv(raw + pixels, fine)
        self.down = nn.ModuleList([_conv(fine, coarse), _conv(coarse, coarse)])
        self.up = nn.ModuleList([_conv(coarse + fine, fine), _conv(fine, fine)])
        self.conv_out = nn.Conv2d(fine, raw, 1)

    def init_weights(self) -> None:
        """A residual of zero."""
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, raw: Tensor, pixels: Tensor) -> Tensor:
        """The residual (V, C, H, W)."""
        x = torch.cat([raw, pixels], dim=1).contiguous(memory_format=torch.channels_last)
        skip = F.silu(self.conv_in(x))
        x = F.avg_pool2d(skip, 2)
        for conv in self.down:
            x = F.silu(conv(x))
        x = torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1)
        for conv in self.up:
            x = F.silu(conv(x))
        return self.conv_out(x)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)

"""Where the canonical square lies around a face, from 68 landmarks (iBUG 300-W, Sagonas et al. 2016).

A detector's box changes with a beard, a fringe or a smile. Landmarks are steadier: the square is a linear
function of their shape, fitted to synthetic people, whose pictures are framed exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

POINTS = 68
NOISE = 0.04  # how well points are found, as a share of the face's size: the fit trusts no finer shape

_EYES = [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
_MOUTH = [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]
MIRRORED = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *_EYES, *_MOUTH]
"""Which point of a face each is in its mirror image."""


class LandmarkFraming(nn.Module):
    """Points of a face (..., 68, 2) become its square (..., 3): centre x and y, and side, in their units."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2 * POINTS, 3), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(3), requires_grad=False)

    def forward(self, points: Tensor) -> Tensor:
        """The squares (..., 3) of faces with these points (..., 68, 2)."""
        shape, centre, size = _shape(points)
        x, y, side = (shape @ self.weight + self.bias).unbind(-1)
        offset = torch.stack([x, y], dim=-1) * size[..., None]
        return torch.cat([centre + offset, (side.exp() * size)[..., None]], dim=-1)

    @torch.no_grad()
    def fit(self, points: Tensor, squares: Tensor) -> None:
        """Least squares over N faces, as if each point were seen with NOISE."""
        shape, centre, size = _shape(points.double())
        offset, side = squares.double().split([2, 1], dim=-1)
        wanted = torch.cat([(offset - centre) / size[:, None], (side / size[:, None]).log()], dim=-1)
        mean, level = shape.mean(0), wanted.mean(0)
        gram = (shape - mean).mT @ (shape - mean)
        gram.diagonal().add_(len(shape) * NOISE**2)
        weight = torch.linalg.solve(gram, (shape - mean).mT @ (wanted - level))
        self.weight.copy_(weight)
        self.bias.copy_(level - mean @ weight)


def _shape(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(..., 136) points without place and size, (..., 2) their centre and (...,) their size."""
    centre = points.mean(-2)
    around = points - centre[..., None, :]
    size = around.square().sum(-1).mean(-1).sqrt()
    return (around / size[..., None, None]).flatten(-2), centre, size

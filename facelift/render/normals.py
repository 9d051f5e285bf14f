"""Normals of what Gaussians show.

A fitted Gaussian lies flat on the surface that it shows, so its shortest axis is its normal. Normals of the
blended depth would be the other way: between two Gaussians the depth steps from one centre to the other, and
its slope there says nothing of the surface.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.gaussians import SH_C0, Gaussians
from facelift.isolation import isolated
from facelift.render import Backend, Rendering, render


@isolated(gradients=True)
def render_normals(gaussians: Gaussians, cameras: Cameras, backend: Backend = "auto") -> Rendering:
    """Draw the Gaussians from every camera with normals in place of colours.

    Returns:
        A rendering whose `image` is (N, 3, H, W), the sum of w_i * n_i over what a pixel shows, see
        `facelift.render.Rendering`: n_i is the shortest axis of a Gaussian as a unit vector along the axes of
        the world, of its two directions the one towards the camera. Normalise it to have a normal.

    Raises:
        UserError: as `facelift.render.render`.
    """
    gaussians.check()
    cameras.check()
    axes, drawn = shortest_axes(gaussians), []
    for i, position in enumerate(cameras.positions.to(gaussians.means.device)):
        away = ((gaussians.means - position) * axes).sum(-1, keepdim=True) > 0
        facing = torch.where(away, -axes, axes)
        # Colours are clamped at 0, so that -1 to 1 is drawn as 0 to 1.
        encoded = replace(gaussians, sh0=0.5 / SH_C0 * facing, shN=None)
        drawing = render(encoded, cameras[i], 0.0, backend)
        drawn.append(replace(drawing, image=2.0 * drawing.image - drawing.alpha))
    if not drawn:
        return render(gaussians, cameras, 0.0, backend)
    names = ("image", "alpha", "depth")
    return Rendering(*(torch.cat([getattr(drawing, name) for drawing in drawn]) for name in names))


def shortest_axes(gaussians: Gaussians) -> Tensor:
    """(G, 3) unit vectors along which the Gaussians are thinnest; the other direction is as good."""
    w, x, y, z = torch.nn.functional.normalize(gaussians.quats, dim=-1).unbind(-1)
    columns = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], -1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        dim=1,
    )
    return columns[torch.arange(len(gaussians), device=columns.device), gaussians.scales.argmin(-1)]

"""Median depth: the surface that a pixel shows most of, whatever shines through or floats before it."""

import pytest
import torch

from facelift.cameras import canonical_rig
from facelift.errors import UserError
from facelift.gaussians import Gaussians
from facelift.render import render
from facelift.render.median import median_depth


def walls(*layers):
    """Gaussians as large as the picture, one behind the other: (distance from the front camera, opacity)."""
    distances, opacities = torch.tensor(layers).T
    means = torch.zeros(len(layers), 3)
    means[:, 1] = distances - 2.7
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(len(layers), 1),
        scales=torch.tensor([2.0, 0.01, 2.0]).repeat(len(layers), 1),
        opacities=opacities,
        sh0=torch.zeros(len(layers), 3),
    )


@pytest.mark.parametrize(
    ("layers", "depth"),
    [
        ([(2.0, 0.9), (3.0, 0.9)], 2.0),  # a mean would lie between
        ([(2.0, 0.3), (3.0, 0.9)], 3.0),  # what is faint is not the surface
        ([(2.0, 0.3), (2.2, 0.4), (3.0, 0.9)], 2.2),  # 0.7 * 0.6 is less than one half
        ([(2.0, 0.4)], 0.0),  # most of the pixel is background
    ],
)
def test_the_depth_is_that_at_which_half_of_the_light_is_gone(layers, depth):
    assert median_depth(walls(*layers), canonical_rig(64)[0])[0, 0, 32, 32] == pytest.approx(depth)


def test_it_is_the_renderers_depth_where_one_surface_is_opaque():
    camera = canonical_rig(50)[1:3]  # tiles reach beyond the picture
    wall = walls((2.5, 0.999))
    drawn, depth = render(wall, camera), median_depth(wall, camera)
    assert depth.shape == (2, 1, 50, 50)
    torch.testing.assert_close(depth[drawn.alpha > 0.6], drawn.mean_depth[drawn.alpha > 0.6])
    assert (depth[drawn.alpha < 0.4] == 0).all() and (drawn.alpha < 0.4).any()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UserError, match="hold NaN"):
        median_depth(walls((float("nan"), 0.5)), canonical_rig(16))

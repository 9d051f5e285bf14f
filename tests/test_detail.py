"""What a photo shows is drawn with its own pixels, and all else stays as it is."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from facelift.cameras import canonical_rig, orbit
from facelift.errors import UserError
from facelift.gaussians import Gaussians
from facelift.refine import RefineConfig, add_detail
from facelift.refine.depth import smooth_distance
from facelift.render import render
from facelift.surfels import surfels
from facelift.weights import Settings

VIEW, PHOTO, RADIUS = 96, 192, 0.6  # pixels, and world units: a ball about as large as a head
FRONT = canonical_rig(PHOTO)[[0]]
CONFIG = RefineConfig()


def ball(camera):
    """Points (H, W, 3) of the ball that one camera sees, and their distances (H, W); NaN beside it."""
    origins, directions = (rays[0] for rays in camera.rays())
    along = -(origins * directions).sum(-1)
    gap = RADIUS**2 - (origins + along[..., None] * directions).square().sum(-1)
    distance = along - gap.sqrt()
    return origins + distance[..., None] * directions, distance


def painted(points):
    """(3, H, W) on white: a chessboard of three pixels of the photo a square, as the front camera sees it."""
    pixels = FRONT.project(points)[0][0]
    dark = ((pixels.nan_to_num(0) + 1) / 3).floor().long().sum(-1) % 2
    return torch.where(points[..., 0].isfinite(), 0.3 + 0.4 * dark, 1.0).expand(3, -1, -1)


def grey_ball():
    """Discs that all six views see, grey, too large by a pixel, as a blurred head is."""
    rig, parts = canonical_rig(VIEW), []
    for camera in (rig[[i]] for i in range(6)):
        points, distance = ball(camera)
        seen = points[..., 0].isfinite()
        image = torch.where(seen, 0.5, 1.0).expand(3, -1, -1)
        parts.append(surfels(distance, image, seen[None].float(), camera, sigma=1.0)[0].tensors())
    return Gaussians(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


@pytest.fixture(scope="module")
def coarse():
    return grey_ball()


@pytest.fixture(scope="module")
def photo():
    points, distance = ball(FRONT)
    return painted(points), distance.isfinite()[None].float()


@pytest.fixture(scope="module")
def distance():
    """As a network tells it, with some noise."""
    exact = ball(canonical_rig(VIEW)[[0]])[1]
    return exact + 0.003 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def fine(coarse, photo, distance):
    return add_detail(coarse, *photo, distance, FRONT, CONFIG)


def inside(camera, cosine):
    """(H, W) where the camera sees what faces the front camera by at least that cosine."""
    points, _ = ball(camera)
    to_camera = F.normalize(FRONT.positions[0] - points, dim=-1)
    return ((points / RADIUS * to_camera).sum(-1) > cosine).nan_to_num(False)


def likeness(gaussians, camera):
    """Correlation with the painted ball, and contrast in units of its own, where the photo shows it well."""
    shown = inside(camera, 0.6)
    drawn, truth = render(gaussians, camera).image[0, 0][shown], painted(ball(camera)[0])[0][shown]
    return float(torch.corrcoef(torch.stack([drawn, truth]))[0, 1]), float(drawn.std() / truth.std())


def test_the_front_has_the_pixels_of_the_photo(coarse, fine):
    assert abs(likeness(coarse, FRONT)[0]) < 0.1, "or this test would say nothing"
    correlation, contrast = likeness(fine, FRONT)
    assert correlation > 0.9 and 0.85 < contrast < 1.1


@pytest.mark.parametrize("azimuth", [-30.0, 30.0])
def test_from_aside_it_is_as_sharp_and_in_its_place(fine, azimuth):
    """Drawn larger, for squares of three pixels are hardly more than two wide from there."""
    camera = orbit([azimuth], [0.0], 2 * PHOTO)
    correlation, contrast = likeness(fine, camera)
    assert correlation > 0.4, "squares that lay one beside their place would have less than 0"
    assert 0.85 < contrast < 1.1
    assert render(fine, camera).alpha[0, 0][inside(camera, 0.6)].min() > 0.95, "nothing shines through"


def test_what_the_photo_does_not_show_stays_to_the_bit(coarse, fine):
    """The half behind, but for the outline, which is fitted."""
    hidden = (coarse.means[:, 1] > 0.1) & (coarse.means[:, [0, 2]].norm(dim=-1) < 0.4)
    assert hidden.sum() > 500
    rows = {tuple(row) for row in torch.cat([fine.means, fine.sh0, fine.scales], dim=-1).tolist()}
    kept = torch.cat([coarse.means, coarse.sh0, coarse.scales], dim=-1)[hidden]
    assert all(tuple(row) in rows for row in kept.tolist())
    middle, (before, after) = slice(36, 60), (render(x, canonical_rig(VIEW)[3]).image for x in (coarse, fine))
    assert torch.equal(before[..., middle, middle], after[..., middle, middle])


def test_outlines_are_those_of_the_matte(coarse, photo, fine):
    before, after = (float((render(head, FRONT).alpha - photo[1]).abs().sum()) for head in (coarse, fine))
    assert after < 0.5 * before


def test_few_gaussians_where_the_photo_is_plain(coarse, photo, distance, fine):
    plain = torch.where(photo[1] > 0, 0.5, 1.0).expand(3, -1, -1)
    fewer = add_detail(coarse, plain, photo[1], distance, FRONT, CONFIG)
    assert len(fewer) < 0.75 * len(fine)
    assert (render(fewer, FRONT).image[0] - 0.5)[:, inside(FRONT, 0.6)].abs().max() < 0.03


def test_it_can_be_left_out(coarse, photo, distance):
    for config in (replace(CONFIG, detail=False), replace(CONFIG, steps=0)):
        same = add_detail(coarse, *photo, distance, FRONT, config)
        assert all(
            torch.equal(a, b) for a, b in zip(*(g.tensors().values() for g in (same, coarse)), strict=True)
        )


def test_nothing_known_of_depth_changes_no_place(coarse, photo):
    unknown = torch.full((VIEW, VIEW), torch.nan)
    fitted = add_detail(coarse, *photo, unknown, FRONT, CONFIG)
    assert len(fitted) == len(coarse), "there are no discs without a surface"


def test_colors_that_hang_on_the_direction_stay(coarse, photo, distance):
    shiny = replace(coarse, shN=torch.full((len(coarse), 3, 3), 0.1))
    drawn = add_detail(shiny, *photo, distance, FRONT, replace(CONFIG, detail_steps=1))
    assert drawn.degree == 1 and (drawn.shN[-1] == 0.1).all() and (drawn.shN[0] == 0).all()


def test_a_portrait_of_another_size_is_refused(coarse, photo, distance):
    with pytest.raises(UserError, match="portrait must be of shape"):
        add_detail(coarse, *photo, distance, canonical_rig(VIEW)[[0]], CONFIG)


def test_distances_lose_their_noise_and_keep_their_edges():
    """A slanted plane before a wall."""
    row = torch.arange(64.0)
    truth = torch.where(row < 30, 2.0 + 0.004 * row, 3.0).expand(64, 64)
    noise = 0.01 * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    smooth = smooth_distance(truth + noise, torch.ones(1, 64, 64), 64)
    beside = (row - 30).abs() > 4
    assert (smooth - truth)[4:-4, beside].abs().mean() < 0.003, "0.008 before"
    assert (smooth[:, 25] - truth[:, 25]).abs().max() < 0.02, "the wall does not pull the plane back"
    partly = smooth_distance(truth, (row < 20).float().expand(1, 64, 64), 128)
    assert partly.shape == (128, 128) and partly[:, 110:].isnan().all(), (
        "nothing is known far from the person"
    )
    torch.testing.assert_close(
        partly[20:-20, 4:40],
        torch.lerp(truth[:1, :1], truth[:1, 29:30], ((torch.arange(4, 40) + 0.5) / 2 - 0.5) / 29).expand(
            88, -1
        ),
        atol=1e-3,
        rtol=0,
    )


def test_a_scale_below_one_is_refused():
    with pytest.raises(ValueError, match="portrait_scale"):
        Settings(portrait_scale=0)

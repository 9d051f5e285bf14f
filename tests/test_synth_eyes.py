"""Lids, lashes and brows of people of recipe 2."""

import numpy as np
import pytest

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.complexion import brow_shade, pores
from facelift.synth.eyelids import LID, POCKET, fit_lids
from facelift.synth.paint import SKIN_SIZE


@pytest.fixture(scope="module")
def makehuman(makehuman_data):
    return Assets.open(makehuman_data)


@pytest.mark.parametrize("shift", [(0, 0, 0.06), (0, 0.05, 0), (0.03, 0, -0.05)])
def test_eyes_stay_behind_their_lids(makehuman, shift):
    body = makehuman.base.vertices.copy()
    ball, lashes = (makehuman.base.members(f"helper-l-{name}") for name in ("eye", "eyelashes-1"))
    body[ball] += np.float32(shift)
    moved = body.copy()
    fit_lids(moved, makehuman)
    still = ~(moved != body).any(axis=1)
    assert still[ball].all() and still[makehuman.base.vertices[:, 1] < 6.9].all()
    middle = body[ball].mean(axis=0)
    radius = np.ptp(body[ball, 0]) / 2

    def distance(points, center):
        return np.linalg.norm(points - center, axis=1) / radius

    skin = makehuman.base.members("body")
    before, after = distance(makehuman.base.vertices[skin], middle - shift), distance(moved[skin], middle)
    pocket = regions.inside(makehuman.base.vertices[skin]) & (before < 1.2)
    assert pocket.sum() > 100 and after[pocket].max() < POCKET + 1e-3
    front = (makehuman.base.vertices[skin, 2] > middle[2] - shift[2] + 0.02) & (before > 1.3) & (before < 1.5)
    assert front.sum() > 50 and (after[front] > LID - 1e-3).mean() > 0.95, "all but folds"
    if shift[2] > 0:  # the ball pushes the lids, and they take the lashes along
        assert (moved[lashes, 2] - body[lashes, 2]).max() > 0.005


def test_nothing_moves_where_lids_fit(makehuman):
    body = 1.02 * makehuman.base.vertices
    lids = body.copy()
    fit_lids(lids, makehuman)
    assert np.abs(lids - body).max() < 0.02, "the pockets alone, by less than their skin is thick"


def test_skin_is_shaded_between_the_hairs_of_the_brows(makehuman):
    (brows, *_) = makehuman.names("eyebrows/*/*.mhclo")
    shade = brow_shade(makehuman, SKIN_SIZE, brows)
    places = regions.texel_positions(makehuman, SKIN_SIZE)[shade > 0.3]
    assert len(places) > 100 and shade.max() <= 1
    assert (np.abs(places[:, 1] - 7.5) < 0.3).all() and 0.4 < (places[:, 0] > 0).mean() < 0.6
    assert shade[regions.on_texels(makehuman, SKIN_SIZE, regions.cheeks) > 0.3].max() == 0


def test_pores_leave_the_tone_of_the_skin():
    grain = pores(np.random.default_rng(0), (200, 200))
    assert abs(grain.mean()) < 0.01 and 0.015 < grain.std() < 0.06

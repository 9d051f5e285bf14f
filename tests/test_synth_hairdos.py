"""Long hair: where it ends, what it lies on, what it covers and leaves bare."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.cameras import canonical_rig
from facelift.data.parts import part_id
from facelift.synth import hair_textures, hairdos, hanging, long_hair, meshes, recipes
from facelift.synth.build import build_scene, shape
from facelift.synth.groom import to_base
from facelift.synth.hairdos import Hairdo
from facelift.synth.pack import open_assets
from facelift.synth.person import Person
from facelift.synth.priors import HAIRDO_SHARES, HAIRDOS
from facelift.synth.sampling import sample_person
from facelift.synth.surface import Surface

LONG = Hairdo("long", 5.2, 0.2, 0.1, 0.1, 0.12, 0.0, 0.0, "none", 7.5, 1.0, 0.4, 0.0, 1.0, 0.0)
CURLY = replace(LONG, ends=6.0, volume=0.5, wave=1.0, curl=1.0, layers=0.6)


@pytest.fixture(scope="module")
def makehuman(makehuman_data):
    return open_assets(makehuman_data)


@pytest.fixture(scope="module")
def person(makehuman):
    woman = sample_person(1006, makehuman)
    return replace(woman, hair=None, hat=None, beard=None, glasses=None, turn=(0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def body(makehuman, person):
    return shape(person, makehuman)


@pytest.fixture(scope="module")
def surface(makehuman, person, body):
    corners = meshes.proxy_template(makehuman, person.clothes).corners
    return Surface(body, makehuman.proxy(person.clothes).fit(body), corners, makehuman)


@pytest.fixture(scope="module")
def on_base(makehuman, body, surface):
    """Vertices of a hairdo, as on the base mesh."""

    def grow(do):
        from_base = to_base(body, makehuman)
        vertices = long_hair.grow(body, surface, makehuman, do, 3)[0].vertices
        return (vertices - from_base[3]) @ np.linalg.inv(from_base[:3])

    return grow


@pytest.mark.parametrize("do", [LONG, CURLY, replace(LONG, ears=0.0, before=2.0, sweep=0.8)])
def test_hair_lies_outside_of_head_shoulders_and_clothes(makehuman, body, surface, do):
    (grown,) = long_hair.grow(body, surface, makehuman, do, 3)
    assert np.isfinite(grown.vertices).all() and len(grown.faces) > 5000
    apart, _ = surface.distance(grown.vertices.reshape(-1, hanging.POINTS, 2, 3)[:, 3:].reshape(-1, 3))
    assert (apart > -0.05).mean() > 0.98


def test_hair_ends_where_it_is_cut(on_base):
    for ends in (5.4, 6.5):
        lowest = on_base(replace(LONG, ends=ends, layers=0.0))[:, 1].min()
        assert ends - 0.3 < lowest < ends + 0.1


def test_only_a_fringe_hangs_before_the_forehead_and_it_ends_above_the_eyes(on_base):
    def before_face(do):
        x, y, z = on_base(do).T
        return y[(np.abs(x) < 0.35) & (z > 1.0) & (y < 7.8)]

    assert len(before_face(LONG)) == 0
    fringe = before_face(replace(LONG, fringe="straight", brow=7.5))
    assert len(fringe) > 100 and 7.35 < fringe.min() < 7.6


def test_ears_are_covered_or_bare(on_base):
    def beside_ears(do):
        x, y, z = on_base(do).T
        return ((np.abs(x) > 0.8) & (y > 7.0) & (y < 7.4) & (z > 0.05) & (z < 0.5)).sum()

    bare = beside_ears(replace(LONG, ears=0.0, before=2.0, sweep=0.8))
    assert beside_ears(LONG) > 5 * max(bare, 10)


def test_hair_falls_before_or_behind_the_shoulders(on_base):
    def on_the_chest(do):
        _, y, z = on_base(do).T
        return ((y < 5.8) & (z > 0.5)).sum()

    assert on_the_chest(replace(LONG, before=2.0)) * 20 < on_the_chest(replace(LONG, before=0.2))


GATHERED = replace(LONG, gather="tail", knot=30.0, size=0.25, ends=5.4)


@pytest.mark.parametrize("gather", ["tail", "half", "bun", "puff", "braid"])
@pytest.mark.parametrize("pair", [False, True])
def test_gathered_hair_lies_close_and_its_knots_are_behind(makehuman, body, surface, gather, pair):
    do = replace(GATHERED, gather=gather, pair=pair)
    lying, *knots = long_hair.grow(body, surface, makehuman, do, 3)
    assert len(knots) == 1 + pair
    if gather != "half":
        apart, _ = surface.distance(lying.vertices)
        assert apart.max() < 0.35 and (apart > -0.05).mean() > 0.95
    back = body[makehuman.base.members("body"), 2].min()
    middle = body[5320]  # of the brow
    for knot in knots:
        assert np.isfinite(knot.vertices).all() and len(knot.faces) > 500
        assert knot.vertices[:, 2].max() < middle[2] - 0.8 and knot.vertices[:, 2].min() > back - 2
    if pair:
        assert knots[0].vertices[:, 0].mean() < -0.3 < 0.3 < knots[1].vertices[:, 0].mean()


def test_a_high_knot_is_higher(makehuman, body, surface):
    low, high = (
        long_hair.grow(body, surface, makehuman, replace(GATHERED, gather="bun", knot=knot), 3)[1]
        for knot in (-20.0, 60.0)
    )
    assert high.vertices[:, 1].mean() > low.vertices[:, 1].mean() + 0.8


def test_locs_are_separate_closed_tubes(makehuman, body, surface):
    (locs,) = long_hair.grow(body, surface, makehuman, replace(LONG, locs=True), 3)
    rings = locs.vertices.reshape(long_hair.LOCS, hanging.POINTS, -1, 3)
    np.testing.assert_allclose(rings[:, :, 0], rings[:, :, -1], atol=1e-5)
    across = np.linalg.norm(rings - rings[:, :, :-1].mean(axis=2, keepdims=True), axis=3)
    assert across.min() > 0.01 and across.max() < long_hair.LOC_RADIUS[1] + 0.01


def test_an_undercut_shaves_the_sides(makehuman, body, surface):
    def lowest(do):
        rng = np.random.default_rng(0)
        return hanging.root(body, makehuman, do, rng).base[:, 1].min()

    assert lowest(replace(LONG, undercut=True)) > lowest(LONG) + 0.5


def test_roots_that_have_grown_have_their_own_colour():
    dyed, natural = (0.8, 0.2, 0.2), (0.1, 0.1, 0.1)
    texture = np.full((100, 4, 4), 255, np.uint8) * np.array([*dyed, 1])
    rooted = hair_textures.with_roots(texture.astype(np.uint8), 0.3, dyed, natural)
    np.testing.assert_allclose(rooted[-8, 0, :3] / 255, natural, atol=0.02)
    np.testing.assert_allclose(rooted[20, 0, :3] / 255, dyed, atol=0.02)


def test_the_back_of_the_head_is_hair_without_holes(makehuman, renderer, person):
    seen = renderer.draw(build_scene(replace(person, hairdo=LONG), makehuman), canonical_rig(256)[[3]])
    parts = seen.parts[0]
    rows = np.flatnonzero((parts == part_id("hair")).any(axis=1))
    upper = parts[rows[0] : rows[0] + (rows[-1] - rows[0]) // 2]
    assert (upper == part_id("skin")).sum() < 0.01 * (upper == part_id("hair")).sum()
    alpha = seen.rgba[0, rows[0] : rows[-1], :, 3]
    middle = alpha[20:, 108:148]
    assert (middle == 255).mean() > 0.999


def test_hairdos_fit_who_wears_them_and_come_back_from_json(makehuman):
    rng = np.random.default_rng(0)
    assert set(HAIRDO_SHARES) == set(HAIRDOS)
    young = [hairdos.sample_hairdo(rng, False, 20, (1.0, 0.0, 0.0)) for _ in range(200)]
    old = [hairdos.sample_hairdo(rng, False, 70, (1.0, 0.0, 0.0)) for _ in range(200)]
    african = [hairdos.sample_hairdo(rng, False, 30, (0.0, 0.0, 1.0)) for _ in range(200)]
    shorter, longer = (np.mean([do.ends for do in dos if do.gather == "none"]) for dos in (old, young))
    assert shorter > longer + 0.4
    assert np.mean([do.curl > 0.5 for do in african]) > 2 * np.mean([do.curl > 0.5 for do in young])
    people = [recipes.with_grown_hair(sample_person(seed, makehuman)) for seed in range(60)]
    women = [each for each in people if each.male < 0.5]
    assert np.mean([each.hairdo is not None for each in women]) > 0.5
    assert not any(each.hairdo and each.haircut for each in people)
    assert {do.gather for do in young} >= {"none", "tail", "bun", "half", "braid"}
    assert any(do.locs for do in african) and any(do.gather == "puff" for do in african)
    kept = replace(next(each for each in women if each.hairdo), recipe=2)
    assert Person.from_json(kept.to_json()) == kept

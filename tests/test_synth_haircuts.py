"""Hair that grows from the scalp: where, how long, and that nobody's short hair hangs down behind."""

import json
from dataclasses import replace

import numpy as np
import pytest

from facelift.cameras import canonical_rig
from facelift.data.parts import part_id
from facelift.synth import hair_textures, haircuts, hats, recipes, skull, strands
from facelift.synth.build import build_scene, shape
from facelift.synth.haircuts import Haircut
from facelift.synth.hats import Hat
from facelift.synth.pack import open_assets
from facelift.synth.priors import CUT_SHARES, CUTS
from facelift.synth.sampling import sample_person

CROP = Haircut("short", 0.4, 0.2, "forward", 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
AFRO = replace(CROP, style="afro", top=0.8, sides=0.7, comb="any", lift=1.0, curl=1.0)


@pytest.fixture(scope="module")
def makehuman(makehuman_data):
    return open_assets(makehuman_data)


@pytest.fixture(scope="module")
def body(makehuman):
    return shape(sample_person(1002, makehuman), makehuman)


def at(*places):
    return np.array(places, np.float32)


def test_the_hair_line_goes_back_and_sides_and_back_stay():
    crown, forehead, corner = (0.0, 8.45, 0.3), (0.0, 8.2, 1.05), (0.42, 8.0, 1.0)
    side, back, face, ear = (0.72, 7.8, 0.3), (0.0, 7.5, -0.39), (0.0, 7.3, 1.3), (0.85, 7.3, 0.3)
    places = at(crown, forehead, corner, side, back, face, ear)
    np.testing.assert_array_equal(haircuts.growth(CROP, places) > 0.5, [1, 1, 1, 1, 1, 0, 0])
    higher = haircuts.growth(replace(CROP, corners=1.0), places)
    np.testing.assert_array_equal(higher > 0.5, [1, 1, 0, 1, 1, 0, 0])
    bald = haircuts.growth(replace(CROP, recede=1.0), places)
    np.testing.assert_array_equal(bald > 0.5, [0, 0, 0, 1, 1, 0, 0])
    patch = haircuts.growth(replace(CROP, patch=0.3), places)
    np.testing.assert_array_equal(patch > 0.5, [0, 1, 1, 1, 1, 0, 0])


def test_a_fade_is_short_at_the_nape_and_as_long_on_top():
    top, nape = at((0.0, 8.4, 0.4)), at((0.0, 6.9, -0.3))
    faded = replace(CROP, fade=1.0)
    assert haircuts.lengths(faded, top) == pytest.approx(0.4) == haircuts.lengths(CROP, top)
    assert haircuts.lengths(faded, nape) < 0.2 * haircuts.lengths(CROP, nape)


@pytest.mark.parametrize("style", CUTS)
def test_short_hair_lies_outside_the_skull_and_does_not_hang(makehuman, body, style):
    longest = [high for _, high in CUTS[style].spans]
    for comb in CUTS[style].combs:
        top, sides, lift, curl, fade = longest
        cut = replace(CROP, top=top, sides=sides, comb=comb, lift=lift, curl=curl, fade=fade)
        head = skull.Skull(body, makehuman)
        for mesh in (strands.grow(body, makehuman, cut, 7), strands.undergrowth(body, makehuman, cut)):
            if style == "buzz" and not len(mesh.faces):
                continue  # undergrowth alone
            assert len(mesh.faces) > 300 and np.isfinite(mesh.vertices).all()
            away = mesh.vertices - head.centre
            off = np.linalg.norm(away, axis=1)
            high = off - head.radius(away / off[:, None])
            # Roots are below the skin, and edges of a band on a round head a little.
            assert (high > -0.07).mean() > 0.97 and high.max() < 1.4 * top + 0.3
            assert mesh.vertices[:, 1].min() > body[makehuman.base.members("body"), 1].max() - 2.4


def test_an_afro_is_as_large_as_its_hair_is_long(makehuman, body):
    small, large = (
        np.ptp(strands.undergrowth(body, makehuman, replace(AFRO, top=top, sides=top)).vertices[:, 0])
        for top in (0.3, 0.9)
    )
    assert large - small == pytest.approx(2 * 0.85 * 0.6, rel=0.3)


def test_hair_covers_the_back_of_the_head(makehuman, renderer):
    person = replace(sample_person(1008, makehuman), hair=None, hat=None, beard=None, turn=(0.0, 0.0, 0.0))
    for cut in (CROP, AFRO):
        parts = renderer.draw(build_scene(replace(person, haircut=cut), makehuman), canonical_rig(256)[[3]])
        seen = parts.parts[0]
        rows = np.flatnonzero((seen == part_id("hair")).any(axis=1))
        middle = seen[rows[0] : rows[0] + (rows[-1] - rows[0]) // 2]
        assert (middle == part_id("skin")).sum() < 0.03 * (middle > 0).sum()
    bald = renderer.draw(
        build_scene(replace(person, haircut=replace(CROP, recede=1.0, patch=0.5)), makehuman),
        canonical_rig(256)[[3]],
    ).parts[0]
    top = np.flatnonzero((bald > 0).any(axis=1))[0]
    assert (bald[top : top + 12] == part_id("skin")).sum() > 0.9 * (bald[top : top + 12] > 0).sum()


def test_hair_that_a_hat_hides_is_no_part(makehuman, monkeypatch):
    beanie = Hat("beanie", None, (0.1, 0.1, 0.1))
    person = replace(sample_person(1008, makehuman), hair=None, hat=beanie, haircut=CROP)
    assert "hair" in [part.name for part in build_scene(person, makehuman).parts]
    monkeypatch.setattr(hats, "brim_plane", lambda *_: np.array([0, 1, 0, -1000], np.float32))
    assert "hair" not in [part.name for part in build_scene(person, makehuman).parts]


def test_thin_hair_lets_the_scalp_through(makehuman):
    dense, thin = (
        hair_textures.undergrowth_texture(makehuman, replace(CROP, density=density), (0.2, 0.1, 0.1), 3)[
            ..., 3
        ]
        for density in (1.0, 0.5)
    )
    assert thin.sum() < 0.9 * dense.sum()


def test_grey_comes_at_the_roots_and_temples_first(makehuman):
    plain, grey = (
        hair_textures.strand_texture(replace(CROP, grey=grey), (0.1, 0.05, 0.02), 3) for grey in (0.0, 1.0)
    )
    lighter = (grey[..., :3].astype(int) - plain[..., :3]).max(axis=2)
    assert 0.2 < (lighter[plain[..., 3] > 200] > 20).mean() < 0.5, "one hair in three"


def test_cuts_fit_who_wears_them():
    rng = np.random.default_rng(0)
    assert set(CUT_SHARES) == set(CUTS)
    young = [haircuts.sample_haircut(rng, True, 20, 0.0) for _ in range(300)]
    old = [haircuts.sample_haircut(rng, True, 70, 0.0) for _ in range(300)]
    women = [haircuts.sample_haircut(rng, False, 70, 1.0) for _ in range(300)]
    assert np.mean([cut.recede for cut in old]) > 4 * np.mean([cut.recede for cut in young])
    assert not any(cut.recede or cut.patch for cut in women)
    assert not any(cut.style == "afro" for cut in young) and any(cut.style == "afro" for cut in women)
    assert min(cut.curl for cut in women) > 0.4


def test_only_recipe_2_has_cuts_and_the_record_holds_them(makehuman):
    people = [sample_person(seed, makehuman) for seed in range(40)]
    assert all(person.haircut is None and "haircut" not in json.loads(person.to_json()) for person in people)
    cut = [recipes.with_grown_hair(person) for person in people]
    men = [(old, new) for old, new in zip(people, cut, strict=True) if old.male > 0.5 and old.hair]
    assert np.mean([new.haircut is not None for _, new in men]) > 0.8
    for old, new in zip(people, cut, strict=True):
        assert (old.hair is None) <= (new.haircut is None), "the bald stay bald"
        assert (new.haircut is None) or new.hair is None
        kept = replace(new, recipe=2)
        assert type(kept).from_json(kept.to_json()) == kept

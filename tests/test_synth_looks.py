"""What people wear on their heads: combed hair, beards, glasses, hats; and the contact sheet."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from facelift.cameras import canonical_rig
from facelift.data.parts import part_id
from facelift.synth import glasses, groom, hats, mouth, paint, patterns, regions
from facelift.synth.build import build_scene, shape
from facelift.synth.expressions import expression
from facelift.synth.glasses import Glasses
from facelift.synth.hats import Hat
from facelift.synth.meshes import smooth_normals
from facelift.synth.pack import open_assets
from facelift.synth.priors import ETHNICITIES, MOODS
from facelift.synth.sampling import sample_person

EYE_LINE = 7.28


@pytest.fixture(scope="module")
def makehuman(makehuman_data):
    return open_assets(makehuman_data)


@pytest.fixture(scope="module")
def bodies(makehuman):
    return [shape(sample_person(seed, makehuman), makehuman) for seed in range(4)]


def test_a_triangle_is_filled_with_what_its_corners_say():
    out = np.full((16, 16, 3), np.nan, np.float32)
    corners = np.array([[2.0, 2.0], [12.0, 2.0], [2.0, 12.0]])
    regions._fill(out, corners, np.array([[0.0, 0, 1], [10, 0, 1], [0, 10, 1]]))
    for x, y in ((2, 2), (5, 4), (7, 7), (3, 9)):
        np.testing.assert_allclose(out[y, x], [x - 2, y - 2, 1], atol=1e-5)
    assert np.isnan(out[12, 12]).all() and np.isnan(out[0]).all()


def test_regions_are_even_and_leave_the_lips_bare(makehuman):
    places = makehuman.base.vertices
    mirror = regions.mirrored_vertices(makehuman)
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    # All but a few vertices near the middle have an exact twin.
    assert (mirror != np.arange(len(mirror))).mean() > 0.9
    for region in (regions.lips, regions.cheeks, regions.scalp, *regions.BEARDS.values()):
        mask = regions.vertex_mask(makehuman, region)
        assert mask.min() >= 0 and mask.max() > 0.5
        np.testing.assert_allclose(mask[mirror], mask, atol=0.02)
    lips = regions.vertex_mask(makehuman, regions.lips) > 0.5
    assert (np.abs(places[lips, 1] - 6.63) < 0.2).all()
    assert regions.vertex_mask(makehuman, regions.beard)[lips].max() < 0.5


def test_combed_hair_hides_no_eye(makehuman):
    lowest = []
    for name in makehuman.names("hair/*/*.mhclo"):
        for flipped in (False, True):
            placed = groom.worn_proxy(makehuman, name, flipped).fit(makehuman.base.vertices)
            lifted, cut = groom.comb(makehuman, name, 7.5, 1.0, 1.0, flipped)
            assert not cut.any()
            combed = placed + lifted
            before = (np.abs(placed[:, 0]) < groom.FACE_WIDTH[0]) & (placed[:, 2] > groom.FACE_DEPTH[1])
            lowest.append(combed[before, 1].min() if before.any() else 9.0)
            assert lowest[-1] > EYE_LINE, name
            behind = placed[:, 2] < groom.FACE_DEPTH[0]
            np.testing.assert_array_equal(combed[behind], placed[behind])
    assert min(lowest) < 7.5, "some have a fringe"


def test_voluminous_hair_stands_farther_off_the_skull_and_hangs_the_same(makehuman):
    skin = makehuman.base.vertices[makehuman.base.members("body")]
    for name in ("hair/afro01/afro01.mhclo", "hair/long01/long01.mhclo"):
        flat, full = (groom.comb(makehuman, name, 7.0, 1.0, volume, False)[0] for volume in (1.0, 1.6))
        placed = makehuman.proxy(name).fit(makehuman.base.vertices)
        crown = np.flatnonzero(placed[:, 1] > 8.0)[::5]
        off = [np.linalg.norm((placed + x)[crown, None] - skin[None], axis=2).min(1) for x in (flat, full)]
        assert (off[1] > off[0]).mean() > 0.95
        hanging = placed[:, 1] < groom.HANGING_BELOW
        np.testing.assert_array_equal(flat[hanging], full[hanging])


def test_no_skull_comes_through_tight_hair(makehuman, renderer):
    person = sample_person(20040, makehuman)  # a broad skull
    person = replace(person, hair="hair/ponytail01/ponytail01.mhclo", hair_volume=0.9, hat=None)
    parts = renderer.draw(build_scene(person, makehuman), canonical_rig(512)[[3]]).parts[0]
    hair = parts[:280] == part_id("hair")  # down to the ears
    bare = np.pad(~hair, 1, constant_values=True).astype(np.uint8)
    cv2.floodFill(bare, None, (0, 0), 0)  # all but what hair goes around
    assert hair.sum() > 5000 and bare.sum() < 10, "no more than gaps between strands of a small texture"


def test_mirrored_hair_is_the_mirror_image(makehuman):
    name = "hair/bob01/bob01.mhclo"
    plain, mirrored = (
        groom.worn_proxy(makehuman, name, flipped).fit(makehuman.base.vertices) for flipped in (False, True)
    )
    assert np.abs(plain[:, 0].min() + plain[:, 0].max()) > 0.1, "parted on one side"
    np.testing.assert_allclose(mirrored * [-1, 1, 1], plain, atol=2e-2)


def test_glasses_sit_before_the_eyes_and_outside_the_head(makehuman, bodies):
    skin = makehuman.base.members("body")
    corners = makehuman.base.faces[makehuman.base.groups["body"]][:, :3]
    for seed, body in enumerate(bodies):
        pair = glasses.sample_glasses(np.random.default_rng(seed))
        vertices, faces = glasses.frame(body, makehuman, pair)
        assert faces.min() == 0 and faces.max() == len(vertices) - 1
        front = vertices[vertices[:, 2] > np.percentile(vertices[:, 2], 40)]
        near = skin[body[skin, 2] > 0.8]
        apart = np.linalg.norm(front[:, None] - body[near][None], axis=2)
        closest = near[apart.argmin(axis=1)]
        normals = smooth_normals(body, corners)[closest]
        outside = ((front - body[closest]) * normals).sum(axis=1)
        assert outside.min() > -0.06, "pads may press on a nose, no more"
        assert np.median(outside) > 0.02


def test_a_hat_leaves_no_hair_above_its_seat(makehuman):
    person = sample_person(2, makehuman)
    bare = replace(person, hair="hair/long01/long01.mhclo", glasses=None, turn=(0.0, 0.0, 0.0))
    top = {}
    for kind in (None, "beanie", "cap", "fedora"):
        hat = None
        if kind is not None:
            hat = Hat(kind, hats.FEDORAS[0] if kind == "fedora" else None, (0.2, 0.2, 0.2))
        scene = build_scene(replace(bare, hat=hat), makehuman)
        parts = {part.name: part for part in reversed(scene.parts)}  # of a cap, the crown
        heights = {name: part.vertices[part.faces.ravel(), 2].max() for name, part in parts.items()}
        top[kind] = heights["hair"]
        if kind is not None:
            assert heights["hat"] > heights["skin"] > heights["hair"]
    assert max(top["beanie"], top["cap"], top["fedora"]) < top[None] - 0.1


def test_upper_teeth_end_at_the_lip_and_the_tongue_goes_with_the_jaw(makehuman):
    upper, tongue = (makehuman.base.members(f"helper-{name}") for name in ("upper-teeth", "tongue"))
    for seed in range(3):
        person = sample_person(seed, makehuman)
        still = {name: w for name, w in person.targets.items() if not name.startswith("expression/")}
        opened = still | {"expression/units/caucasian/mouth-open": 0.6}
        rest, wide = (shape(replace(person, targets=targets), makehuman) for targets in (still, opened))
        assert rest[mouth.UPPER_LIP, 1] - rest[upper, 1].min() == pytest.approx(mouth.TEETH_SHOWN, abs=1e-5)
        np.testing.assert_array_equal(wide[upper], rest[upper])
        fallen = rest[tongue, 1] - wide[tongue, 1]
        assert fallen.min() > 0.05, "an open mouth shows what is below the palate"
        jaws = mouth.jaw(rest, makehuman) - mouth.jaw(wide, makehuman)
        assert fallen.mean() == pytest.approx(jaws[1], abs=0.02)


def test_every_mood_is_made_of_units_that_every_ethnicity_has(makehuman):
    assert sum(MOODS.values()) == pytest.approx(1)
    for mood in MOODS:
        units = expression(mood, 0.5, 1.0)
        assert bool(units) == (mood != "neutral")
        for ethnicity in ETHNICITIES:
            for unit, weight in units.items():
                assert 0 <= weight <= 1, mood
                assert len(makehuman.target(f"expression/units/{ethnicity}/{unit}").indices)


def test_eyes_that_blink_are_shut(makehuman, renderer):
    shut = {f"expression/units/caucasian/{unit}": w for unit, w in expression("blink", 0.4, 0.0).items()}
    for seed in range(3):
        person = replace(sample_person(seed, makehuman), glasses=None, turn=(0.0, 0.0, 0.0))
        still = {name: w for name, w in person.targets.items() if not name.startswith("expression/")}
        seen = []
        for targets in (still, still | shut):
            scene = build_scene(replace(person, targets=targets), makehuman)
            drawing = renderer.draw(scene, canonical_rig(256)[[0]])
            seen.append((drawing.parts == part_id("eyes")).sum())
        assert seen[0] > 30 and seen[1] < 0.15 * seen[0], seed


@pytest.mark.parametrize("kind", patterns.KINDS)
def test_patterns_repeat_and_cover_a_share_of_the_cloth(kind):
    pattern = patterns.Pattern(kind, (1.0, 0.0, 0.0), 0.4, 0.0, 0.8)
    amount = patterns.draw_pattern(pattern, 160, 40.0)
    assert amount.shape == (160, 160) and amount.min() == 0 and 0.4 < amount.max() <= 0.8 + 1e-6
    assert 0.03 < amount.mean() / 0.8 < 0.7
    if kind != "blots":
        np.testing.assert_allclose(amount[32:], amount[:-32], atol=1e-3)


def test_a_pattern_spares_a_tie_and_keeps_the_folds(makehuman):
    person = replace(sample_person(0, makehuman), clothes_shift=(0.0, 1.0, 1.0))
    suit = "clothes/male_elegantsuit01/male_elegantsuit01.mhclo"
    pattern = patterns.Pattern("stripes", (1.0, 1.0, 1.0), 0.5, 0.0, 1.0)
    plain, striped = (
        paint.clothes(replace(person, clothes=suit, clothes_pattern=worn), makehuman).astype(int)
        for worn in (None, pattern)
    )
    changed = np.abs(striped - plain).max(axis=2) > 8
    assert 0.2 < changed.mean() < 0.7
    light = plain[..., :3].mean(axis=2) > 150  # the shirt
    assert light.any() and not changed[light].any()


def test_whoever_wears_what_is_kept_in_the_record(makehuman):
    people = [sample_person(seed, makehuman) for seed in range(80)]
    assert all(person.beard is None for person in people if person.male < 0.5)
    assert all(person.makeup is None for person in people if person.male > 0.5)
    worn = [(p.beard, p.glasses, p.hat, p.makeup) for p in people]
    assert all(any(thing[k] is not None for thing in worn) for k in range(4))
    for person in people:
        assert type(person).from_json(person.to_json()) == person
        assert person.glasses is None or isinstance(person.glasses, Glasses)


def test_the_contact_sheet_shows_everyone(renderer, makehuman_data, tmp_path):
    from facelift.synth.preview import preview

    path = preview(tmp_path / "sheet", makehuman_data, heads=3, size=32, seed=5)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 32, 2 * 6 * 32, 3)
    tiles = sheet.reshape(2, 32, 12, 32, 3).swapaxes(1, 2).reshape(24, -1)
    assert [bool((tile < 200).mean() > 0.1) for tile in tiles] == [True] * 18 + [False] * 6

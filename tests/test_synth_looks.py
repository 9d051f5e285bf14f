"""What people wear on their heads: combed hair, beards, glasses, hats; and the contact sheet."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelift.errors import UserError
from facelift.synth import glasses, groom, hats, regions
from facelift.synth.assets import Assets
from facelift.synth.build import build_scene, shape
from facelift.synth.glasses import Glasses
from facelift.synth.hats import Hat
from facelift.synth.meshes import smooth_normals
from facelift.synth.person import sample_person

MAKEHUMAN = Path(__file__).parents[2] / "shared/assets/makehuman/data"
EYE_LINE = 7.28


@pytest.fixture(scope="module")
def makehuman():
    if not MAKEHUMAN.is_dir():
        pytest.skip("MakeHuman's assets are not here")
    return Assets.open(MAKEHUMAN)


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
            lifted, cut = groom.comb(makehuman, name, 7.5, 1.0, flipped)
            assert not cut.any()
            combed = placed + lifted
            before = (np.abs(placed[:, 0]) < groom.FACE_WIDTH[0]) & (placed[:, 2] > groom.FACE_DEPTH[1])
            lowest.append(combed[before, 1].min() if before.any() else 9.0)
            assert lowest[-1] > EYE_LINE, name
            behind = placed[:, 2] < groom.FACE_DEPTH[0]
            np.testing.assert_array_equal(combed[behind], placed[behind])
    assert min(lowest) < 7.5, "some have a fringe"


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
    import dataclasses

    person = sample_person(2, makehuman)
    bare = dataclasses.replace(person, hair="hair/long01/long01.mhclo", glasses=None, turn=(0.0, 0.0, 0.0))
    top = {}
    for kind in (None, "beanie", "cap", "fedora"):
        hat = None
        if kind is not None:
            hat = Hat(kind, hats.FEDORAS[0] if kind == "fedora" else None, (0.2, 0.2, 0.2))
        scene = build_scene(dataclasses.replace(bare, hat=hat), makehuman)
        parts = {part.name: part for part in reversed(scene.parts)}  # of a cap, the crown
        heights = {name: part.vertices[part.faces.ravel(), 2].max() for name, part in parts.items()}
        top[kind] = heights["hair"]
        if kind is not None:
            assert heights["hat"] > heights["skin"] > heights["hair"]
    assert max(top["beanie"], top["cap"], top["fedora"]) < top[None] - 0.1


def test_whoever_wears_what_is_kept_in_the_record(makehuman):
    people = [sample_person(seed, makehuman) for seed in range(80)]
    assert all(person.beard is None for person in people if person.male < 0.5)
    assert all(person.makeup is None for person in people if person.male > 0.5)
    worn = [(p.beard, p.glasses, p.hat, p.makeup) for p in people]
    assert all(any(thing[k] is not None for thing in worn) for k in range(4))
    for person in people:
        assert type(person).from_json(person.to_json()) == person
        assert person.glasses is None or isinstance(person.glasses, Glasses)


def test_the_contact_sheet_shows_everyone(makehuman, tmp_path):
    from facelift.synth.preview import preview

    try:
        path = preview(tmp_path / "sheet", MAKEHUMAN, heads=3, size=32, seed=5)
    except UserError as error:
        pytest.skip(str(error))
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 32, 2 * 6 * 32, 3)
    tiles = sheet.reshape(2, 32, 12, 32, 3).swapaxes(1, 2).reshape(24, -1)
    assert [bool((tile < 200).mean() > 0.1) for tile in tiles] == [True] * 18 + [False] * 6

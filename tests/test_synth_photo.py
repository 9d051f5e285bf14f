"""Light from HDRI files, and photos of synthetic people before what surrounds them."""

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from lit import assets_with_map, landscape
from PIL import Image

from facelift.cameras import canonical_rig, orbit
from facelift.data.reader import HeadFolder
from facelift.errors import UserError
from facelift.synth import dataset
from facelift.synth.assets import Assets
from facelift.synth.framing import FACE_BOX_X, FACE_BOX_Y, face_box_center
from facelift.synth.hdri import Hdri, files_in, read_hdri, sample_hdri, split_lamps
from facelift.synth.light import METERING_NORMALS, directions_of, irradiance, solid_angles
from facelift.synth.pack import open_assets, write_pack
from facelift.synth.person import Person
from facelift.synth.photo import Photo, background, sample_photo
from facelift.synth.recipes import sample_by_recipe

PLAIN = {"turn": 0.0, "balance": (1.0, 1.0, 1.0), "fill": 0.0, "exposure": 1.0}


def write_exr(path, picture):
    OpenEXR = pytest.importorskip("OpenEXR")  # noqa: N806
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": picture.astype(np.float32)}) as file:
        file.write(str(path))


def direction_of(colour, radiance):
    """The mean direction of what is nearest to a pure colour."""
    towards = directions_of(*radiance.shape[:2])[(radiance @ colour > 0.9) & (radiance.sum(-1) < 1.1)]
    return towards.mean(axis=0) / np.linalg.norm(towards.mean(axis=0))


@pytest.mark.parametrize("suffix", ["exr", "hdr"])
def test_a_map_is_read_as_it_is_seen_from_within(tmp_path, suffix):
    path = tmp_path / f"land.{suffix}"
    if suffix == "exr":
        write_exr(path, landscape())
    else:
        cv2.imwrite(str(path), landscape()[..., ::-1])
    radiance = read_hdri(path)
    assert radiance.shape == (64, 128, 3)
    red, green = (direction_of(np.eye(3)[i], radiance) for i in (0, 1))
    # Who looks at the red mark has the green one at their right.
    np.testing.assert_allclose(np.cross(red, [0, 0, 1]), green, atol=0.05)
    assert radiance[:30].mean() > radiance[-30:].mean()
    assert radiance.max() == pytest.approx(4000, rel=0.02)


def test_a_large_map_keeps_its_light(tmp_path):
    cv2.imwrite(str(tmp_path / "large.hdr"), landscape(512)[..., ::-1])
    radiance = read_hdri(tmp_path / "large.hdr")
    assert radiance.shape == (256, 512, 3)
    whole = landscape(512)[:, ::-1]
    for picture in (radiance, whole):
        picture *= solid_angles(*picture.shape[:2])[..., None]
    np.testing.assert_allclose(radiance.sum((0, 1)), whole.sum((0, 1)), rtol=0.02)


def test_a_sun_becomes_a_lamp_and_no_light_is_lost():
    radiance = np.full((64, 128, 3), 0.5, np.float32)
    radiance[20:22, 127] = radiance[20:22, 0] = [4000, 3000, 2000]  # it lies across the picture's edge
    rest, lamps = split_lamps(radiance)
    ((direction, color, spread),) = lamps
    azimuth, polar = 0.0, 21 / 64 * math.pi
    expected = [math.sin(polar) * math.cos(azimuth), math.sin(polar) * math.sin(azimuth), math.cos(polar)]
    np.testing.assert_allclose(direction, expected, atol=0.01)
    assert rest.max() < 50 and 0.01 < spread < 0.1
    np.testing.assert_allclose(color / color[0], [1, 0.75, 0.5], atol=0.01)
    normals = np.array([direction, expected, [0, 0, 1]], np.float32)
    facing = np.maximum(normals @ direction, 0)[:, None] * color
    np.testing.assert_allclose(irradiance(rest, normals) + facing, irradiance(radiance, normals), rtol=0.01)


def test_what_is_wide_or_weak_stays_in_the_surroundings():
    radiance = np.full((64, 128, 3), 0.1, np.float32)
    radiance[:24] = 2.0  # a bright ceiling
    radiance[40, 5] = 10.0  # a small lamp
    rest, lamps = split_lamps(radiance)
    assert not lamps and (rest == radiance).all()


def test_the_face_is_well_exposed_whichever_way_it_stands():
    radiance = np.ascontiguousarray(landscape()[:, ::-1]) * np.array([1.5, 1.0, 0.5], np.float32)
    for seed in range(6):
        hdri = sample_hdri(np.random.default_rng(seed), "land", 10.0**seed * radiance)
        light = hdri.light(10.0**seed * radiance)
        lamps = np.maximum(METERING_NORMALS @ light.directions.T, 0) @ light.colors
        face = (irradiance(light.environment, METERING_NORMALS) + lamps) * hdri.exposure
        assert 0.75 < face.mean() < 1.15
        red, _, blue = face.mean(axis=0)
        assert 1 <= red / blue < 2.5, "white balance takes half of the tint or more"
        assert face[1:3].mean(axis=1).min() > 0.2 * face[1:3].mean(axis=1).max()


def test_a_turned_map_turns_its_lamps():
    radiance = np.ascontiguousarray(landscape()[:, ::-1])
    (still, turned) = (Hdri("land", **PLAIN | {"turn": turn}).light(radiance) for turn in (0.0, 90.0))
    (x, y, z), (other,) = still.directions[0], turned.directions
    np.testing.assert_allclose(other, [-y, x, z], atol=0.02)


def test_what_is_no_map_is_told_in_one_sentence(tmp_path, makehuman_data):
    write_exr(tmp_path / "square.exr", np.ones((32, 32, 3)))
    write_exr(tmp_path / "black.exr", np.zeros((32, 64, 3)))
    (tmp_path / "text.exr").write_text("none")
    (tmp_path / "text.hdr").write_text("none")
    for name, message in (
        ("square.exr", "twice as wide"),
        ("black.exr", "is black"),
        ("text.exr", "cannot be read as an OpenEXR"),
        ("text.hdr", "cannot be read as a .hdr"),
    ):
        with pytest.raises(UserError, match=message):
            read_hdri(tmp_path / name)
    with pytest.raises(UserError, match="two maps of one name"):
        files_in(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no \.exr or \.hdr"):
        write_pack(tmp_path / "heads.pack", makehuman_data, hdris=tmp_path / "empty")


@pytest.fixture(scope="module")
def people(tmp_path_factory, makehuman_data):
    return assets_with_map(makehuman_data, tmp_path_factory.mktemp("beside"))


def test_maps_light_people_of_recipe_2_alone(people, makehuman_data):
    before = sample_by_recipe(7, people, 1)
    assert before == sample_by_recipe(7, Assets.open(makehuman_data))
    assert not {"hdri", "photo"} & {*json.loads(before.to_json())}
    found = [sample_by_recipe(seed, people) for seed in range(40)]
    assert 0.4 < np.mean([person.hdri is not None for person in found]) < 0.9
    assert 0.5 < np.mean([person.photo.background is not None for person in found]) < 0.95
    for person in found[:8]:
        assert Person.from_json(person.to_json()) == person
        assert person.hdri is None or person.photo.background in (None, person.hdri)
    without = Assets(people.roots)
    without._cache["names", "hdri/*"] = []
    bare = sample_by_recipe(7, without)
    assert bare.hdri is None and bare.photo.background is None
    assert replace(bare, hdri=found[7].hdri, photo=found[7].photo) == found[7]


def test_a_pack_takes_maps_along(tmp_path, people, makehuman_data):
    beside = people.path("scans.npz").parent
    write_pack(tmp_path / "heads.pack", makehuman_data, beside / "scans.npz", beside / "hdri")
    packed = open_assets(tmp_path / "heads.pack")
    assert packed.hdris == people.hdris == ["land"]
    np.testing.assert_array_equal(packed.hdri("land"), people.hdri("land"))
    assert sample_by_recipe(7, packed) == sample_by_recipe(7, people)


@pytest.mark.parametrize("distance", [2.0, 6.0, 25.0])
def test_photos_frame_the_face_from_any_distance(distance):
    photo = Photo(distance, 5.0, -7.0, 4.0, (6.0, -9.0), None, 0, 0.01)
    middle = torch.tensor([0.02, -0.5, -0.1])
    camera = photo.camera(middle.numpy(), 512)
    pixels, _ = camera.project(middle[None])
    torch.testing.assert_close(pixels[0, 0], torch.tensor([FACE_BOX_X, FACE_BOX_Y]), atol=1e-2, rtol=0)
    assert (camera.positions[0] - middle).norm() == pytest.approx(distance, rel=1e-4)
    # What lies in the face's plane is as large as in the canonical front view.
    beside = torch.stack([middle, middle + 0.01 * camera.c2w[0, :3, 0]])
    shown = camera.project(beside)[0][0]
    front = canonical_rig(512)[0].project(torch.stack([middle, middle + torch.tensor([0.01, 0, 0])]))[0][0]
    torch.testing.assert_close((shown[1] - shown[0]).norm(), (front[1] - front[0]).norm(), rtol=0.01, atol=0)
    assert camera.intrinsics[0, 2] != 256 and camera.w2c[0, :3, :3].det() == pytest.approx(1)


def test_photos_are_taken_as_people_take_them():
    taken = [sample_photo(np.random.default_rng(seed), None) for seed in range(300)]
    metres = 0.2 * np.array([photo.distance for photo in taken])
    assert metres.min() > 0.4 and metres.max() <= 5 and 0.6 < np.median(metres) < 1.6
    angles = np.array([[photo.azimuth, photo.elevation, photo.roll, *photo.off_axis] for photo in taken])
    assert (np.abs(angles) <= 12).all() and (np.abs(np.median(angles, axis=0)) < 1).all()


def test_a_background_is_what_the_camera_sees_of_the_map(people):
    radiance = people.hdri("land")
    red = direction_of(np.eye(3)[0], radiance)
    azimuth = math.degrees(math.atan2(red[0], red[1]))  # of a camera that looks there from the other side
    camera = orbit([azimuth], [0.0], 64, 3.0, fov=40)
    seen = background(Photo(3.0, 0, 0, 0, (0, 0), Hdri("land", **PLAIN), 0, 0.003), camera, people)
    assert seen.shape == (64, 64, 3)
    assert seen[32, 32, 0] > 200 and seen[32, 32, 1] < 80, "the red mark is in the middle"
    assert seen[10].mean() > seen[54].mean(), "and the sky above"
    drawn = Photo(3.0, 0, 0, 0, (0, 0), None, 5, 0.01)
    assert (background(drawn, camera, people) == background(drawn, camera, people)).all()


def test_a_photo_on_the_disk(renderer, people, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "open_assets", lambda path: people)
    person = sample_by_recipe(1003, people)
    # From 4 m, which is too far for the depth of the other rigs.
    far = replace(person, photo=replace(person.photo, distance=20.0))
    monkeypatch.setattr("facelift.synth.head.sample_by_recipe", lambda *_: far)
    out = tmp_path / "out"
    dataset.synthesize(out, "assets", heads=1, size=64, seed=1003, rig="photo", form="shards")
    folder = HeadFolder(out)
    (head,) = folder.heads
    views, behind = folder.load(head, depth=True), folder.backgrounds(head)
    assert views.images.shape == behind.shape == (1, 3, 64, 64)
    photo = views.images - (1 - views.alpha) * (1 - behind)
    assert photo.min() > -1e-6 and 0.1 < views.alpha.mean() < 0.9
    clear = views.alpha[0, 0] == 0
    torch.testing.assert_close(photo[0][:, clear], behind[0][:, clear])
    depth = views.depth[0][~clear]
    assert depth.min() > 18 and depth.max() < 21.5
    # The truth is that of this camera.
    middle = face_box_center(dataset.build_person(1003, people).scene.base, people)
    pixels, z = views.cameras.project(torch.from_numpy(middle)[None])
    torch.testing.assert_close(pixels[0, 0], torch.tensor([FACE_BOX_X, FACE_BOX_Y]) / 8, atol=0.01, rtol=0)
    assert abs(views.depth[0, 35, 31] - z[0, 0]) < 0.15
    assert 1 in folder.parts(head, [0]) and folder.landmarks(head).shape == (1, 68, 2)
    assert folder.person(head)["photo"]["distance"] == 20.0


def test_recipe_1_has_no_photos(renderer, people, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "open_assets", lambda path: people)
    how = {"heads": 1, "size": 32, "seed": 1000, "recipe": 1}
    with pytest.raises(UserError, match="Only people of recipe 2 have photos"):
        dataset.synthesize(tmp_path / "photo", "assets", rig="photo", **how)
    paths = dataset.synthesize(tmp_path / "all", "assets", rig="all", views=1, **how)
    assert [path.parent.name for path in paths] == ["canonical", "orbit", "overhead"]
    with pytest.raises(UserError, match="--rig photo"):
        HeadFolder(tmp_path / "all/canonical").backgrounds("head_001000")
    depth = np.asarray(Image.open(paths[0] / "depth/depth_000.png"))
    assert depth.max() > 20_000, "ten thousand steps a unit, as ever"

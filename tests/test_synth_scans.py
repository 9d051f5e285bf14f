"""Scans: registration, their way to MakeHuman's head, their file, and the people sampled with them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from facelift.cli.commands import run
from facelift.errors import UserError
from facelift.synth import registration
from facelift.synth.arkit import looking, mirrored, portraits, sample_expression
from facelift.synth.assets import Assets
from facelift.synth.build import build_scene, shape
from facelift.synth.facekit import COUNT, LANDMARKS, SKIN, FaceKit, arkit_name, make_scans
from facelift.synth.framing import CHIN
from facelift.synth.landmarks import VERTICES
from facelift.synth.mouth import jaw
from facelift.synth.pack import open_assets, write_pack
from facelift.synth.person import Person
from facelift.synth.recipes import sample_by_recipe
from facelift.synth.sampling import sample_person
from facelift.synth.scans import Scans, load_scans
from facelift.synth.transfer import BALLS, TEETH, Head, motion

TIP = 5054
"""The base mesh's vertex at the tip of the nose."""


def ball(subdivisions=3):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    return np.array(mesh.vertices), np.array(mesh.faces)


def test_a_ball_is_bent_onto_an_egg():
    vertices, corners = ball(3)
    target, target_corners = ball(4)
    target = target * [1.0, 1.15, 1.0] + [0, 0, 0.1 * 1]
    rows = np.array([np.argmax(vertices @ way) for way in np.vstack([np.eye(3), -np.eye(3)])])
    places = vertices[rows] * [1.0, 1.15, 1.0] + [0, 0, 0.1]
    inside = np.zeros(len(vertices), bool)
    bent = registration.register(vertices, corners, target, target_corners, (rows, places), inside)
    np.testing.assert_allclose(np.linalg.norm((bent - [0, 0, 0.1]) / [1.0, 1.15, 1.0], axis=1), 1, atol=0.01)
    np.testing.assert_allclose(bent[rows], places, atol=0.02)
    again = registration.register(vertices, corners, target, target_corners, (rows, places), inside)
    np.testing.assert_array_equal(bent, again)


def test_the_closest_place_faces_the_same_way_and_is_none_at_an_open_edge():
    # Two sheets, 0.2 apart, that face away from each other.
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]])
    vertices = np.vstack([square, square + np.array([0, 0, 0.2])])
    corners = np.array([[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7]])
    points = np.array([[0.5, 0.3, 0.05], [0.5, 0.3, 0.05], [1.3, 0.5, 0.2], [0.5, 0.3, 9]])
    facing = np.array([[0, 0, 1], [0, 0, -1], [0, 0, 1], [0, 0, 1.0]])
    places, anchors = registration.closest(points, facing, vertices, corners, reach=0.5)
    np.testing.assert_allclose(places[:2], [[0.5, 0.3, 0.2], [0.5, 0.3, 0]])
    assert anchors.valid.tolist() == [True, True, False, False]
    np.testing.assert_allclose(anchors.interpolate(vertices, corners)[:2], places[:2])


def test_similarity_and_small_motions_are_found():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    scale, rotation, shift = registration.similarity(points, 1.7 * points @ turn.T + [1, 2, 3])
    assert scale == pytest.approx(1.7)
    np.testing.assert_allclose(rotation, turn, atol=1e-9)
    np.testing.assert_allclose(shift, [1, 2, 3], atol=1e-9)
    about = np.array([0.1, -0.2, 0.3])
    moved = 0.05 * points + np.cross(about, points) + [0.5, 0, 0]
    np.testing.assert_allclose(motion(points, moved)(points), moved, atol=1e-9)
    np.testing.assert_allclose(motion(points, 0.05 * points + 1, turns=False)(points), 0.05 * points + 1)


def test_expressions_have_arkits_names():
    names = ("mouthSmile_L", "browInnerUp_R", "jawOpen", "jawLeft", "cheekRaiser_L", "PupilDilate_R")
    assert [arkit_name(n) for n in names] == [
        "mouthSmileLeft",
        "browInnerUp",
        "jawOpen",
        "jawLeft",
        None,
        None,
    ]


@pytest.fixture(scope="module")
def makehuman(makehuman_data):
    return open_assets(makehuman_data)


@pytest.fixture(scope="module")
def scans(makehuman):
    """What becomes of a FaceKit whose skin is MakeHuman's own, ten times as large, turned and elsewhere."""
    head = Head.of(makehuman)
    skin = head.vertices
    source = np.resize(np.arange(len(skin)), SKIN)
    source[LANDMARKS] = head.row[VERTICES[17:]]
    first = {vertex: row for row, vertex in reversed(list(enumerate(source.tolist())))}
    corners = np.array([first[vertex] for vertex in head.corners.ravel().tolist()]).reshape(-1, 3)
    places = np.zeros((COUNT, 3))
    places[:SKIN] = skin[source]
    for part, rows in (("upper", TEETH["upper"]), ("lower", TEETH["lower"])):
        group = head.body[head.groups[f"helper-{part}-teeth"]]
        places[rows] = np.resize(group, (rows.stop - rows.start, 3))
    for side, rows in zip("rl", BALLS, strict=True):
        places[rows] = np.resize(head.body[head.groups[f"helper-{side}-eye"]], (rows.stop - rows.start, 3))
    nose = np.zeros_like(places)
    nose[:, 2] = 0.2 * np.exp(-(np.linalg.norm(places - head.body[TIP], axis=1) ** 2) / 0.04)
    farther = np.full_like(places, 0.3)
    open_ = np.zeros_like(places)
    lower = np.zeros(COUNT)
    lower[:SKIN] = (places[:SKIN, 1] < head.body[VERTICES[66], 1]) * 1.0
    lower[TEETH["lower"]] = 1
    open_[:, 1] = -0.3 * lower
    kit = FaceKit(10 * places + 5, corners, 10 * np.stack([nose, farther]), {"jawOpen": 10 * open_})
    # Where heads are alike already, three steps do.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registration, "STIFFNESS", (100.0, 10.0, 1.0))
        return make_scans(kit, makehuman)


def whole(scans, offsets):
    out = np.zeros((19158, 3))
    out[scans.vertices] = offsets
    return out


def test_a_mode_moves_its_place_and_no_other(makehuman, scans):
    head = Head.of(makehuman)
    nose = whole(scans, scans.identity[0])
    apart = np.linalg.norm(head.body - head.body[TIP], axis=1)
    assert nose[TIP, 2] == pytest.approx(0.2, abs=0.02)
    assert np.abs(nose[head.members][apart[head.members] > 0.8]).max() < 0.02
    assert np.abs(nose[makehuman.base.vertices[:, 1] < 5]).max() == 0
    # A head that only lies elsewhere is no other head.
    assert np.abs(scans.identity[1]).max() < 0.01


def test_teeth_tongue_and_chin_follow_an_opened_jaw(makehuman, scans):
    opened = whole(scans, scans.expression({"jawOpen": 1.0, "unknown": 1.0}))
    members = makehuman.base.members
    for group, moved in (
        ("helper-lower-teeth", -0.3),
        ("helper-tongue", -0.3),
        ("helper-upper-teeth", 0),
        ("helper-l-eye", 0),
    ):
        assert np.abs(opened[members(group)] - [0, moved, 0]).max() < 0.02
    assert opened[CHIN, 1] == pytest.approx(-0.3, abs=0.03)
    person = replace(sample_person(3, makehuman), recipe=2, targets={})
    rest = shape(person, makehuman)
    with_scans = Assets(makehuman.roots)
    with_scans._cache.update({("names", "scans.npz"): ["scans.npz"], "scans": scans})
    shown = shape(replace(person, expression={"jawOpen": 0.5}), with_scans)
    np.testing.assert_allclose((jaw(shown, makehuman) - jaw(rest, makehuman))[1], -0.15, atol=0.01)
    assert shown[CHIN, 1] < rest[CHIN, 1] - 0.1


@pytest.fixture
def small(tmp_path, makehuman_data):
    """MakeHuman's assets with scans of three modes beside them."""
    rng = np.random.default_rng(0)
    vertices = np.arange(200, 260, dtype=np.int32)
    offsets = rng.normal(0, 0.02, (5, 60, 3)).astype(np.float32)
    written = Scans(vertices, offsets[:3], ("jawOpen", "mouthSmileLeft"), offsets[3:])
    (tmp_path / "beside").mkdir()
    written.write(tmp_path / "beside/scans.npz")
    return Assets((makehuman_data, tmp_path / "beside")), written


def test_a_file_holds_scans_to_a_hundredth_of_a_millimetre(small):
    assets, written = small
    read = assets.scans
    assert read.names == written.names
    np.testing.assert_array_equal(read.vertices, written.vertices)
    np.testing.assert_allclose(read.identity, written.identity, atol=6e-5)
    np.testing.assert_allclose(read.expressions, written.expressions, atol=6e-5)


def test_what_are_no_scans_is_told_in_one_sentence(tmp_path, makehuman_data, capsys):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    header = json.dumps({"version": 0, "step": 1, "names": []})
    np.savez(tmp_path / "old.npz", header=np.array(header))
    for name, message in (
        ("text", "holds no scans"),
        ("other", "holds no scans"),
        ("old", "another version"),
    ):
        with pytest.raises(UserError, match=message):
            load_scans(tmp_path / f"{name}.npz")
    with pytest.raises(UserError, match="cannot be read"):
        write_pack(tmp_path / "heads.pack", makehuman_data, tmp_path / "nowhere.npz")
    assert not (tmp_path / "heads.pack").exists()
    with pytest.raises(UserError, match="facelift synth scans"):
        sample_by_recipe(1, open_assets(makehuman_data), 2)
    out = tmp_path / "out.npz"
    assert run(["synth", "scans", str(tmp_path), str(out), "--assets", str(makehuman_data)]) == 1
    assert "git clone of github.com/ICT-VGL/ICT-FaceKit" in capsys.readouterr().err
    (tmp_path / "generic_neutral_mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    (tmp_path / "identity000.obj").write_text("")
    assert run(["synth", "scans", str(tmp_path), str(out), "--assets", str(makehuman_data)]) == 1
    assert "has 3 vertices" in capsys.readouterr().err and not out.exists()


def test_people_without_scans_are_as_before(makehuman, small):
    before = sample_person(7, makehuman)
    assert sample_by_recipe(7, makehuman) == sample_by_recipe(7, small[0], 1) == before
    assert not {"recipe", "modes", "expression"} & set(json.loads(before.to_json()))
    with pytest.raises(UserError, match="--recipe must be 1 or 2, not 3"):
        sample_by_recipe(7, makehuman, 3)


def test_people_of_recipe_2_are_the_same_with_another_face(small):
    assets, _ = small
    before, person = sample_person(7, assets), sample_by_recipe(7, assets)
    assert person == sample_by_recipe(7, assets, 2) and person.recipe == 2
    assert Person.from_json(person.to_json()) == person
    assert (person.skin, person.clothes, person.lighting) == (before.skin, before.clothes, before.lighting)
    assert len(person.modes) == 3 and not any(name.startswith("expression") for name in person.targets)
    other = shape(replace(person, modes=()), assets)
    assert np.abs(shape(person, assets) - other).max() > 0.005
    names, earlier = ({part.name for part in build_scene(p, assets).parts} for p in (person, before))
    assert names == earlier


def test_a_pack_takes_scans_along(tmp_path, small, makehuman_data):
    assets, _ = small
    for given in (assets.path("scans.npz"), None):
        write_pack(tmp_path / "heads.pack", makehuman_data, given)
        packed = open_assets(tmp_path / "heads.pack")
        assert packed.has_scans == (given is not None)
        if given is not None:
            assert sample_by_recipe(7, packed) == sample_by_recipe(7, assets)
            np.testing.assert_array_equal(packed.scans.identity, assets.scans.identity)


def test_faces_show_what_portraits_show():
    rng = np.random.default_rng(0)
    shown = [sample_expression(rng) for _ in range(600)]
    smiles = np.array([face.get("mouthSmileLeft", 0.0) for face in shown])
    real = np.array([row["mouthSmileLeft"] for row in portraits()])
    assert len(real) == 160 and (real > 0.3).mean() > 0.5
    assert abs((smiles > 0.45).mean() - (real > 0.3).mean()) < 0.1
    assert 0.1 < np.mean([face.get("mouthUpperUpRight", 0.0) > 0.1 for face in shown]) < 0.35
    assert all(0 < weight <= 1.2 for face in shown for weight in face.values())
    assert any(face.get("eyeBlinkLeft", 0) > 0.8 for face in shown)
    assert mirrored("mouthSmileLeft") == "mouthSmileRight" and mirrored("jawOpen") == "jawOpen"


def test_most_people_look_into_the_camera(small):
    people = [sample_by_recipe(seed, small[0]) for seed in range(60)]
    turns, gazes = (np.array([each.turn[0] for each in people]), np.array([each.gaze[0] for each in people]))
    assert np.corrcoef(turns, gazes)[0, 1] < -0.6
    assert 0.7 < (np.abs(turns + gazes) < 4).mean() < 1
    person = next(each for each in people if each.gaze[0] > 4)
    assert person.expression["eyeLookOutLeft"] == person.expression["eyeLookInRight"] > 0
    assert looking((0.0, -14.0)) == {"eyeLookDownLeft": 0.5, "eyeLookDownRight": 0.5}

"""Synthetic people: MakeHuman's formats, sampling, and the scene that a person becomes."""

import numpy as np
import pytest
from PIL import Image

from facelift.cameras import canonical_rig
from facelift.errors import UserError
from facelift.synth import makehuman as formats
from facelift.synth import textures
from facelift.synth.build import build_scene, shape
from facelift.synth.framing import CHIN, face_size, frame
from facelift.synth.light import (
    LIGHTING_KINDS,
    METERING_NORMALS,
    directions_of,
    irradiance,
    sample_lighting,
    solid_angles,
)
from facelift.synth.meshes import make_template, smooth_normals
from facelift.synth.pack import open_assets
from facelift.synth.person import Person
from facelift.synth.pose import joint, lower_arms, turn_head
from facelift.synth.sampling import sample_person

AXES = np.eye(3, dtype=np.float32)

# A unit cube's front and right side, whose shared edge is a texture seam.
OBJ = """# a comment
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
v 1 0 0
v 1 1 0
vt 0 0
vt 0.5 0
vt 0.5 1
vt 0 1
vt 1 0
vt 1 1
vt 0.6 0
vt 0.6 1
g front
f 1/1 2/2 3/3 4/4
g side
f 2/7 5/5 6/6 3/8
"""
MHCLO = """# a proxy
obj_file cube.obj
x_scale 0 1 2.0
y_scale 0 3 1.0
verts 0
0
1
2
3
material cube.mhmat
0 1 2 0.5 0.25 0.25 1.0 -1.0 0.5
5
delete_verts
1 3 - 5 8
"""


@pytest.fixture
def cube(tmp_path):
    (tmp_path / "cube.obj").write_text(OBJ)
    (tmp_path / "cube.mhclo").write_text(MHCLO)
    (tmp_path / "cube.mhmat").write_text("name cube\ndiffuseTexture ./cube.png\n")
    return tmp_path


def test_an_obj_keeps_its_quads_texture_and_groups(cube):
    mesh = formats.read_obj(cube / "cube.obj")
    assert mesh.vertices.shape == (6, 3) and mesh.uvs.shape == (8, 2)
    assert mesh.faces.tolist() == [[0, 1, 2, 3], [1, 4, 5, 2]]
    assert mesh.face_uvs.tolist() == [[0, 1, 2, 3], [6, 4, 5, 7]]
    assert mesh.members("side").tolist() == [1, 2, 4, 5]


def test_a_target_ignores_comments_and_reads_short_numbers(tmp_path):
    (tmp_path / "a.target").write_text("# 3 0 0 0\n4 .5 0 -.25\n\n17 1 2 3\n")
    target = formats.read_target(tmp_path / "a.target")
    assert target.indices.tolist() == [4, 17]
    assert target.offsets.tolist() == [[0.5, 0, -0.25], [1, 2, 3]]


def test_a_proxy_follows_the_base_mesh_and_scales_its_offsets_with_it(cube):
    proxy = formats.read_proxy(cube / "cube.mhclo")
    base = formats.read_obj(cube / "cube.obj").vertices * np.array([4, 3, 1], np.float32)
    fitted = proxy.fit(base)
    np.testing.assert_allclose(fitted[[0, 1, 2, 3, 5]], base[[0, 1, 2, 3, 5]])
    # x: the base is 4 wide where 2 is scale one; y: 3 high where 1 is; z is not scaled.
    anchored = 0.5 * base[0] + 0.25 * base[1] + 0.25 * base[2]
    np.testing.assert_allclose(fitted[4], anchored + np.array([2 * 1.0, 3 * -1.0, 0.5]), rtol=1e-6)
    assert proxy.hidden.tolist() == [1, 3, 4, 5, 8]
    assert proxy.material == cube / "cube.mhmat"


@pytest.mark.parametrize("text", ["1 3 - 5 8", "1 3-5 8", " 1  3 - 5\n8"])
def test_ranges_of_hidden_vertices(text):
    assert formats.parse_ranges(text).tolist() == [1, 3, 4, 5, 8]


def test_a_material_names_its_texture_only_where_it_exists(cube):
    assert formats.read_material(cube / "cube.mhmat") is None
    Image.new("RGB", (4, 4)).save(cube / "cube.png")
    assert formats.read_material(cube / "cube.mhmat") == (cube / "cube.png").resolve()


def test_textures_shrink_and_bleed_their_colour_under_transparency(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = (200, 100, 50, 255)
    Image.fromarray(pixels).save(tmp_path / "hair.png")
    texture = textures.read_texture(tmp_path / "hair.png", 16)
    assert texture.shape == (16, 16, 4)
    assert (texture[:, :8, 3] == 255).all() and (texture[:, 8:, 3] == 0).all()
    np.testing.assert_allclose(texture[..., :3] - np.array([200.0, 100, 50]), 0, atol=4)


def test_what_is_not_makehuman_is_told_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="makehuman-assets"):
        open_assets(tmp_path)
    with pytest.raises(UserError, match="lacks MakeHuman"):
        open_assets(tmp_path / "nowhere")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (tmp_path / "a.png").write_text(pointer)
    (tmp_path / "a.target").write_text(pointer)
    with pytest.raises(UserError, match="git lfs pull"):
        textures.read_texture(tmp_path / "a.png", 64)
    with pytest.raises(UserError, match="git lfs pull"):
        formats.read_target(tmp_path / "a.target")
    for name, read in (
        ("x.obj", formats.read_obj),
        ("x.mhclo", formats.read_proxy),
        ("x.target", formats.read_target),
    ):
        (tmp_path / name).write_text("v one two three\nf 1 2 3\n")
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match="broken"):
        textures.read_texture(tmp_path / "broken.png", 64)


def test_seams_split_vertices_but_not_their_normals(cube):
    mesh = formats.read_obj(cube / "cube.obj")
    template = make_template(mesh, np.ones(2, bool))
    assert len(template.source) == 8 and template.faces.shape == (4, 3)
    normals = smooth_normals(mesh.vertices, template.corners)[template.source]
    ahead, aside = np.eye(3)[2], np.eye(3)[0]
    for vertex in range(6):
        first, *others = normals[template.source == vertex]
        assert all((other == first).all() for other in others)
        expected = {0: ahead, 3: ahead, 4: aside, 5: aside}.get(vertex)
        assert (first > 0).tolist() == [True, False, True] if expected is None else (first == expected).all()


def test_an_environment_lights_a_surface_as_its_definition_says():
    even = np.ones((16, 32, 3), np.float32)
    np.testing.assert_allclose(irradiance(even, METERING_NORMALS), 1, atol=0.02)
    assert solid_angles(16, 32).sum() == pytest.approx(4 * np.pi, rel=1e-5)
    # Light from above only: a face turned up gets all of it, one turned aside half.
    above = even * (directions_of(16, 32)[..., 2:] > 0)
    np.testing.assert_allclose(irradiance(above, AXES[[2, 0]])[:, 0], [1, 0.5], atol=0.02)


def test_faces_are_well_lit_by_every_light():
    kinds = set()
    for seed in range(100):
        lighting = sample_lighting(np.random.default_rng(seed))
        light = lighting.light()
        total = irradiance(light.environment, METERING_NORMALS)
        total = total + np.maximum(METERING_NORMALS @ light.directions.T, 0) @ light.colors
        total = total.mean(axis=1) * light.exposure
        assert 0.7 < total.mean() < 1.2
        assert total[1:3].min() > 0.2 * total[1:3].max()
        assert (light.environment >= 0).all() and (light.colors >= 0).all() and len(light.directions) <= 3
        kinds.add(lighting.kind)
    assert kinds == set(LIGHTING_KINDS)


@pytest.fixture(scope="module")
def makehuman(makehuman_data):
    return open_assets(makehuman_data.parent)


def test_a_person_is_its_seed_and_its_json(makehuman, makehuman_data):
    person = sample_person(7, makehuman)
    assert person == sample_person(7, open_assets(makehuman_data))
    assert person != sample_person(8, makehuman)
    again = Person.from_json(person.to_json())
    assert again == person
    for one, other in zip(
        build_scene(person, makehuman).parts, build_scene(again, makehuman).parts, strict=True
    ):
        assert one.name == other.name
        for field in ("vertices", "normals", "uvs", "faces", "texture"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_macro_targets_are_a_mix_of_people(makehuman):
    for seed in range(20):
        targets = sample_person(seed, makehuman).targets
        macro = {name.split("/")[1]: w for name, w in targets.items() if name.startswith("macrodetails/")}
        universal = sum(w for name, w in macro.items() if name.startswith("universal"))
        assert universal == pytest.approx(1, abs=0.06)
        assert sum(macro.values()) - universal == pytest.approx(1, abs=0.06)
        assert all(0 <= weight <= 1.2 for weight in targets.values())


@pytest.mark.parametrize("seed", [1, 2])
def test_a_scene_is_a_framed_person(makehuman, seed):
    person = sample_person(seed, makehuman)
    scene = build_scene(person, makehuman)
    names = [part.name for part in scene.parts]
    assert names[:7] == ["skin", "eyes", "brows", "lashes", "teeth", "tongue", "clothes"]
    for part in scene.parts:
        assert part.vertices.dtype == part.normals.dtype == part.uvs.dtype == np.float32
        assert part.faces.dtype == np.int32 and part.texture.dtype == np.uint8
        assert part.faces.min() >= 0 and part.faces.max() < len(part.vertices)
        np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-3)
        assert part.alpha == (part.name in ("brows", "lashes", "hair", "beard"))
    eyes = scene.parts[1].vertices
    skin = scene.parts[0].vertices
    assert eyes[:, 1].max() < -0.2, "the face looks along -y"
    assert 0.4 < skin[:, 2].max() < 0.8 and skin[:, 2].min() < -0.7, "from the crown to where clothes begin"

    # Triangles of the face are counter-clockwise seen from outside.
    part = scene.parts[0]
    a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
    outward = (np.cross(b - a, c - a) * part.normals[part.faces[:, 0]]).sum(axis=1)
    assert (outward > 0).mean() > 0.98


def test_faces_fill_the_front_picture_as_facelift_frames_them(makehuman):
    camera = canonical_rig(512)[0]
    w2c, (fx, fy, cx, cy) = camera.w2c[0].numpy(), camera.intrinsics[0].tolist()
    rows = []
    for seed in range(6):
        person = sample_person(seed, makehuman)
        body = shape(person, makehuman)
        size = face_size(body, makehuman)
        body = turn_head(body, makehuman, person.turn)
        scale, origin = frame(body, size, makehuman)
        eyes = (joint(body, makehuman, "l-eye") + joint(body, makehuman, "r-eye")) / 2
        x, y, z = (np.stack([eyes, body[CHIN]]) - origin).T * scale
        at = np.stack([x, -z, y], 1) @ w2c[:3, :3].T + w2c[:3, 3]
        rows.append([fx * at[0, 0] / at[0, 2] + cx, *(fy * at[:, 1] / at[:, 2] + cy)])
    column, eye_row, chin_row = np.mean(rows, axis=0)
    assert abs(column - 252) < 4 and abs(eye_row - 244) < 4 and abs(chin_row - 375) < 8


def test_poses_leave_what_they_do_not_bend(makehuman):
    body = makehuman.base.vertices
    turned = turn_head(body, makehuman, (20.0, 0.0, 0.0))
    still = body[:, 1] < 4.9
    np.testing.assert_array_equal(turned[still], body[still])
    # To the subject's left: the nose moves to +x, and the head stays rigid.
    head = (body[:, 1] > 7.0) & (body[:, 1] < 8.5)
    assert turned[5054, 0] > 0.2
    spread = np.linalg.norm(body[head] - body[head].mean(0), axis=1)
    np.testing.assert_allclose(np.linalg.norm(turned[head] - turned[head].mean(0), axis=1), spread, atol=0.02)
    lowered = lower_arms(body, makehuman, 20.0)
    trunk = np.abs(body[:, 0]) < 0.8
    np.testing.assert_array_equal(lowered[trunk], body[trunk])
    assert joint(lowered, makehuman, "l-hand")[1] < joint(body, makehuman, "l-hand")[1] - 0.3


def test_clothes_hide_the_skin_beneath(makehuman):
    person = sample_person(3, makehuman)
    covered = makehuman.proxy(person.clothes).hidden
    scene = build_scene(person, makehuman)
    drawn = len(scene.parts[0].faces)
    assert len(covered) > 100 and drawn < 2 * len(makehuman.base.groups["body"])

"""Meshes of heads: closed, of the right size and place, in the colours of the splats; and what is no head."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from eggs import BACK, CROWN, DEPTH, FACE, HEIGHT, WIDTH, egg
from splats import cloud
from test_cli import run

from facelift import head as head_module
from facelift.errors import UserError
from facelift.formats.frames import METRES_PER_UNIT
from facelift.formats.ply import write_ply
from facelift.mesh.extract import mesh_from_gaussians
from facelift.mesh.isosurface import largest_component, to_manifold

TOLERANCE = 0.003  # metres


@pytest.fixture(scope="module")
def mesh():
    return mesh_from_gaussians(egg(), faces=4000, texture_size=256)


def closed(vertices, faces):
    return trimesh.Trimesh(vertices, faces, process=False)


def test_the_surface_is_the_known_one(mesh):
    """Everywhere within 3 mm: it lies 2.3 outside, for soft outlines must not be lost, and wavers by 0.7."""
    axes = METRES_PER_UNIT * np.array([WIDTH, HEIGHT, DEPTH]) / 2
    radius = np.linalg.norm(mesh.vertices / axes, axis=1)
    away = (radius - 1) * np.linalg.norm(mesh.vertices, axis=1) / radius
    assert np.abs(away).max() < TOLERANCE
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx(2 * axes, abs=2 * TOLERANCE)
    assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(0.23, abs=0.005)


def test_it_is_one_closed_body_of_as_many_faces_as_asked(mesh):
    body = closed(mesh.vertices, mesh.faces)
    assert body.is_watertight and body.is_winding_consistent and body.body_count == 1
    assert 3900 <= len(mesh.faces) <= 4000
    assert body.volume == pytest.approx(np.pi / 6 * WIDTH * HEIGHT * DEPTH * METRES_PER_UNIT**3, rel=0.07)


def test_normals_point_outwards(mesh):
    outwards = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
    assert (np.einsum("vc,vc->v", mesh.normals, outwards) > 0.5).all()


def test_the_texture_has_the_colours_of_the_splats_upright_and_facing(mesh):
    """Each triangle's middle, looked up in the texture: y is up, +z is the face."""
    places = mesh.uv[mesh.uv_faces].mean(axis=1)
    size = len(mesh.texture)
    column, row = (size * np.stack([places[:, 0], 1 - places[:, 1]])).astype(int).clip(0, size - 1)
    shown = mesh.texture[row, column] / 255
    middle = mesh.vertices[mesh.faces].mean(axis=1) / (METRES_PER_UNIT * np.array([WIDTH, HEIGHT, DEPTH]) / 2)
    crown, low = middle[:, 1] > 0.7, middle[:, 1] < 0.5
    for part, color in (
        (crown, CROWN),
        (low & (middle[:, 2] > 0.1), FACE),
        (low & (middle[:, 2] < -0.1), BACK),
    ):
        assert part.sum() > 100
        assert np.abs(shown[part] - color).max(axis=1).mean() < 0.02
        assert np.quantile(np.abs(shown[part] - color), 0.98) < 0.1


def test_charts_do_not_overlap_and_lie_in_the_texture(mesh):
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    corners = mesh.uv[mesh.uv_faces]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    area = np.abs(ax * by - ay * bx).sum() / 2
    assert 0.3 < area < 1
    vertices, normals, uv = mesh.split()
    np.testing.assert_array_equal(vertices[mesh.uv_faces], mesh.vertices[mesh.faces])
    np.testing.assert_array_equal(normals[mesh.uv_faces], mesh.normals[mesh.faces])
    assert len(vertices) == len(uv)


def test_a_hollow_is_closed_and_the_same_bit_by_bit_with_other_threads():
    """The crown and the bottom are open: no camera may get in."""
    hull = egg(3000)
    hull = hull[hull.means[:, 2].abs() < 0.5]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = mesh_from_gaussians(hull, 1000, 64)
        torch.set_num_threads(3)
        two = mesh_from_gaussians(hull, 1000, 64)
    finally:
        torch.set_num_threads(threads)
    assert closed(one.vertices, one.faces).is_watertight
    filled = np.pi / 6 * WIDTH * HEIGHT * DEPTH * METRES_PER_UNIT**3
    assert closed(one.vertices, one.faces).volume > 0.8 * filled
    for name in ("vertices", "faces", "normals", "uv", "uv_faces", "texture"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_edges_of_four_triangles_become_edges_of_two():
    """Two tetrahedra that share an edge: no closed surface has such an edge, and decimation makes some."""
    vertices = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 0], [-1, 0, 0], [-1, -1, 0]], np.float32)
    tetrahedron = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], np.int32)
    other = np.where(tetrahedron > 1, tetrahedron + 2, tetrahedron)
    pinched = np.concatenate([tetrahedron, other])[:, ::-1].copy()
    assert not closed(vertices, pinched).is_watertight
    body = closed(*to_manifold(vertices, pinched))
    assert body.is_watertight and len(body.faces) == 4 and body.volume > 0


def test_islands_go_and_cavities_are_filled():
    solid = np.zeros((20, 20, 20), bool)
    solid[2:12, 2:12, 2:12], solid[5:8, 5:8, 5:8], solid[15:18, 15:18, 15:18] = True, False, True
    body = largest_component(solid)
    assert body[6, 6, 6] and not body[16, 16, 16] and body.sum() == 1000


def scaled(gaussians, factor):
    return gaussians.transformed(torch.eye(3), torch.zeros(3), factor)


def scattered():
    """Four small eggs, apart from each other."""
    small = scaled(egg(800), 0.4)
    shifts = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 0, 0.9], [0, 0, -0.9]])
    four = small.map(lambda field: field.repeat(4, *[1] * (field.ndim - 1)))
    return replace(four, means=four.means + shifts.repeat_interleave(800, 0))


def specks():
    """Gaussians so small that they cover nothing."""
    few = egg(60)
    return replace(few, scales=few.scales * 0.01)


@pytest.mark.parametrize(
    ("gaussians", "options", "sentence"),
    [
        (egg(10)[:0], {}, "A mesh needs Gaussians that are opaque: these are none, or all transparent."),
        (egg(500, opacity=0.1), {}, "A mesh needs Gaussians that are opaque: these are none, or all transp"),
        (specks(), {}, "These Gaussians show no surface: a mesh needs a head that is not trans"),
        (scaled(egg(500), 30.0), {}, "These Gaussians reach 17.2 units from the origin, and those of a head"),
        (scaled(egg(500), 0.01), {}, "These Gaussians lie within less than 0.3 units: scale them to the siz"),
        (scattered(), {}, "These Gaussians lie scattered, 25 % of them in one body: a mesh needs one head."),
        (egg(500), {"faces": 10}, "A mesh has 500 to 200,000 faces, not 10."),
        (egg(500), {"faces": 1_000_000}, "A mesh has 500 to 200,000 faces, not 1,000,000."),
        (egg(500), {"texture_size": 20_000}, "The side of a texture is 64 to 8192 pixels, not 20000."),
    ],
    ids=("none", "transparent", "faint", "huge", "tiny", "scattered", "few", "many", "texture"),
)
def test_what_is_no_head_is_one_sentence(gaussians, options, sentence):
    with pytest.raises(UserError) as caught:
        mesh_from_gaussians(gaussians, **options)
    assert str(caught.value).startswith(sentence) and str(caught.value).endswith(".")


@pytest.mark.parametrize("package", ["xatlas", "skimage"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"^Meshes need {package}: pip install 'facelift\[mesh\]'\.$"):
        mesh_from_gaussians(egg(500))


# --- From Head.save and from the command


def test_a_head_makes_meshes_and_saves_them(tmp_path, monkeypatch):
    picture = torch.zeros(3, 16, 16)
    head = head_module.Head(picture, picture.expand(6, 3, 16, 16), egg(3000), 1)
    head.mesh(faces=1000, texture_size=64).save(tmp_path / "a.stl")
    assert trimesh.load(tmp_path / "a.stl").is_watertight

    def small(gaussians, *_):
        return mesh_from_gaussians(gaussians, 600, 64)

    monkeypatch.setattr("facelift.mesh.extract.mesh_from_gaussians", small)
    head.save(tmp_path / "b.STL")
    assert 500 < len(trimesh.load(tmp_path / "b.STL").faces) <= 600
    pytest.importorskip("fastapi", reason="the extra `app` is not installed")
    from facelift.app.files import FILES

    assert "head.obj" not in FILES, "a visitor would get it without its picture"
    FILES["mesh.glb"].make(tmp_path / "mesh.glb", head, iter)
    assert trimesh.load(tmp_path / "mesh.glb", force="mesh").visual.material.baseColorTexture.size == (64, 64)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ply("in.ply", egg(3000))
    return tmp_path


SMALL = ("--faces", "800", "--texture-size", "64")


def test_one_command_writes_meshes_and_splats(here, capsys):
    assert run("export", "in.ply", "a.obj", "a.stl", "a.splat", "a.glb", "--mesh", *SMALL) == 0
    assert {path.name for path in here.iterdir()} == {
        *("in.ply", "a.obj", "a.mtl", "a.png", "a.stl", "a.splat", "a.glb")
    }
    faces = len(trimesh.load("a.stl").faces)
    assert 700 < faces <= 800 and len(trimesh.load("a.glb", force="mesh").faces) == faces


def test_what_lies_beside_an_obj_is_not_lost(here, capsys):
    (here / "a.png").write_text("mine")
    assert run("export", "in.ply", "a.obj", *SMALL) == 1
    assert "a.png is there already; choose another name" in capsys.readouterr().err
    assert (here / "a.png").read_text() == "mine" and not (here / "a.obj").exists()
    assert run("export", "in.ply", "a.obj", "--overwrite", *SMALL) == 0
    assert (here / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.ply", "--faces", "800"], "No file here is a mesh: name one that ends in .obj, or add --mesh"),
        (["a.ply", "--mesh"], "No file here is a mesh: name one that ends in .obj, or add --mesh"),
        (["a.obj", "--faces", "3"], "A mesh has 500 to 200,000 faces, not 3."),
        (["a.obj", "--texture-size", "0"], "The side of a texture is 64 to 8192 pixels, not 0."),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(here, capsys, arguments, sentence):
    assert run("export", "in.ply", *arguments) == 1
    assert f"facelift: {sentence}" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["in.ply"]


def test_splats_that_are_no_head_are_told_so(here, capsys):
    write_ply("in.ply", scaled(cloud(40), 100.0))
    assert run("export", "in.ply", "a.obj") == 1
    assert "facelift: These Gaussians reach " in capsys.readouterr().err


def test_a_world_unit_is_twenty_centimetres(makehuman_data):
    """A head of MakeHuman's, framed as FaceLift frames heads, is as large as its decimetres say."""
    from facelift.synth import framing
    from facelift.synth.assets import Assets

    assets = Assets.open(makehuman_data)
    body = assets.base.vertices
    scale, _ = framing.frame(body, framing.face_size(body, assets), assets)
    assert 0.1 / scale == pytest.approx(METRES_PER_UNIT, rel=0.1)

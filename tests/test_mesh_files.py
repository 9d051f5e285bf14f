"""Files of meshes, opened by others: trimesh, Khronos's validator, three.js in a browser, Pixar's USD."""

import base64
import io
import sys

import numpy as np
import pytest
import torch
import trimesh
from browser import headless
from eggs import BACK, CROWN, FACE, HEIGHT, egg
from npm import MODULES, needs_npm, validate_gltf
from PIL import Image

from facelift.cameras import canonical_rig
from facelift.errors import UserError
from facelift.formats.frames import METRES_PER_UNIT, rotation
from facelift.mesh.extract import mesh_from_gaussians
from facelift.mesh.mesh import MESH_FORMATS, files_of_mesh, write_mesh
from facelift.render import render


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The known head in every format, `head.obj` and so on."""
    folder = tmp_path_factory.mktemp("meshes")
    mesh = mesh_from_gaussians(egg(), faces=4000, texture_size=256)
    for suffix in MESH_FORMATS:
        write_mesh(folder / f"head{suffix}", mesh)
    return folder


def body(path):
    """As trimesh reads it; vertices that are there several times for the texture's sake are one again."""
    read = trimesh.load(path, force="mesh")
    read.merge_vertices(merge_tex=True, merge_norm=True)
    return read


@pytest.mark.parametrize("suffix", [".obj", ".glb", ".stl"])
def test_trimesh_reads_a_closed_head_upright_and_in_metres(folder, suffix):
    read = body(folder / f"head{suffix}")
    assert read.is_watertight and read.is_winding_consistent and read.body_count == 1 and read.volume > 0
    assert 3900 <= len(read.faces) <= 4000
    low, high = read.bounds
    assert (
        (high - low)[1] == pytest.approx(METRES_PER_UNIT * HEIGHT, abs=0.005) == pytest.approx(0.23, abs=0.01)
    )
    outwards = read.vertices / np.linalg.norm(read.vertices, axis=1, keepdims=True)
    assert (np.einsum("vc,vc->v", read.vertex_normals, outwards) > 0.5).all()


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
def test_trimesh_reads_the_texture(folder, suffix):
    """The face is at +z, the crown at +y."""
    read = trimesh.load(folder / f"head{suffix}", force="mesh")
    colors = read.visual.to_color().vertex_colors[:, :3] / 255
    normals = read.vertex_normals
    for axis, sign, color in ((2, 1, FACE), (2, -1, BACK), (1, 1, CROWN)):
        there = colors[sign * normals[:, axis] > 0.9]
        assert len(there) > 20 and np.abs(there - color).max(axis=1).mean() < 0.02


def test_an_obj_shares_its_vertices_and_names_its_files(folder, tmp_path):
    """Tools that merge nothing see a closed surface as well; white space would end a name."""
    lines = (folder / "head.obj").read_text().splitlines()
    corners = [line.split()[1:] for line in lines if line.startswith("f ")]
    faces = np.array([[int(corner.split("/")[0]) - 1 for corner in face] for face in corners])
    places = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    assert trimesh.Trimesh(places, faces, process=False).is_watertight
    assert [path.name for path in files_of_mesh("a/my head.OBJ")] == [
        "my head.OBJ",
        "my_head.mtl",
        "my_head.png",
    ]
    write_mesh(tmp_path / "my Zoë.obj", mesh_from_gaussians(egg(500), 500, 64))
    assert {path.name for path in tmp_path.iterdir()} == {"my Zoë.obj", "my_Zoë.mtl", "my_Zoë.png"}
    assert trimesh.load(tmp_path / "my Zoë.obj").visual.material.image.size == (64, 64)


def test_khronos_validator_finds_nothing_to_say(folder):
    issues = validate_gltf(folder / "head.glb")["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_usd_opens_what_apple_takes(folder):
    """Y up, metres, one closed mesh, its texture inside the package; all of USD's own validators agree."""
    from pxr import Usd, UsdGeom, UsdShade, UsdValidation

    stage = Usd.Stage.Open(str(folder / "head.usdz"))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [error.GetMessage() for error in errors] == []
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    shape = UsdGeom.Mesh(stage.GetPrimAtPath("/head/mesh"))
    faces = np.array(shape.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    read = trimesh.Trimesh(np.array(shape.GetPointsAttr().Get()), faces, process=False)
    assert read.is_watertight and read.volume > 0
    assert np.ptp(read.vertices, axis=0)[1] == pytest.approx(METRES_PER_UNIT * HEIGHT, abs=0.005)
    st = UsdGeom.PrimvarsAPI(shape).GetPrimvar("st")
    assert st.GetInterpolation() == "faceVarying" and len(st.ComputeFlattened()) == faces.size
    assert UsdShade.MaterialBindingAPI(shape).ComputeBoundMaterial()[0].GetPath() == "/head/material"


PAGE = """<script type="importmap">{"imports": {"three": "/three/build/three.module.js"}}</script>
<canvas id="canvas"></canvas>
<script type="module">
import * as THREE from "three";
import {GLTFLoader} from "/three/examples/jsm/loaders/GLTFLoader.js";
const renderer = new THREE.WebGLRenderer({canvas, antialias: true, preserveDrawingBuffer: true});
renderer.setClearColor(0xffffff);
window.draw = async (size, positions) => {
  renderer.setSize(size, size, false);
  const scene = (await new GLTFLoader().loadAsync("/head.glb")).scene;
  const camera = new THREE.PerspectiveCamera(50, 1, 0.01, 10);
  return positions.map(position => {
    camera.position.set(...position);
    camera.lookAt(0, 0, 0);
    renderer.render(scene, camera);
    return canvas.toDataURL().split(",")[1];
  });
};
</script>"""


def test_three_js_draws_the_head_as_the_splats_are(folder):
    """Without a light, from the six canonical cameras in metres, y up: at least 25 dB."""
    needs_npm()

    def serve(route):
        name = route.request.url.removeprefix("http://files.test/")
        if name == "":
            route.fulfill(body=PAGE, content_type="text/html")
        elif name == "head.glb":
            route.fulfill(body=(folder / name).read_bytes(), content_type="model/gltf-binary")
        else:
            route.fulfill(body=(MODULES / name).read_bytes(), content_type="text/javascript")

    cameras = canonical_rig(256)
    positions = (METRES_PER_UNIT * cameras.positions @ rotation("RUB").T).tolist()
    with headless() as browser:
        page = browser.new_page()
        page.route("**/*", serve)
        page.goto("http://files.test/")
        page.wait_for_function("window.draw !== undefined")
        drawn = page.evaluate("([size, positions]) => draw(size, positions)", [256, positions])
    expected = render(egg(), cameras).image.clamp(0, 1)
    for picture, splats in zip(drawn, expected, strict=True):
        pixels = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB"), np.float32) / 255
        )
        error = (torch.from_numpy(pixels).movedim(-1, 0) - splats).square().mean()
        assert -10 * torch.log10(error) > 25


def test_what_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    mesh = mesh_from_gaussians(egg(500), 500, 64)
    with pytest.raises(UserError, match=r"^No mesh is written as a\.fbx: let its name end in \.obj, \.glb, "):
        write_mesh("a.fbx", mesh)
    with pytest.raises(UserError, match=r"^Cannot write .*nowhere/a\.\w+: the folder does not exist"):
        write_mesh(tmp_path / "nowhere/a.stl", mesh)
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(UserError, match=r"^USDZ needs usd-core: pip install 'facelift\[usd\]'\.$"):
        mesh.save(tmp_path / "a.usdz")
    assert list(tmp_path.iterdir()) == []

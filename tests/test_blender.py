"""`integrations/blender/import_head.py` in Blender itself, for which `pip install bpy` is enough."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from eggs import egg
from PIL import Image

from facelift.camera_paths import camera_path
from facelift.formats.gltf import write_glb
from facelift.formats.ply import write_ply
from facelift.mesh.extract import mesh_from_gaussians
from facelift.render import render

SCRIPT = Path(__file__).parents[1] / "integrations/blender/import_head.py"


def run(*arguments):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("bpy", reason="the extra `cycles` is not installed")
    folder = tmp_path_factory.mktemp("blender")
    mesh = mesh_from_gaussians(egg(), faces=2000, texture_size=256)
    for name in ("egg.glb", "egg.obj"):
        mesh.save(folder / name)
    return folder


@pytest.mark.parametrize(("name", "azimuth", "elevation"), [("egg.glb", 0, 0), ("egg.obj", 60, 25)])
def test_blender_draws_what_facelift_draws(folder, name, azimuth, elevation):
    """Upright, facing the camera, of the right size and colours, from FaceLift's own cameras."""
    picture = folder / f"{name}.png"
    view = ("--azimuth", azimuth, "--elevation", elevation, "--size", 96)
    done = run(folder / name, "--render", picture, *view)
    assert done.returncode == 0, done.stderr
    drawn = np.asarray(Image.open(picture).convert("RGBA"), np.float32) / 255
    over_white = drawn[..., :3] * drawn[..., 3:] + 1 - drawn[..., 3:]
    camera = camera_path("still", size=96, azimuth=azimuth, elevation=elevation)
    expected = render(egg(), camera).image[0].movedim(0, -1).numpy()
    assert -10 * np.log10(np.square(over_white - expected).mean()) > 20


def test_what_is_no_mesh_is_told(folder):
    write_glb(folder / "splats.glb", egg(count=100))
    (folder / "notes.txt").touch()
    for name, sentence in (
        ("no.glb", "there is no file"),
        ("notes.txt", "neither .glb nor .obj"),
        ("splats.glb", "holds no mesh"),
    ):
        done = run(folder / name)
        assert done.returncode != 0 and sentence in done.stderr


def test_blender_reads_the_splats_upright_with_all_that_add_ons_ask_for(folder):
    """`--ply-layout facelift` is in Blender's own axes; KIRI's 3DGS Render looks for these attributes."""
    write_ply(folder / "egg.ply", egg(count=500), layout="facelift")
    program = """
import sys, bpy
bpy.ops.wm.ply_import(filepath=sys.argv[1])
thing = bpy.context.object
print(*(a.name for a in thing.data.attributes))
for vertex in thing.data.vertices: print(*(thing.matrix_world @ vertex.co))
"""
    command = [sys.executable, "-c", program, str(folder / "egg.ply")]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    lines = printed.strip().splitlines()[-501:]  # Blender says more before
    wanted = ("f_dc_0", "f_dc_1", "f_dc_2", "f_rest_0", "opacity", "scale_0", "rot_0", "rot_3")
    assert set(wanted) <= set(lines[0].split())
    positions = np.array([line.split() for line in lines[1:]], np.float32)
    np.testing.assert_allclose(positions, egg(count=500).means.numpy(), atol=1e-5)

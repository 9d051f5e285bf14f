"""SPZ and glTF in other programs, and theirs in ours; the rest is in test_foreign_converters."""

import numpy as np
import pytest
import torch
from npm import splat_transform, validate_gltf
from splats import assert_close, cloud

from facelift.formats.frames import METRES_PER_UNIT, from_frame, to_frame
from facelift.formats.gltf import EXTENSION, write_glb
from facelift.formats.splats import read_splats, write_splats
from facelift.gaussians import Gaussians


def test_we_read_the_gltf_that_splat_transform_writes(tmp_path):
    """A PLY turned by half a turn about z, where a unit is a metre."""
    gaussians = cloud(300, degree=2)
    write_splats(tmp_path / "ours.ply", gaussians)
    splat_transform(tmp_path / "ours.ply", tmp_path / "theirs.glb")
    half = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
    theirs = to_frame(gaussians, "RDF").transformed(half, torch.zeros(3), 1.0 / METRES_PER_UNIT)
    assert_close(read_splats(tmp_path / "theirs.glb"), from_frame(theirs, "RUB"), ".glb", slack=10)


def gsply_gaussians(data):
    """Of gsply's arrays, in the frame of the file."""
    higher = torch.zeros(0) if data.shN is None else torch.from_numpy(np.array(data.shN, np.float32))
    fields = (data.means, data.quats, np.exp(data.scales), 1 / (1 + np.exp(-data.opacities)), data.sh0)
    tensors = [torch.from_numpy(np.array(field, np.float32)) for field in fields]
    return Gaussians(*tensors, shN=higher.reshape(len(data.means), -1, 3) if higher.numel() else None)


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize("suffix", [".spz", ".v4.spz"])
def test_gsply_reads_both_versions_of_spz(tmp_path, monkeypatch, suffix, degree):
    gsply = pytest.importorskip("gsply")
    monkeypatch.setitem(gsply._backend._state, "backend", "cpp")  # the other compiles for 15 seconds
    gaussians = cloud(300, degree)
    path = tmp_path / f"ours{suffix}"
    write_splats(path, gaussians)
    found = gsply_gaussians(gsply.read_spz(str(path)))
    assert_close(from_frame(found, "RUB"), gaussians, suffix)


def test_the_gltf_validator_finds_nothing_but_the_extension_that_it_does_not_know(tmp_path):
    write_glb(tmp_path / "a.glb", cloud(300, degree=3))
    report = validate_gltf(tmp_path / "a.glb")
    names = {message["code"] for message in report["issues"]["messages"]}
    assert names == {"UNSUPPORTED_EXTENSION", "MESH_PRIMITIVE_INVALID_ATTRIBUTE"}
    for message in report["issues"]["messages"]:
        assert EXTENSION in message["message"] + message["pointer"]
    assert report["info"]["totalVertexCount"] == 300


def test_a_reader_without_the_extension_sees_colored_points(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    gaussians = cloud(300)
    write_glb(tmp_path / "a.glb", gaussians)
    (points,) = trimesh.load_scene(tmp_path / "a.glb").geometry.values()
    np.testing.assert_allclose(points.vertices, METRES_PER_UNIT * to_frame(gaussians, "RUB").means, atol=1e-6)
    assert points.colors.shape == (300, 4) and points.colors[:, :3].std() > 10

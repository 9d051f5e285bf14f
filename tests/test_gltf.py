"""glTF with KHR_gaussian_splatting: what the extension's text asks for, and scenes that others arrange."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from splats import assert_close, cloud

from facelift.errors import UserError
from facelift.formats import gltf, reading
from facelift.formats.frames import METRES_PER_UNIT
from facelift.formats.gltf import read_glb, write_glb

EXTENSION = "KHR_gaussian_splatting"


def opened(path):
    """The JSON and the binary chunk."""
    data = path.read_bytes()
    magic, version, total, length, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, total, kind) == (b"glTF", 2, len(data), b"JSON") and length % 4 == 0
    size, kind = struct.unpack_from("<I4s", data, 20 + length)
    assert kind == b"BIN\0" and 28 + length + size == len(data)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def packed(path, document, binary):
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    )
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


def written(path, gaussians):
    write_glb(path, gaussians)
    return opened(path)


def column(document, binary, name):
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]
    view = document["bufferViews"][accessor["bufferView"]]
    data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return np.frombuffer(data, {5126: "<f4", 5123: "<u2"}[accessor["componentType"]]).reshape(
        accessor["count"], -1
    )


def test_a_head_stands_upright_in_metres_and_looks_along_z(tmp_path):
    axes = replace(cloud(3), means=torch.eye(3), scales=torch.ones(3, 3), sh0=torch.zeros(3, 3))
    document, binary = written(tmp_path / "a.glb", axes)
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0 and document["extensionsUsed"] == [EXTENSION]
    assert primitive["extensions"] == {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}}
    positions = column(document, binary, "POSITION")
    np.testing.assert_allclose(positions / METRES_PER_UNIT, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-7)
    accessor = document["accessors"][primitive["attributes"]["POSITION"]]
    assert (
        accessor["min"] == positions.min(axis=0).tolist()
        and accessor["max"] == positions.max(axis=0).tolist()
    )
    np.testing.assert_allclose(column(document, binary, f"{EXTENSION}:SCALE"), METRES_PER_UNIT, rtol=1e-6)
    opacities = column(document, binary, f"{EXTENSION}:OPACITY")[:, 0]
    np.testing.assert_array_equal(opacities, axes.opacities)
    lengths = np.linalg.norm(column(document, binary, f"{EXTENSION}:ROTATION"), axis=-1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)
    color = column(document, binary, "COLOR_0") / 65535
    np.testing.assert_allclose(color[:, :3], 0.214041, atol=1e-4)  # half of sRGB's scale, as light
    np.testing.assert_allclose(color[:, 3], axes.opacities, atol=1e-5)


def test_coefficients_stand_degree_by_degree(tmp_path):
    document, _ = written(tmp_path / "a.glb", cloud(4, degree=3))
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    wanted = {f"{EXTENSION}:SH_DEGREE_{d}_COEF_{n}" for d in range(4) for n in range(2 * d + 1)}
    assert wanted == {name for name in attributes if "SH_DEGREE" in name}
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])


def test_nodes_turn_move_and_scale(tmp_path):
    gaussians = cloud(30, degree=2)
    document, binary = written(tmp_path / "a.glb", gaussians)
    half = 0.5**0.5
    document["nodes"] = [
        {"children": [1], "rotation": [0, half, 0, half], "translation": [METRES_PER_UNIT, 0, 0]},
        {"mesh": 0, "matrix": [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 2 * METRES_PER_UNIT, 0, 1]},
    ]
    found = read_glb(packed(tmp_path / "b.glb", document, binary))
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # about our z, glTF's y
    moved = gaussians.transformed(quarter, torch.tensor([1.0, 0.0, 2.0]), 2.0)
    assert_close(found, moved, ".glb", slack=10)


def test_several_meshes_become_one_head(tmp_path):
    gaussians = cloud(30, degree=1)
    document, binary = written(tmp_path / "a.glb", gaussians)
    plain = json.loads(json.dumps(document["meshes"][0]))
    for number in range(3):
        del plain["primitives"][0]["attributes"][f"{EXTENSION}:SH_DEGREE_1_COEF_{number}"]
    document["meshes"] += [plain, {"primitives": [{"attributes": {"POSITION": 0}}]}]  # the last is no splat
    document["nodes"] += [{"mesh": 1}, {"mesh": 2}]
    document["scenes"][0]["nodes"] = [0, 1, 2]
    found = read_glb(packed(tmp_path / "b.glb", document, binary))
    halves = [found[:30], found[30:]]
    withal = [half for half in halves if half.shN.any()]
    assert len(found) == 60 and len(withal) == 1
    assert_close(withal[0], gaussians, ".glb")


def test_nodes_that_share_a_mesh_are_counted_as_they_are_read(tmp_path, monkeypatch):
    """A small file would fill the memory otherwise, with a mesh that a hundred thousand nodes show."""
    gaussians, read = cloud(100), []
    document, binary = written(tmp_path / "a.glb", gaussians)
    document["nodes"] = [{"mesh": 0}] * 50
    document["scenes"][0]["nodes"] = list(range(50))
    path = packed(tmp_path / "b.glb", document, binary)
    assert len(read_glb(path)) == 5000
    monkeypatch.setattr(reading, "MAX_GAUSSIANS", 1000)
    monkeypatch.setattr(gltf, "_placed", lambda path, part, matrix: read.append(part) or part)
    with pytest.raises(UserError, match="claims 1,100 Gaussians; files of up to 1,000 are read"):
        read_glb(path)
    assert len(read) == 11


def test_integers_and_strides_are_read(tmp_path):
    """As KHR_mesh_quantization and exporters that interleave have them."""
    gaussians = cloud(20)
    document, binary = written(tmp_path / "a.glb", gaussians)
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    records = np.zeros(20, [("rot", "<i2", 4), ("opacity", "u1"), ("gap", "u1", 3)])
    records["rot"] = np.round(column(document, binary, f"{EXTENSION}:ROTATION") * 32767)
    records["opacity"] = np.round(255 * gaussians.opacities.numpy())
    view = {"buffer": 0, "byteOffset": len(binary), "byteLength": records.nbytes, "byteStride": 12}
    document["bufferViews"].append(view)
    shared = {"bufferView": len(document["bufferViews"]) - 1, "normalized": True, "count": 20}
    document["accessors"] += [
        shared | {"componentType": 5122, "type": "VEC4"},
        shared | {"componentType": 5121, "type": "SCALAR", "byteOffset": 8},
    ]
    attributes[f"{EXTENSION}:ROTATION"] = len(document["accessors"]) - 2
    attributes[f"{EXTENSION}:OPACITY"] = len(document["accessors"]) - 1
    found = read_glb(packed(tmp_path / "b.glb", document, binary + records.tobytes()))
    assert (found.opacities - gaussians.opacities).abs().max() <= 0.5 / 255 + 1e-6
    sign = (found.quats * gaussians.quats).sum(-1, keepdim=True).sign()
    assert (found.quats * sign - gaussians.quats).abs().max() < 1e-4


def change(document, *keys, to):
    for key in keys[:-1]:
        document = document[key]
    document[keys[-1]] = to


PRIMITIVE = ("meshes", 0, "primitives", 0)


@pytest.mark.parametrize(
    "keys, to, sentence",
    [
        (("extensionsRequired",), ["EXT_meshopt_compression"], "needs EXT_meshopt_compression"),
        ((*PRIMITIVE, "extensions"), {}, "holds no splats"),
        ((*PRIMITIVE, "extensions", EXTENSION, "colorSpace"), "lin_rec709_display", "linear colours"),
        (("buffers", 0, "uri"), "../../etc/passwd", "in another file"),
        (("accessors", 0, "sparse"), {"count": 1}, "sparse"),
        (("accessors", 0, "count"), 2**40, "claims 1,099,511,627,776 Gaussians"),
        (("accessors", 3, "count"), -1, "not a complete binary glTF"),
        (("accessors", 0, "count"), 1 << 20, "not a complete binary glTF"),
        (("accessors", 2, "count"), 3, "not a complete binary glTF"),
        (("accessors", 0, "componentType"), 7, "not a complete binary glTF"),
        (("accessors", 0, "bufferView"), 99, "not a complete binary glTF"),
        (("bufferViews", 0, "byteOffset"), -4, "not a complete binary glTF"),
        (("bufferViews", 0, "byteStride"), -12, "not a complete binary glTF"),
        (("bufferViews", 0, "byteOffset"), 1 << 62, "not a complete binary glTF"),
        (("nodes", 0, "scale"), [1, 2, 1], "stretches or mirrors"),
        (("nodes", 0, "scale"), [-1, 1, 1], "stretches or mirrors"),
        (("nodes", 0, "scale"), [0, 0, 0], "stretches or mirrors"),
        (("nodes", 0, "scale"), [float("nan")] * 3, "stretches or mirrors"),
        (("nodes", 0, "matrix"), [1, 2, 3], "not a complete binary glTF"),
        (("nodes", 0, "children"), [0], "not a complete binary glTF"),
        (("nodes", 0, "mesh"), None, "not a complete binary glTF"),
        (("scenes",), [], "not a complete binary glTF"),
        (("meshes",), {}, "not a complete binary glTF"),
        (("nodes",), 5, "not a complete binary glTF"),
    ],
)
def test_what_is_not_read_is_said(tmp_path, keys, to, sentence):
    document, binary = written(tmp_path / "a.glb", cloud(9))
    change(document, *keys, to=to)
    with pytest.raises(UserError, match=sentence):
        read_glb(packed(tmp_path / "a.glb", document, binary))


def test_none_at_all_is_no_gltf(tmp_path):
    with pytest.raises(UserError, match="There are no Gaussians to write"):
        write_glb(tmp_path / "a.glb", cloud(3)[:0])

"""Files of Gaussians: each format's precision, how one is chosen, and that damage is a sentence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.recfunctions import repack_fields
from plyfile import PlyData, PlyElement
from splats import PRECISION, assert_close, cloud

from facelift.errors import UserError
from facelift.formats.ply import read_ply, write_ply
from facelift.formats.splats import SPLAT_FORMATS, read_splats, write_splats
from facelift.gaussians import Gaussians

WRITTEN = [format.suffix for format in SPLAT_FORMATS if format.write]


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("suffix", WRITTEN)
def test_each_format_keeps_what_it_can(tmp_path, suffix, degree):
    path, before = tmp_path / f"head{suffix}", cloud(degree=degree)
    write_splats(path, before)
    after = read_splats(path)
    assert all(field.dtype == torch.float32 for field in after.tensors().values())
    assert after.degree == (degree if "shN" in PRECISION[suffix] else 0)
    assert_close(after, before, suffix)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_content_decides_what_a_file_is(tmp_path, suffix):
    """A download is called as its server likes; .splat has nothing but its name."""
    gaussians = cloud(50)
    write_splats(tmp_path / f"a{suffix}", gaussians)
    if suffix != ".splat":
        other = tmp_path / "download"
        (tmp_path / f"a{suffix}").rename(other)
        assert_close(read_splats(other), gaussians, suffix)
    shouting = tmp_path / f"A{suffix.upper()}"
    write_splats(shouting, gaussians)
    assert_close(read_splats(shouting), gaussians, suffix)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_files_of_one_gaussian(tmp_path, suffix):
    one = cloud(1)
    write_splats(tmp_path / f"a{suffix}", one)
    assert_close(read_splats(tmp_path / f"a{suffix}"), one, suffix)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_cannot_be_drawn_is_not_written(tmp_path, suffix):
    gaussians = cloud(3)
    gaussians.means[1, 2] = torch.nan
    with pytest.raises(UserError, match="1 of 3 Gaussians hold NaN"):
        write_splats(tmp_path / f"a{suffix}", gaussians)
    assert not list(tmp_path.iterdir())


def test_names_that_say_nothing_are_told_what_would(tmp_path):
    for name in ("head.doc", "head", "ply"):
        with pytest.raises(UserError, match=r"let its name end in \.ply, \.compressed\.ply, \.splat"):
            write_splats(tmp_path / name, cloud(2))
        (tmp_path / name).write_text("Dear Sir or Madam")
        with pytest.raises(UserError, match=r"no file of Gaussians that is known here; these are \.ply"):
            read_splats(tmp_path / name)


# --- PLY


def columns(path):
    vertex = PlyData.read(str(path), mmap=False)["vertex"]
    return {p.name: p.val_dtype for p in vertex.properties}, vertex.data


def test_a_standard_ply_has_floats_and_nothing_to_skip(tmp_path):
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2"]
    end = ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    for degree, rest in enumerate((0, 9, 24, 45)):
        write_ply(tmp_path / "a.ply", cloud(7, degree))
        kinds, _ = columns(tmp_path / "a.ply")
        assert list(kinds) == [*names, *(f"f_rest_{i}" for i in range(rest)), *end]
        assert set(kinds.values()) == {"f4"}


def test_coefficients_stand_channel_by_channel_as_in_3dgs(tmp_path):
    gaussians = cloud(3)
    higher = torch.zeros(3, 3, 3)
    higher[:, 1, 2] = 0.25  # along z in our world, blue: along -y in the file
    write_ply(tmp_path / "a.ply", replace(gaussians, shN=higher))
    _, vertex = columns(tmp_path / "a.ply")
    values = np.stack([vertex[f"f_rest_{i}"] for i in range(9)], axis=-1)
    expected = np.zeros((3, 9))
    expected[:, 6] = 0.25  # of blue's three the one for -y
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_a_ply_stands_upright_in_the_frame_that_it_names(tmp_path):
    gaussians = replace(cloud(3), means=torch.eye(3))
    write_ply(tmp_path / "a.ply", gaussians)
    data = PlyData.read(str(tmp_path / "a.ply"))
    assert data.comments == ["frame RDF: x right, y down, z forward"]
    vertex = data["vertex"]
    found = np.stack([vertex[axis] for axis in "xyz"], axis=-1)
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # face at -z, top at -y


@pytest.mark.parametrize("layout", ["standard", "inria", "facelift"])
@pytest.mark.parametrize("degree", [0, 2])
def test_layouts_come_back_alike(tmp_path, layout, degree):
    before = cloud(40, degree)
    write_ply(tmp_path / "a.ply", before, layout)
    after = read_ply(tmp_path / "a.ply")
    if degree and layout != "standard":
        assert after.degree == 3 and not after.shN[:, 8:].abs().max() > 1e-6
        after = replace(after, shN=after.shN[:, :8])
    assert_close(after, before, ".ply")
    with pytest.raises(UserError, match="no PLY layout 'round': choose standard, inria, facelift"):
        write_ply(tmp_path / "a.ply", before, "round")


def test_inrias_layout_is_the_248_bytes_that_its_first_readers_take_for_granted(tmp_path):
    write_ply(tmp_path / "a.ply", cloud(5, 1), "inria")
    kinds, vertex = columns(tmp_path / "a.ply")
    assert list(kinds)[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert vertex.dtype.itemsize == 248 and not vertex["nx"].any()


def test_the_frame_of_a_ply_that_names_none(tmp_path):
    """FaceLift's files are in our world, others in 3D Gaussian Splatting's; the caller may know better."""
    gaussians, path = cloud(20), tmp_path / "a.ply"
    write_ply(path, gaussians, "facelift")
    assert_close(read_splats(path), gaussians, ".ply")
    _, theirs = columns(path)
    turned = read_splats(path, frame="RDF")
    assert torch.equal(turned.means, gaussians.means[:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0]))

    write_ply(path, gaussians)
    _, vertex = columns(path)
    PlyData([PlyElement.describe(vertex, "vertex")], comments=["frame of mind"]).write(str(path))
    assert_close(read_splats(path), gaussians, ".ply")
    names = [name for name in theirs.dtype.names if name != "red"]  # anybody's file with colours
    PlyData([PlyElement.describe(repack_fields(theirs[names]), "vertex")]).write(str(path))
    assert_close(read_splats(path), turned, ".ply")
    assert_close(read_splats(path, frame="world"), gaussians, ".ply")
    with pytest.raises(UserError, match="no frame 'LUF': choose world, RDF, RUB"):
        read_splats(path, frame="LUF")


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_comments_of_a_ply_are_in_any_language(tmp_path, text, encoding):
    """Tools write there who made a file, and from which."""
    gaussians, path = cloud(20, degree=1), tmp_path / "a.ply"
    write_ply(path, gaussians)
    data = PlyData.read(str(path), mmap=False)
    data.text = text
    data.write(str(path))
    start, vertex, rest = path.read_bytes().partition(b"element vertex")
    path.write_bytes(start + "comment made by Zoë\n".encode(encoding) + vertex + rest)
    assert_close(read_splats(path), gaussians, ".ply")


def test_a_ply_that_holds_more_than_gaussians(tmp_path):
    """As ml-sharp's files do: the camera, the size of the photo and a version beside them."""
    gaussians, path = cloud(20), tmp_path / "a.ply"
    write_ply(path, gaussians)
    _, vertex = columns(path)
    others = {"extrinsic": np.arange(16, dtype="<f4"), "image_size": np.array([640, 480], "<u4")}
    tables = [PlyElement.describe(np.array(v, [(k, v.dtype)]), k) for k, v in others.items()]
    PlyData([tables[0], PlyElement.describe(vertex, "vertex"), tables[1]]).write(str(path))
    assert_close(read_splats(path), gaussians, ".ply")


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("faces", [0, 2])
def test_faces_behind_the_gaussians_are_left_out(tmp_path, text, faces):
    """MeshLab writes an element of faces, which are lists, into every PLY."""
    gaussians, path = cloud(20), tmp_path / "a.ply"
    write_ply(path, gaussians)
    _, vertex = columns(path)
    triangles = np.zeros(faces, [("vertex_indices", "<i4", (3,))])
    elements = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(triangles, "face")]
    PlyData(elements, text=text).write(str(path))
    assert b"property list" in path.read_bytes()
    assert_close(read_splats(path), gaussians, ".ply")


def test_files_of_no_gaussians(tmp_path):
    none = cloud(3)[:0]
    for suffix in (".ply", ".compressed.ply", ".spz", ".v4.spz", ".sog"):
        write_splats(tmp_path / f"a{suffix}", none)
        assert isinstance(read := read_splats(tmp_path / f"a{suffix}"), Gaussians) and len(read) == 0


# --- .ksplat, which GaussianSplats3D 0.4.7 has written from `cloud(count, degree, seed=1)`


@pytest.mark.parametrize(("level", "count"), [(0, 60), (1, 300), (2, 300)])
def test_ksplat_of_each_compression_level(level, count):
    path = Path(__file__).parent / f"golden/level_{level}.ksplat"
    gaussians = read_splats(path)
    assert gaussians.degree == level  # by the way that they were made
    assert_close(gaussians, cloud(count, degree=level, seed=1), ".ksplat")
    assert torch.equal(read_splats(path, frame="world").means[:, 0], gaussians.means[:, 0])


def test_ksplat_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"let its name end in \.ply"):
        write_splats(tmp_path / "a.ksplat", cloud(3))

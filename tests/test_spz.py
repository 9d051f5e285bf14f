"""SPZ: both versions byte by byte as Niantic's specification has them, and what other writers put into it."""

import gzip
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from splats import assert_close, cloud

from facelift.errors import UserError
from facelift.formats.frames import to_frame
from facelift.formats.spz import read_spz, write_spz, zstd


def parts(path):
    """Header and attributes of a file of version 3."""
    data = gzip.decompress(path.read_bytes())
    return data[:16], data[16:]


def test_version_3_is_one_gzip_stream(tmp_path):
    one = cloud(1)
    one = replace(
        one,
        means=torch.tensor([[0.5, 0.25, -1.0]]),
        quats=torch.tensor([[0.5, 0.5, -0.5, 0.5]]),
        scales=torch.tensor([[1.0, 1.0, np.exp(-2.0)]]).float(),
        opacities=torch.tensor([1.0]),
        sh0=torch.tensor([[0.0, 1.0, -4.0]]),
    )
    write_spz(tmp_path / "a.spz", one)
    header, body = parts(tmp_path / "a.spz")
    assert header == b"NGSP" + struct.pack("<IIBBBB", 3, 1, 0, 12, 0, 0)
    fixed = [int.from_bytes(body[at : at + 3], "little", signed=True) for at in (0, 3, 6)]
    assert fixed == [2048, -4096, -1024], "x right, y up, z back; 4096ths"
    assert body[9] == 255
    assert list(body[10:13]) == [128, 166, 0]
    assert list(body[13:16]) == [160, 160, 128]
    assert len(body) == 20


def test_version_4_has_a_plain_header_and_a_stream_for_each_attribute(tmp_path):
    write_spz(tmp_path / "a.spz", cloud(5, degree=1), version=4)
    data = (tmp_path / "a.spz").read_bytes()
    assert data[:32] == struct.pack("<4sIIBBBBI12x", b"NGSP", 4, 5, 1, 12, 0, 6, 32)
    sizes = [struct.unpack_from("<QQ", data, 32 + 16 * i) for i in range(6)]
    assert [size for _, size in sizes] == [45, 5, 15, 15, 20, 45]
    assert 32 + 6 * 16 + sum(packed for packed, _ in sizes) == len(data)


@pytest.mark.parametrize("version", [3, 4])
def test_the_same_gaussians_are_the_same_bytes(tmp_path, version):
    for name in "ab":
        write_spz(tmp_path / name, cloud(50, 2), version)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_version_2_leaves_w_out(tmp_path):
    gaussians = cloud(50)
    write_spz(tmp_path / "a.spz", gaussians)
    _, body = parts(tmp_path / "a.spz")
    quats = to_frame(gaussians, "RUB").quats.double().numpy()
    xyz = np.round((quats[:, 1:] * np.sign(quats[:, :1]) + 1) * 127.5).astype(np.uint8)
    old = b"NGSP" + struct.pack("<IIBBBB", 2, 50, 0, 12, 0, 0) + body[: 50 * 16] + xyz.tobytes()
    (tmp_path / "old.spz").write_bytes(gzip.compress(old))
    found = read_spz(tmp_path / "old.spz")
    turned = to_frame(found, "RUB").quats
    assert ((turned * torch.from_numpy(quats).float()).sum(-1).abs() > 0.99).all()
    assert_close(replace(found, quats=gaussians.quats), gaussians, ".spz")


def test_degree_4_is_read_as_degree_3(tmp_path):
    gaussians = cloud(9, degree=3)
    write_spz(tmp_path / "a.spz", gaussians)
    _, body = parts(tmp_path / "a.spz")
    higher = np.frombuffer(body[-9 * 45 :], np.uint8).reshape(9, 45)
    more = np.hstack([higher, np.full((9, 27), 7, np.uint8)]).tobytes()
    header = b"NGSP" + struct.pack("<IIBBBB", 3, 9, 4, 12, 0, 0)
    (tmp_path / "b.spz").write_bytes(gzip.compress(header + body[: -9 * 45] + more))
    assert_close(read_spz(tmp_path / "b.spz"), gaussians, ".spz")


@pytest.mark.parametrize("system, frame", [(4, "RUB"), (6, "RDF"), (16, "world")])
def test_an_extension_names_the_frame(tmp_path, system, frame):
    """Adobe's; an unknown one in front of it is skipped. As version 3 and 4 have them."""
    gaussians = cloud(20)
    turned = to_frame(gaussians, frame)
    turned = replace(turned, **to_frame_inverse(turned))
    extension = struct.pack("<IIQ", 0x12340001, 8, 0) + struct.pack("<III", 0xADBE0003, 4, system)
    write_spz(tmp_path / "a.spz", turned)
    (tmp_path / "a.spz").write_bytes(gzip.compress(b"".join(parts(tmp_path / "a.spz")) + extension))
    assert_close(read_spz(tmp_path / "a.spz"), gaussians, ".spz")

    write_spz(tmp_path / "b.spz", turned, version=4)
    data = (tmp_path / "b.spz").read_bytes()
    moved = data[:16] + struct.pack("<I", 32 + len(extension)) + data[20:32] + extension + data[32:]
    (tmp_path / "b.spz").write_bytes(moved)
    assert_close(read_spz(tmp_path / "b.spz"), gaussians, ".spz")


def to_frame_inverse(gaussians):
    """Fields which the writer's own turn makes these Gaussians as they are."""
    from facelift.formats.frames import from_frame

    return from_frame(gaussians, "RUB").tensors()


def test_other_frames_and_versions_are_named(tmp_path):
    write_spz(tmp_path / "a.spz", cloud(3))
    header, body = parts(tmp_path / "a.spz")
    left = struct.pack("<III", 0xADBE0003, 4, 7)
    (tmp_path / "b.spz").write_bytes(gzip.compress(header + body + left))
    with pytest.raises(UserError, match="in a frame that is not read"):
        read_spz(tmp_path / "b.spz")
    (tmp_path / "c.spz").write_bytes(gzip.compress(header[:4] + struct.pack("<I", 1) + header[8:] + body))
    with pytest.raises(UserError, match="version 1; versions 2 to 4 are read"):
        read_spz(tmp_path / "c.spz")
    with pytest.raises(UserError, match="version 3 or 4, not 2"):
        write_spz(tmp_path / "d.spz", cloud(3), version=2)


def test_large_scenes_get_fewer_bits_for_fractions(tmp_path):
    far = replace(cloud(20), means=5000.0 * cloud(20).means)
    write_spz(tmp_path / "a.spz", far)
    assert (read_spz(tmp_path / "a.spz").means - far.means).abs().max() < 2**-10
    with pytest.raises(UserError, match="within 8 million units"):
        write_spz(tmp_path / "b.spz", replace(far, means=1e4 * far.means))


@pytest.mark.parametrize("version", [3, 4])
def test_a_bomb_is_not_unpacked(tmp_path, version):
    """A header that claims too much, and a stream that goes on for a gigabyte."""
    import tracemalloc

    write_spz(tmp_path / "a.spz", cloud(3), version)
    data = (tmp_path / "a.spz").read_bytes()
    if version == 3:
        header, body = parts(tmp_path / "a.spz")
        claim = gzip.compress(header[:8] + struct.pack("<I", 2**32 - 1) + header[12:] + body)
        bomb = gzip.compress(header + body + bytes(1 << 27))
    else:
        claim = data[:8] + struct.pack("<I", 2**32 - 1) + data[12:]
        packed = zstd.compress(bytes(1 << 27))
        toc = [(len(packed), 27), (0, 3), (0, 9), (0, 9), (0, 12)]
        bomb = data[:32] + b"".join(struct.pack("<QQ", *entry) for entry in toc) + packed
    tracemalloc.start()
    (tmp_path / "a.spz").write_bytes(claim)
    with pytest.raises(UserError, match="claims 4,294,967,295 Gaussians"):
        read_spz(tmp_path / "a.spz")
    (tmp_path / "a.spz").write_bytes(bomb)
    with pytest.raises(UserError, match="not a complete SPZ file"):
        read_spz(tmp_path / "a.spz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24

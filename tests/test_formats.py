import errno
import os

import av
import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData, PlyElement

from facelift.errors import UserError
from facelift.formats.animation import write_animation
from facelift.formats.files import atomic_folder, atomic_path
from facelift.formats.ply import read_ply, write_ply
from facelift.formats.png import tile, write_png
from facelift.formats.video import write_video
from facelift.gaussians import Gaussians

FIELDS = ("means", "quats", "scales", "opacities", "sh0")


def random_gaussians(count=100):
    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=-1),
        scales=torch.rand(count, 3, generator=generator) * 0.1 + 1e-4,
        opacities=torch.rand(count, generator=generator),
        sh0=torch.randn(count, 3, generator=generator),
    )


# --- files


def test_atomic_path_puts_the_file_in_place_only_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as aside:
        assert aside.parent == tmp_path and aside.suffix == ".txt"
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_path_leaves_nothing_when_the_block_raises(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(error), atomic_path(tmp_path / "a.txt") as aside:
        aside.write_text("half")
        raise error
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_atomic_path_writes_through_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "a.txt")
    with atomic_path(tmp_path / "link.txt") as aside:
        aside.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"


@pytest.mark.parametrize(
    "place", ["missing/a.ply", "file/a.ply", "folder", "/dev/null", "/proc/a.ply", "a" * 300]
)
def test_places_that_cannot_be_written_are_one_sentence(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match=r"^[^\n]+\.$"):
        write_ply(tmp_path / place, random_gaussians(2))
    assert sorted(os.listdir(tmp_path)) == before


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="disk is full"), atomic_path(tmp_path / "a.txt") as aside:
        aside.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


NOISE = np.random.default_rng(0).integers(0, 255, (9, 256, 256, 3), np.uint8)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_ply(path, random_gaussians(2000)),
        lambda path: write_png(path, torch.rand(3, 256, 256)),
        lambda path: write_video(path.with_suffix(".mp4"), NOISE),
        lambda path: write_video(path.with_suffix(".webm"), NOISE),
        lambda path: write_video(path.with_suffix(".mov"), NOISE),
        lambda path: write_animation(path.with_suffix(".gif"), NOISE),
        lambda path: write_animation(path.with_suffix(".webp"), NOISE),
    ],
    ids=["ply", "png", "mp4", "webm", "mov", "gif", "webp"],
)
def test_a_write_cut_short_by_the_system_leaves_nothing(tmp_path, write):
    resource = pytest.importorskip("resource", reason="this system cannot limit the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=r"^Cannot write [^\n]+\.$"):
            write(tmp_path / "a.out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_errors_about_other_files_are_not_blamed_on_the_result(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "weights.safetensors").read_bytes()


def test_atomic_folder_replaces_its_own_files_and_keeps_the_rest(tmp_path):
    target = tmp_path / "deep" / "head"
    target.mkdir(parents=True)
    for name in ("input.png", "stale.mp4", "notes.txt"):
        (target / name).write_text("old")
    with atomic_folder(target, frozenset({"input.png", "stale.mp4"})) as aside:
        (aside / "input.png").write_text("new")
        assert (target / "input.png").read_text() == "old"
    assert {file.name: file.read_text() for file in target.iterdir()} == {
        "input.png": "new",
        "notes.txt": "old",
    }
    assert os.listdir(target.parent) == ["head"]


def test_atomic_folder_leaves_the_old_one_when_the_block_raises(tmp_path):
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "input.png").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "head", frozenset({"input.png"})) as aside:
        (aside / "input.png").write_text("half")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["head"]
    assert (tmp_path / "head" / "input.png").read_text() == "old"


# --- PLY


def test_ply_round_trip(tmp_path):
    before = random_gaussians(1000)
    write_ply(tmp_path / "a.ply", before)
    after = read_ply(tmp_path / "a.ply")
    for name in FIELDS:
        assert getattr(after, name).dtype == torch.float32
        torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=1e-6, atol=1e-7)
    assert torch.equal(after.means, before.means) and torch.equal(after.sh0, before.sh0)


def test_ply_of_extreme_values_stays_finite(tmp_path):
    extreme = Gaussians(
        means=torch.zeros(2, 3),
        quats=torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 1e-3]]),
        scales=torch.tensor([[0.0, 1e-30, 1.0], [1.0, 1.0, 1.0]]),
        opacities=torch.tensor([0.0, 1.0]),
        sh0=torch.tensor([[-100.0, 0, 100.0], [0.0, 0, 0]]),
    )
    write_ply(tmp_path / "a.ply", extreme)
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    assert all(np.isfinite(vertex[name]).all() for name in vertex.data.dtype.names)
    after = read_ply(tmp_path / "a.ply")
    torch.testing.assert_close(after.opacities, extreme.opacities, atol=1e-7, rtol=0)
    torch.testing.assert_close(after.scales, extreme.scales)
    torch.testing.assert_close(after.quats, torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1]]))


def test_facelifts_layout_is_the_one_that_its_code_writes(tmp_path):
    gaussians = Gaussians(
        means=torch.tensor([[1.0, 2.0, 3.0]]),
        quats=torch.tensor([[0.0, 3.0, 0.0, 4.0]]),
        scales=torch.tensor([[1.0, 0.5, 0.25]]),
        opacities=torch.tensor([0.75]),
        sh0=torch.tensor([[0.0, 1.0, -5.0]]),
    )
    write_ply(tmp_path / "a.ply", gaussians, layout="facelift")
    data = PlyData.read(str(tmp_path / "a.ply"))
    assert not data.text and data.byte_order == "<"
    assert [element.name for element in data] == ["vertex"]
    names = ["x", "y", "z", "red", "green", "blue", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(45)]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    properties = data["vertex"].properties
    assert [p.name for p in properties] == names and not data.comments
    assert {p.val_dtype for p in properties if p.name in ("red", "green", "blue")} == {"u1"}
    assert {p.val_dtype for p in properties if p.name not in ("red", "green", "blue")} == {"f4"}
    expected = [
        1,
        2,
        3,
        128,
        199,
        0,
        0,
        1,
        -5,
        *[0] * 45,
        np.log(3),
        0,
        np.log(0.5),
        np.log(0.25),
        0,
        0.6,
        0,
        0.8,
    ]
    np.testing.assert_allclose([float(v) for v in data["vertex"][0]], expected, rtol=1e-6)


def test_no_gaussians_at_all_are_a_file_too(tmp_path):
    write_ply(tmp_path / "a.ply", random_gaussians(0))
    assert len(read_ply(tmp_path / "a.ply")) == 0


@pytest.mark.parametrize("text", [False, True], ids=["big endian", "text"])
def test_ply_by_another_tool(tmp_path, text):
    """Normals, no vertex colours, no f_rest, another order, doubles, another byte order, more elements."""
    ours = random_gaussians(20)
    write_ply(tmp_path / "ours.ply", ours)
    vertex = PlyData.read(str(tmp_path / "ours.ply"))["vertex"].data
    names = ["rot_0", "rot_1", "rot_2", "rot_3", "opacity", "scale_2", "scale_1", "scale_0", "nx", "ny", "nz"]
    names += ["f_dc_2", "f_dc_0", "f_dc_1", "z", "y", "x"]
    theirs = np.zeros(20, [(name, "f8") for name in names])
    for name in names:
        if not name.startswith("n"):
            theirs[name] = vertex[name]
    extra = PlyElement.describe(np.zeros(3, [("a", "i4")]), "camera")
    data = PlyData([extra, PlyElement.describe(theirs, "vertex")], text=text, byte_order="=" if text else ">")
    data.write(str(tmp_path / "theirs.ply"))
    read = read_ply(tmp_path / "theirs.ply")
    for name in FIELDS:
        torch.testing.assert_close(getattr(read, name), getattr(ours, name), rtol=1e-5, atol=1e-6)


def bad_files(folder):
    write_ply(folder / "good.ply", random_gaussians(50))
    good = (folder / "good.ply").read_bytes()
    points = np.zeros(4, [(name, "f4") for name in "xyz"])
    PlyData([PlyElement.describe(points, "vertex")]).write(str(folder / "points.ply"))
    PlyData([PlyElement.describe(points, "point")]).write(str(folder / "other.ply"))
    return {
        "cut short": good[:-10],
        "cut in the header": good[:100],
        "empty": b"",
        "text": b"Dear Sir or Madam,\nthis is not a PLY.\n",
        "image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "a count that cannot be": good.replace(b"vertex 50", b"vertex 999999999999999"),
        "a negative count": good.replace(b"vertex 50", b"vertex -5"),
        "an unknown type": good.replace(b"float opacity", b"quark opacity"),
        "a list for a number": good.replace(b"property float opacity", b"property list uchar float opacity"),
        "points without Gaussians": (folder / "points.ply").read_bytes(),
        "no vertices": (folder / "other.ply").read_bytes(),
    }


def test_bad_ply_files_are_one_sentence_each(tmp_path):
    for what, content in bad_files(tmp_path).items():
        path = tmp_path / "bad.ply"
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_ply(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value), what


@pytest.mark.parametrize("name", ["missing.ply", ""])
def test_a_ply_that_cannot_be_opened_is_one_sentence(tmp_path, name):
    with pytest.raises(UserError, match=r"^Cannot read [^\n]+\.$"):
        read_ply(tmp_path / name)


# --- video


def gradient(step, height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 40 * step)], -1).astype(np.uint8)


@pytest.mark.parametrize(("size", "written"), [((64, 96), (64, 96)), ((65, 97), (66, 98))])
def test_mp4_decodes_to_what_was_written(tmp_path, size, written):
    path = tmp_path / "a.mp4"
    write_video(path, (gradient(step, *size) for step in range(5)), fps=30)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 30
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 5
    for step in (0, 4):
        assert frames[step].shape == (*written, 3)
        difference = frames[step][: size[0], : size[1]].astype(int) - gradient(step, *size)
        assert np.abs(difference).mean() < 4
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is all there


def test_mp4_colours_are_tagged_and_kept(tmp_path):
    colours = [(200, 60, 30), (20, 180, 90), (255, 255, 255)]
    for colour in colours:
        write_video(tmp_path / "a.mp4", [np.full((32, 32, 3), colour, np.uint8)])
        with av.open(str(tmp_path / "a.mp4")) as container:
            frame = next(container.decode(video=0))
            assert frame.colorspace == 1  # BT.709
            assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - colour).max() <= 4


def test_mp4_frames_are_taken_one_at_a_time_and_an_error_leaves_nothing(tmp_path):
    def frames():
        yield gradient(0, 32, 32)
        raise RuntimeError("the renderer failed")

    with pytest.raises(RuntimeError, match="the renderer failed"):
        write_video(tmp_path / "a.mp4", frames())
    with pytest.raises(ValueError, match="shape"):
        write_video(tmp_path / "a.mp4", [gradient(0, 32, 32), gradient(0, 16, 16)])
    with pytest.raises(UserError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", [])
    assert os.listdir(tmp_path) == []


# --- PNG


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (4, "RGBA")])
def test_png(tmp_path, channels, mode):
    image = torch.linspace(-0.2, 1.2, channels * 6 * 5).reshape(channels, 6, 5)
    write_png(tmp_path / "a.png", image)
    read = Image.open(tmp_path / "a.png")
    assert (read.mode, read.size) == (mode, (5, 6))
    expected = (image.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(np.asarray(read), expected)


def test_tile_goes_in_reading_order_and_fills_with_white():
    images = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 3, 2, 4) / 10
    sheet = tile(images, columns=2)
    assert sheet.shape == (3, 4, 8)
    assert [sheet[0, y, x].item() for y, x in ((0, 0), (0, 4), (2, 0), (2, 4))] == pytest.approx(
        [0, 0.1, 0.2, 1]
    )

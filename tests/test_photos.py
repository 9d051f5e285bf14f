"""Photos as phones and people make them: whatever holds a picture, its true pixels arrive, or a sentence."""

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, ImageCms, ImageFile, ImageSequence, PngImagePlugin, TiffImagePlugin

from facelift.errors import UserError
from facelift.portrait import decode as decoding
from facelift.portrait import load_photo, prepare_portrait
from facelift.portrait.alpha import composite_rgba_on_white, fill_transparent, is_matte
from facelift.portrait.color import to_eight_bits
from facelift.portrait.load import is_photo

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples/portrait.jpg"
COLORS = np.uint8([[[200, 60, 40], [40, 160, 70]], [[50, 70, 190], [190, 180, 60]]])
LOSSLESS = {
    "png": {},
    "bmp": {},
    "tif": {},
    "webp": {"lossless": True},
    "ppm": {},
    "jp2": {},
    "tga": {},
    "qoi": {},
}
LOSSY = {"jpg": {"quality": 98, "subsampling": 0}, "heic": {"quality": 95}, "avif": {"quality": 95}}


@pytest.fixture
def patches() -> np.ndarray:
    """Four patches that differ, wider than high: turned or mirrored, they are others."""
    return COLORS.repeat(40, 0).repeat(60, 1)


def saved(image: Image.Image, suffix: str, **options) -> bytes:
    """The content of a file."""
    stream = io.BytesIO()
    if suffix == "heic":
        image = image.copy()
        image.info.update({"icc_profile": options.pop("icc_profile")} if "icc_profile" in options else {})
        image.encoderinfo = {"chroma": "444", **options}
        pillow_heif.as_plugin._save_heif(image, stream, "")  # without making it known to all of Pillow
    else:
        image.save(stream, format=Image.registered_extensions()[f".{suffix}"], **options)
    return stream.getvalue()


def middles(image: np.ndarray) -> np.ndarray:
    """The colours in the middles of the four patches."""
    h, w = image.shape[:2]
    return image[[h // 4, 3 * h // 4]][:, [w // 4, 3 * w // 4]].astype(int)


def refused(photo, *words: str) -> str:
    """The one sentence with which a photo is refused."""
    with pytest.raises(UserError) as caught:
        load_photo(photo)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    assert all(word in text for word in words), text
    return text


# --- any caller ----------------------------------------------------------------------------------


class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


def test_every_kind_of_photo_is_the_same_photo(tmp_path, patches):
    path = tmp_path / ("ä #%.png" if sys.platform == "win32" else "ä ?#%\n.png")
    Image.fromarray(patches).save(path)
    content = path.read_bytes()
    tensor = torch.from_numpy(patches).movedim(-1, 0)
    kinds = [path, str(path), PathLike(str(path)), PathLike(os.fsencode(path))]
    kinds += [content, bytearray(content), memoryview(content), io.BytesIO(content)]
    kinds += [Image.fromarray(patches), Image.open(path), patches, tensor, tensor / 255]
    for kind in kinds:
        assert np.array_equal(load_photo(kind), patches), kind
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        assert np.array_equal(load_photo(file), patches)
        assert np.array_equal(load_photo(raw), patches)


def test_a_file_object_is_read_from_its_start_and_left_where_it_was(patches):
    content = saved(Image.fromarray(patches), "png")
    for place in (0, 7, len(content)):
        stream = io.BytesIO(content)
        stream.seek(place)
        assert np.array_equal(load_photo(stream), patches)
        assert stream.tell() == place and not stream.closed


class Download:
    """Like the answer of a server: it can only be read on, and gives what has come so far."""

    def __init__(self, content):
        self.left = io.BytesIO(content)

    def read(self, size=-1):
        return self.left.read(min(size, 50))


def test_what_cannot_seek_is_read(patches, tmp_path):
    content = saved(Image.fromarray(patches), "png")
    assert np.array_equal(load_photo(Download(content)), patches)
    source, sink = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(sink, content), os.close(sink)))
    writer.start()
    with open(source, "rb", buffering=0) as pipe:
        assert np.array_equal(load_photo(pipe), patches)
    writer.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_named_pipe_is_read(patches, tmp_path):
    content, path = saved(Image.fromarray(patches), "jpg"), tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    assert np.abs(middles(load_photo(path)) - COLORS).max() < 8
    writer.join()


@pytest.mark.parametrize(
    "nothing",
    [None, 3, 2.5, [1, 2], {"image": 1}, pytest.param(object(), id="an object"), np.float32(1)],
    ids=str,
)
def test_anything_else_is_refused_with_the_list(nothing):
    refused(nothing, "a path, bytes, a file", "PIL image", "(H, W, 3 or 4)", "torch tensor (3, H, W)")


def test_files_that_give_nothing_are_refused(tmp_path, patches):
    path = tmp_path / "photo.png"
    Image.fromarray(patches).save(path)
    with path.open("rb") as closed:
        pass
    refused(closed, "photo.png", "closed")
    with path.open("r", encoding="latin-1") as text:
        refused(text, "binary mode")
    refused(io.StringIO("a photo"), "binary mode")
    with (tmp_path / "new.png").open("wb") as sink:
        refused(sink, "new.png")
    refused(io.BytesIO(), "empty")
    refused(b"", "empty")
    image = Image.open(path)
    image.close()
    refused(image, "closed")


def test_paths_that_lead_nowhere_are_refused(tmp_path):
    refused("", "path", "empty")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "missing.png", "no file")
    refused(str(tmp_path / "x\0.png"), "no file")
    refused(tmp_path / ("x" * 400), "check the path")
    refused("https://example.org/me.jpg", "download")
    (tmp_path / "empty.jpg").touch()
    refused(tmp_path / "empty.jpg", "empty")
    refused(tmp_path / "empty.jpg" / "photo.jpg", "no file")


def test_arrays_of_any_layout_are_read(patches):
    wide = patches.astype(np.uint16) * 257
    float64 = patches / 255
    frozen = patches.copy()
    frozen.flags.writeable = False
    layouts = [np.asfortranarray(patches), patches[::-1, ::-1].copy()[::-1, ::-1], frozen]
    layouts += [np.repeat(patches, 2, 1)[:, ::2], patches[..., ::-1].copy()[..., ::-1]]
    layouts += [wide, wide.astype(">u2"), float64, float64.astype(">f4"), float64.astype(np.longdouble)]
    for array in layouts:
        read = load_photo(array)
        assert np.array_equal(read, patches)
        assert read.dtype == np.uint8 and read.flags.c_contiguous and read.flags.writeable
    assert np.array_equal(load_photo(patches[..., 0])[..., 2], patches[..., 0])
    assert np.abs(load_photo(float64.astype(np.float16)).astype(int) - patches).max() <= 1


def test_tensors_of_any_kind_are_read(patches):
    tensor = torch.from_numpy(patches).movedim(-1, 0)
    unit = tensor / 255
    grey = torch.stack([tensor[0]] * 3, -1).numpy()
    with torch.inference_mode():
        inference = unit.clone()
    for same in (unit.double(), unit.clone().requires_grad_(), unit.flip(2).flip(2), inference):
        assert np.array_equal(load_photo(same), patches)
    assert np.array_equal(load_photo(tensor.to(torch.uint16) * 257), patches)
    assert np.abs(load_photo(unit.bfloat16()).astype(int) - patches).max() <= 1
    assert np.array_equal(load_photo(tensor[:1]), grey)
    alpha = torch.ones(1, *tensor.shape[1:])
    alpha[:, :, :30] = 0
    assert load_photo(torch.cat([unit, alpha])).shape == (80, 120, 4)


def test_what_is_no_picture_is_told_how_to_become_one(patches):
    tensor = torch.from_numpy(patches)
    refused(tensor, "permute(2, 0, 1)")
    refused(tensor.movedim(-1, 0)[None], "one of its images")
    refused(tensor.movedim(-1, 0).to("meta"), "meta")
    refused(torch.zeros(3, 80, 80, dtype=torch.complex64), "complex64")
    refused(torch.zeros(3, 80, 80).to_sparse(), "dense")
    refused(torch.zeros(3, 80, 80, dtype=torch.int64), "int64", "uint8")
    refused(torch.full((3, 80, 80), 7.0), "[0, 1]")
    refused(patches.transpose(2, 0, 1), "transpose(1, 2, 0)")
    refused(np.zeros(100), "(H, W, 3)")
    refused(np.zeros((100, 100, 2)), "(H, W, 3)")
    refused(np.full((100, 100, 3), np.nan), "NaN")
    refused(np.zeros((100, 100), int), "uint8")
    refused(np.zeros((100, 100), bool), "uint8")
    refused(np.full((100, 100), "x", object), "uint8")
    refused(np.zeros((0, 0, 3)), "too small")


def test_the_caller_keeps_its_own_state(patches, monkeypatch):
    """Limits, registry, warnings and images are the caller's."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 10)
    Image.init()
    names = "ID", "OPEN", "SAVE", "EXTENSION", "MIME"

    def state():
        registry = [dict.fromkeys(getattr(Image, name)) for name in names]
        limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        return registry, limits, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)

    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "long " * 9, zip=True)
    image = Image.fromarray(patches)
    files = [saved(image, "png", pnginfo=text), saved(image, "heic"), saved(image, "avif")]
    before = state()
    for file in files:
        assert np.abs(middles(load_photo(file)) - COLORS).max() < 8
    assert state() == before
    image.info["note"] = 1
    load_photo(image)
    assert image.info == {"note": 1} and np.array_equal(np.asarray(image), patches)


def test_threads_read_what_one_reads(patches):
    suffixes = ["png", "jpg", "heic", "avif", "tif", "webp"]
    files = [saved(Image.fromarray(np.roll(patches, i, 2)), s) for s in suffixes for i in range(3)] * 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(load_photo, files))
    assert all(np.array_equal(a, load_photo(file)) for a, file in zip(together, files, strict=True))


# --- any format ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*LOSSLESS, *LOSSY])
def test_content_decides_not_the_name(tmp_path, patches, suffix):
    options = {**LOSSLESS, **LOSSY}[suffix]
    for name in ("photo.jpg", "photo.heic", "photo"):
        path = tmp_path / name
        path.write_bytes(saved(Image.fromarray(patches), suffix, **options))
        read = load_photo(path)
        assert read.shape == patches.shape
        assert np.abs(middles(read) - COLORS).max() <= (0 if suffix in LOSSLESS else 3)
        assert is_photo(path)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", *LOSSY])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format_is_upright(patches, suffix, orientation):
    turned = {  # what a camera would have stored
        1: patches,
        2: patches[:, ::-1],
        3: patches[::-1, ::-1],
        4: patches[::-1],
        5: patches.transpose(1, 0, 2),
        6: np.rot90(patches),
        7: patches[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(patches, -1),
    }[orientation]
    image, exif = Image.fromarray(np.ascontiguousarray(turned)), Image.Exif()
    exif[0x0112] = orientation
    options = {**LOSSLESS, **LOSSY}[suffix]
    read = load_photo(saved(image, suffix, exif=exif.tobytes(), **options))
    assert read.shape == patches.shape
    assert np.abs(middles(read) - COLORS).max() <= (0 if suffix in LOSSLESS else 3)


def test_broken_exif_is_no_reason_to_refuse(patches):
    for exif in (
        b"Exif\0\0nonsense",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\x12",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
    ):
        read = load_photo(saved(Image.fromarray(patches), "jpg", exif=exif, **LOSSY["jpg"]))
        assert np.abs(middles(read) - COLORS).max() < 4


def test_modes_are_read(patches):
    grey = Image.fromarray(patches).convert("L")
    shades, bits = np.asarray(grey), np.asarray(grey.convert("1")) * np.uint8(255)
    wide = shades.astype(np.uint16) * 257
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.fromarray(patches), *profiles, outputMode="LAB")
    for name, image, suffix, expected in (
        ("grey", grey, "png", shades),
        ("16 bits", Image.fromarray(wide), "png", shades),
        ("16 bits", Image.fromarray(wide), "tif", shades),
        ("bits", grey.convert("1"), "png", bits),
        ("bits", grey.convert("1"), "tif", bits),
        ("floats", Image.fromarray(shades.astype(np.float32) / 255), "tif", shades),
        ("palette", Image.fromarray(patches).quantize(4), "png", None),
        ("palette", Image.fromarray(patches).quantize(4), "gif", None),
        ("CMYK", Image.fromarray(patches).convert("CMYK"), "tif", None),
        ("Lab", lab, "tif", None),
        ("YCbCr", Image.fromarray(patches).convert("YCbCr"), "jpg", None),
    ):
        for photo in (image, saved(image, suffix)):
            read = load_photo(photo)
            assert read.dtype == np.uint8 and read.shape == patches.shape, name
            if expected is None:
                tolerance = 12 if name == "Lab" else 3  # a step of a* or b* is several of blue
                assert np.abs(middles(read) - COLORS).max() <= tolerance, name
            else:
                assert np.array_equal(read, np.dstack([expected] * 3)), name


def test_sixteen_bits_of_colour_are_read(patches):
    for suffix in (".png", ".tif"):
        _, content = cv2.imencode(suffix, patches[..., ::-1].astype(np.uint16) * 257)
        assert np.abs(load_photo(content.tobytes()).astype(int) - patches).max() <= 1


def test_fewer_bits_in_sixteen_are_no_darkness(patches):
    shades = patches[..., 0]
    for bits in (10, 12):
        few = np.rint(shades * ((2**bits - 1) / 255)).astype(np.uint16)
        few[0, 0] = 2**bits - 1
        for photo in (few, Image.fromarray(few), saved(Image.fromarray(few), "png")):
            assert np.abs(load_photo(photo)[1:, 1:, 0].astype(int) - shades[1:, 1:]).max() <= 1
        wide = np.rint(patches * ((2**bits - 1) / 255)).astype(np.uint16)
        wide[0, 0] = 2**bits - 1
        for suffix in (".png", ".tif"):
            _, content = cv2.imencode(suffix, wide[..., ::-1])
            assert np.abs(load_photo(content.tobytes())[1:, 1:].astype(int) - patches[1:, 1:]).max() <= 1
    assert np.array_equal(load_photo(shades.astype(np.uint16))[..., 0], shades)
    black = Image.new("RGB", (80, 80), (9, 0, 15))
    assert np.array_equal(load_photo(saved(black, "png")), np.asarray(black))
    assert to_eight_bits(np.uint16([[0, 5000]])).max() < 30  # a dark picture stays dark
    assert np.array_equal(to_eight_bits(np.float32([[0, 0.5, 2, np.nan]])), [[0, 64, 255, 0]])


def test_an_animation_is_its_first_frame(patches):
    frames = [Image.fromarray(patches), Image.fromarray(patches[::-1].copy())]
    for suffix in ("gif", "webp", "png", "avif"):
        content = saved(frames[0], suffix, save_all=True, append_images=frames[1:])
        assert sum(1 for _ in ImageSequence.Iterator(Image.open(io.BytesIO(content)))) == 2
        assert np.abs(middles(load_photo(content)) - COLORS).max() < 8, suffix


def test_the_first_of_several_pictures_of_a_phone_is_the_photo(patches):
    """MPO: a JPEG with others behind it, a depth or gain map; or a video behind it, a motion photo."""
    content = saved(Image.fromarray(patches), "mpo", save_all=True, append_images=[Image.new("L", (40, 30))])
    for file in (content, saved(Image.fromarray(patches), "jpg") + b"\0\0\0\x20ftypmp42" + bytes(5000)):
        assert np.abs(middles(load_photo(file)) - COLORS).max() < 8


def test_the_largest_page_of_a_tiff_is_its_picture(patches):
    picture = Image.fromarray(patches)
    thumbnail = Image.fromarray(patches[::-1].copy()).resize((90, 70))
    for pages in ([thumbnail, picture], [picture, thumbnail], [picture, Image.new("RGB", picture.size)]):
        content = saved(pages[0], "tif", save_all=True, append_images=pages[1:])
        assert np.array_equal(load_photo(content), patches)


def test_raw_files_are_not_their_previews(patches):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254], tags[330] = 1, 8  # a reduced picture, with the data hidden below it
    refused(saved(Image.fromarray(patches), "tif", tiffinfo=tags), "raw", "export it")


def test_what_is_no_photo_is_called_by_its_name(tmp_path, patches):
    drawing = saved(Image.fromarray(patches), "eps")
    for what, content in {
        "EPS": drawing,
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(60),
        "EMF": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60),
        "PDF": b"%PDF-1.7\n",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "web page": b"<!DOCTYPE html><title>404</title>",
        "video": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(30),
        "JPEG XL": b"\xff\x0a" + bytes(30),
        "ZIP": b"PK\3\4" + bytes(30),
        "raw": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(30),
        "not an image": b"whatever the name says\n",
    }.items():
        path = tmp_path / "photo.jpg"
        path.write_bytes(content)
        refused(path, str(path), what)
        assert not is_photo(path)


def test_a_kind_that_is_not_read_is_told(patches):
    _, content = cv2.imencode(".tif", patches.astype(np.float32) / 255)
    refused(content.tobytes(), "TIFF", "cannot be read", "export it")


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "gif", "bmp", "jp2", *LOSSY])
def test_damage_is_one_sentence(suffix, patches):
    noise = np.random.default_rng(0).integers(0, 255, (100, 140, 3), np.uint8)
    content = saved(Image.fromarray(noise), suffix)
    refused(content[: len(content) // 2], "damaged or cut short")
    rng = np.random.default_rng(1)
    for _ in range(40):
        broken = bytearray(content)
        for place in rng.integers(0, len(content) if rng.random() < 0.5 else 200, 4):
            broken[place] = rng.integers(256)
        try:
            read = load_photo(bytes(broken))
        except UserError as error:
            assert str(error).endswith(".") and "\n" not in str(error)
        else:
            assert read.dtype == np.uint8 and read.ndim == 3


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path, patches):
    bitmap = bytearray(saved(Image.fromarray(patches), "bmp"))
    bitmap[18:26] = struct.pack("<2i", 100_000, 100_000)
    for content in (
        png_header(60_000, 60_000) + chunk(b"IDAT", zlib.compress(bytes(1000))),
        b"P6 100000 100000 255\n" + bytes(100),
        bytes(bitmap),
    ):
        refused(content, "too large", "GB")
    refused(saved(Image.fromarray(patches).resize((60, 90)), "png"), "too small", "60 x 90")


def test_long_texts_and_profiles_do_not_hide_a_photo(patches):
    """Pillow refuses what is longer than a megabyte, once unpacked."""
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 3_000_000, zip=True)
    text.add_itxt("history", "y" * 3_000_000, zip=True)
    profile = rgb_profile(P3) + bytes(3_000_000)
    profile = struct.pack(">I", len(profile)) + profile[4:]
    content = saved(Image.fromarray(patches), "png", pnginfo=text, icc_profile=profile)
    with pytest.raises(ValueError, match="MAX_TEXT"):
        Image.open(io.BytesIO(content))
    read = middles(load_photo(content))
    assert np.abs(read - in_srgb(COLORS, P3)).max() <= 2
    assert np.abs(read - COLORS).max() > 10


# --- colours -------------------------------------------------------------------------------------

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
WHITE, D50 = (0.3127, 0.3290), (0.9642, 1.0, 0.8249)


def xyz_of(primaries) -> np.ndarray:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (*primaries, WHITE)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def in_srgb(values: np.ndarray, primaries, gamma: float | None = None) -> np.ndarray:
    """What 8-bit values of other primaries, and of sRGB's curve or another gamma, are in 8-bit sRGB."""
    v = values / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) if gamma is None else v**gamma
    linear = (linear @ xyz_of(primaries).T @ np.linalg.inv(xyz_of(SRGB)).T).clip(0, 1)
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def icc(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 4.2, of a display or a printer."""
    table, body, place = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">2I", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI", place + len(body), b"test", 0x04200000) + kind + space + connection
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(v * 65536) for v in D50)) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def xyz_tag(values) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65536) for v in values))


SRGB_CURVE = b"para" + bytes(4) + struct.pack(">2H5i", 3, 0, *(round(v * 65536) for v in (
    2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))  # fmt: skip


def rgb_profile(primaries) -> bytes:
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    cones = bradford @ np.array([D50, [WHITE[0] / WHITE[1], 1, (1 - sum(WHITE)) / WHITE[1]]]).T
    adapted = np.linalg.inv(bradford) @ np.diag(cones[:, 0] / cones[:, 1]) @ bradford @ xyz_of(primaries)
    tags = {b"wtpt": xyz_tag(D50)}
    for channel, column in zip("rgb", adapted.T, strict=True):
        tags[f"{channel}XYZ".encode()], tags[f"{channel}TRC".encode()] = xyz_tag(column), SRGB_CURVE
    return icc(b"RGB ", b"XYZ ", tags)


GREY_PROFILE = icc(  # linear light
    b"GRAY", b"XYZ ", {b"wtpt": xyz_tag(D50), b"kTRC": b"curv" + bytes(8)}
)


def cmyk_profile() -> bytes:
    """Inks that only darken, each by its own amount of L*: 10, 20, 40 and 100."""
    ramp = bytes(range(256))
    light = [
        max(0, 100 - 10 * (i >> 3 & 1) - 20 * (i >> 2 & 1) - 40 * (i >> 1 & 1) - 100 * (i & 1))
        for i in range(16)
    ]
    grid = b"".join(bytes([round(value * 2.55), 128, 128]) for value in light)
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + grid + ramp * 3
    return icc(b"CMYK", b"Lab ", {b"A2B0": lut, b"wtpt": xyz_tag(D50)})


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", *LOSSY])
def test_display_p3_becomes_srgb(patches, suffix):
    options = {**LOSSLESS, **LOSSY}[suffix]
    content = saved(Image.fromarray(patches), suffix, icc_profile=rgb_profile(P3), **options)
    tolerance = 2 if suffix in LOSSLESS else 5
    assert np.abs(middles(load_photo(content)) - in_srgb(COLORS, P3)).max() <= tolerance
    assert np.abs(COLORS - in_srgb(COLORS, P3)).max() > 20


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "avif", "heic"])
def test_profiles_hold_beside_alpha(patches, suffix):
    alpha = np.full(patches.shape[:2], 255, np.uint8)
    alpha[:, :20] = 0
    image = Image.fromarray(np.dstack([patches, alpha]))
    options = {**LOSSLESS, **LOSSY}[suffix]
    read = load_photo(saved(image, suffix, icc_profile=rgb_profile(P3), **options))
    assert read.shape == (80, 120, 4)
    assert np.abs(read[..., 3].astype(int) - alpha).mean() < 2
    assert np.abs(middles(read)[..., :3] - in_srgb(COLORS, P3)).max() <= (2 if suffix in LOSSLESS else 5)


def test_profiles_hold_in_palettes_and_greys(patches):
    palette = Image.fromarray(patches).quantize(4)
    content = saved(palette, "png", icc_profile=rgb_profile(P3))
    assert np.abs(middles(load_photo(content)) - in_srgb(COLORS, P3)).max() <= 3
    transparent = palette.copy()
    transparent.putpalette([*palette.getpalette()[:12], 9, 9, 9, 9, 9, 9])
    transparent.paste(5, (0, 0, 20, 80))
    read = load_photo(saved(transparent, "png", icc_profile=rgb_profile(P3), transparency=5))
    assert read.shape == (80, 120, 4)
    assert np.abs(middles(read)[..., :3] - in_srgb(COLORS, P3)).max() <= 3
    grey = Image.fromarray(patches).convert("L")
    expected = in_srgb(np.dstack([np.asarray(grey)] * 3), SRGB, gamma=1.0)
    for image in (grey, Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)):
        assert np.abs(load_photo(saved(image, "png", icc_profile=GREY_PROFILE)) - expected).max() <= 2
    with_alpha = grey.convert("LA")
    with_alpha.putalpha(Image.fromarray(np.repeat(np.uint8([[0] * 20 + [255] * 100]), 80, 0)))
    read = load_photo(saved(with_alpha, "png", icc_profile=GREY_PROFILE))
    assert np.abs(read[..., :3] - expected)[:, 20:].max() <= 2 and read.shape[2] == 4
    same = load_photo(saved(grey, "png", icc_profile=rgb_profile(SRGB)))
    assert np.abs(same[..., 0].astype(int) - np.asarray(grey)).max() <= 1


def test_inks_are_converted_by_their_profile():
    inks = np.zeros((80, 120, 4), np.uint8)
    inks[:, 60:, 0], inks[40:, :, 2] = 255, 255  # paper, cyan; yellow, both
    lightness = np.array([[100, 90], [60, 50]])
    linear = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    for suffix in ("tif", "jpg"):
        content = saved(Image.fromarray(inks, "CMYK"), suffix, icc_profile=cmyk_profile())
        assert np.abs(middles(load_photo(content)) - expected[..., None]).max() <= 3


def test_a_broken_or_foreign_profile_is_ignored(patches):
    image = Image.fromarray(patches)
    for profile in (b"no profile at all", rgb_profile(P3)[:200], GREY_PROFILE, cmyk_profile()):
        assert np.array_equal(load_photo(saved(image, "png", icc_profile=profile)), patches)


def test_code_points_stand_for_a_profile(patches):
    image, expected = Image.fromarray(patches), in_srgb(COLORS, P3)
    points = PngImagePlugin.PngInfo()
    points.add(b"cICP", bytes([12, 13, 0, 1]))
    assert np.abs(middles(load_photo(saved(image, "png", pnginfo=points))) - expected).max() <= 2
    content = saved(image, "heic", quality=95, color_primaries=12, transfer_characteristics=13)
    for photo in (content, pillow_heif.HeifImageFile(io.BytesIO(content))):
        assert np.abs(middles(load_photo(photo)) - expected).max() <= 5
    content = saved(image, "avif", quality=95)
    at = content.index(b"colrnclx") + 8
    content = content[:at] + struct.pack(">2H", 12, 13) + content[at + 4 :]
    assert np.abs(middles(load_photo(content)) - expected).max() <= 5


def test_light_that_exceeds_white_is_cut_not_wrapped(patches):
    """PQ: 203 nits, a signal of 0.58, are a diffuse white."""
    shades = np.repeat(np.linspace(0, 255, 120).astype(np.uint8)[None, :, None], 3, 2).repeat(80, 0)
    for transfer, white in ((16, 0.5807), (18, 0.75)):
        points = PngImagePlugin.PngInfo()
        points.add(b"cICP", bytes([9, transfer, 0, 1]))
        row = load_photo(saved(Image.fromarray(shades), "png", pnginfo=points))[0, :, 0].astype(int)
        assert (np.diff(row) >= 0).all() and row[0] == 0 and row[-1] == 255
        assert abs(np.argmax(row >= 254) / 119 - white) < 0.02


def test_gamma_of_a_png_is_heeded(patches):
    for gamma, profiled in ((1.0, False), (1.8, False), (1.0, True)):
        info = PngImagePlugin.PngInfo()
        info.add(b"gAMA", struct.pack(">I", round(100_000 / gamma)))
        options = {"icc_profile": rgb_profile(P3)} if profiled else {}
        read = middles(load_photo(saved(Image.fromarray(patches), "png", pnginfo=info, **options)))
        expected = in_srgb(COLORS, P3) if profiled else in_srgb(COLORS, SRGB, gamma)
        assert np.abs(read - expected).max() <= 2


# --- large photos --------------------------------------------------------------------------------


def test_large_photos_are_shrunk_whatever_holds_them(patches, monkeypatch):
    """Their colours are the means of the pixels that become one."""
    monkeypatch.setattr(decoding, "MAX_PIXELS", patches[..., 0].size // 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.rot90(patches).copy()
    image, small = Image.fromarray(turned), patches[::2, ::2]
    sideways = exif.tobytes()
    files = [
        saved(image, suffix, exif=sideways, **options) for suffix, options in {**LOSSY, "png": {}}.items()
    ]
    files += [saved(image.quantize(4), "png", exif=sideways), saved(Image.fromarray(patches), "jp2")]
    files += [saved(Image.fromarray(patches).convert("CMYK"), "tif")]
    photos = [*files, patches, Image.fromarray(patches), torch.from_numpy(patches).movedim(-1, 0)]
    for photo in photos:
        read = load_photo(photo)
        assert read.shape == small.shape
        assert np.abs(middles(read) - COLORS).max() < 8
    grey = Image.fromarray(patches[..., 0].astype(np.uint16) * 257)
    assert np.array_equal(load_photo(grey)[..., 0], small[..., 0])
    assert load_photo(patches[..., 0]).shape == small.shape
    half = np.dstack([patches, np.full(patches.shape[:2], 255, np.uint8)])
    half[:, :61, 3] = 0
    half[:, :61, :3] = 0
    assert (
        np.abs(
            load_photo(saved(Image.fromarray(half), "png"))[:, 31, :3].astype(int) - half[::2, 62, :3]
        ).max()
        < 2
    )


def test_the_limit_is_memory(patches, monkeypatch):
    image = Image.fromarray(patches)
    needed = {"png": 4, "webp": 16, "heic": 8}
    for suffix, each in needed.items():
        monkeypatch.setattr(decoding, "MAX_MEMORY", each * 120 * 80 - 1)
        refused(saved(image, suffix), "too large", "120 x 80")
        monkeypatch.setattr(decoding, "MAX_MEMORY", each * 120 * 80)
        assert load_photo(saved(image, suffix)).shape == patches.shape
    monkeypatch.setattr(decoding, "MAX_PIXELS", 120 * 80 // 4)
    monkeypatch.setattr(decoding, "MAX_MEMORY", 120 * 80)
    assert load_photo(saved(image, "jpg")).shape == (40, 60, 3)  # a quarter of the pixels is decoded
    refused(saved(image, "jpg", progressive=True), "too large")  # all its coefficients are


PEAK = """
import resource, sys
from facelift.portrait import load_photo
unit = 1024 if sys.platform == "linux" else 2**20
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
load_photo(sys.argv[1])  # warms up: what imports take is not the photo's
before = peak()
print(*load_photo(sys.argv[2]).shape, peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is asked of POSIX")
@pytest.mark.parametrize(("suffix", "megabytes"), [("jpg", 300), ("png", 650)])
def test_108_megapixels_in_bounded_memory(tmp_path, suffix, megabytes):
    small, large = tmp_path / f"small.{suffix}", tmp_path / f"large.{suffix}"
    Image.new("RGB", (100, 100)).save(small)
    if suffix == "jpg":
        Image.new("RGB", (12_000, 9_000), (90, 60, 30)).save(large)
    else:
        packer, row = zlib.compressobj(1), b"\0" + bytes([90, 60, 30]) * 12_000
        packed = b"".join([*(packer.compress(row) for _ in range(9_000)), packer.flush()])
        large.write_bytes(png_header(12_000, 9_000) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    told = subprocess.run(
        [sys.executable, "-c", PEAK, small, large],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert told[:3] == ["4500", "6000", "3"]
    assert float(told[3]) < megabytes


# --- alpha ---------------------------------------------------------------------------------------


def shapes(side: int = 300) -> dict[str, np.ndarray]:
    """Alpha channels that only frame a photo."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    radius = np.hypot(x, y)
    corners = np.hypot((np.abs(x) - 0.8).clip(0), (np.abs(y) - 0.8).clip(0)) < 0.2
    shadow = np.full((side, side), 0, np.uint8)
    shadow[20:-20, 20:-20] = 255
    return {
        "rounded corners": corners * 255,
        "circle": (radius < 1) * 255,
        "small circle": (radius < 0.4) * 255,
        "ellipse": (np.hypot(x / 0.6, y / 0.9) < 1) * 255,
        "squircle": (x**4 + y**4 < 1) * 255,
        "hexagon": (np.maximum(np.abs(y), (np.abs(y) + np.sqrt(3) * np.abs(x)) / 2) < 0.86) * 255,
        "turned picture": (np.maximum(np.abs(0.97 * x + 0.25 * y), np.abs(0.97 * y - 0.25 * x)) < 0.8) * 255,
        "vignette": 255 * (1.6 - radius).clip(0, 1),
        "soft circle": 255 * np.exp(-((1.4 * radius) ** 4)),
        "drop shadow": np.maximum(shadow, cv2.GaussianBlur(shadow, (0, 0), 6) // 2),
        "margin": shadow,
        "half": (x < 0) * 255,
    }


def silhouette(side: int = 300) -> np.ndarray:
    """Head, neck and shoulders."""
    alpha = np.zeros((side, side), np.uint8)
    cv2.ellipse(alpha, (side // 2, side * 4 // 10), (side // 6, side * 2 // 9), 0, 0, 360, 255, -1)
    cv2.rectangle(alpha, (side * 43 // 100, side // 2), (side * 57 // 100, side * 8 // 10), 255, -1)
    cv2.ellipse(alpha, (side // 2, side), (side * 4 // 10, side * 3 // 10), 0, 0, 360, 255, -1)
    return alpha


@pytest.mark.parametrize("side", [150, 300, 1100])
def test_frames_are_no_mattes_and_silhouettes_are(side):
    for name, alpha in shapes(side).items():
        assert not is_matte(np.asarray(alpha, np.uint8)), name
    assert is_matte(silhouette(side))
    assert is_matte(silhouette(side) // 2), "a translucent person is one too"
    assert not is_matte(np.full((side, side), 255, np.uint8))


def test_alpha_that_hides_nothing_is_dropped(patches):
    rng = np.random.default_rng(0)
    h, w = patches.shape[:2]
    dot = np.full((h, w), 255)
    dot[:3, :3] = 0
    for alpha in (
        np.full((h, w), 255),
        np.full((h, w), 90),
        np.zeros((h, w)),
        rng.integers(200, 255, (h, w)),
        dot,
    ):
        assert np.array_equal(load_photo(np.dstack([patches, alpha.astype(np.uint8)])), patches)


def test_transparent_pixels_take_the_colour_of_their_neighbours(patches):
    rgb, alpha = patches.astype(np.float32), np.ones(patches.shape[:2], np.float32)
    alpha[:30, :40] = 0
    junk = np.where(alpha[..., None] > 0, rgb, 777)
    assert np.array_equal(fill_transparent(junk, alpha), rgb)


def test_white_shows_through_in_every_row():
    image = np.random.default_rng(0).integers(0, 256, (600, 70, 4), np.uint8)
    alpha = image[..., 3:] / 255
    expected = image[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(composite_rgba_on_white(image) - expected).max() <= 0.51


def disc_rgba(side: int = 128) -> np.ndarray:
    """A red disc on nothing: transparent pixels are black."""
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    inside = np.hypot(x, y) < side / 3
    return np.dstack([200 * inside, 40 * inside, 30 * inside, 255 * inside]).astype(np.uint8)


def test_transparency_is_kept():
    rgba = disc_rgba()
    image, empty = Image.fromarray(rgba), Image.new("RGBA", (128, 128))
    palette = Image.fromarray(rgba[..., 0] // 200)  # index 0 around the disc, 1 in it
    palette.putpalette([0, 0, 0, 200, 40, 30])
    keyed = Image.fromarray(rgba[..., :3])
    for photo in (
        image,
        image.convert("RGBa"),
        image.convert("LA"),
        image.convert("LA").convert("La"),
        saved(image, "png"),
        saved(image, "tif"),
        saved(image, "webp", lossless=True),
        saved(image, "heic", quality=-1),
        saved(image, "avif", quality=100),
        saved(image.convert("LA"), "png"),
        saved(palette, "png", transparency=0),
        saved(keyed, "png", transparency=(0, 0, 0)),
        saved(image, "gif", save_all=True, append_images=[empty]),
    ):
        read = load_photo(photo)
        assert read.shape == (128, 128, 4)
        assert np.abs(read[..., 3].astype(int) - rgba[..., 3]).max() <= 2
        assert read[64, 64, 0] > 50


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    with Image.open(PHOTO) as image:
        return np.asarray(image)


def test_a_circular_avatar_loses_its_background_too(person):
    """As the same photo without the circle does; beyond the circle nothing is invented."""
    y, x = np.mgrid[:512, :512]
    circle = np.uint8(255) * (np.hypot(x - 225, y - 200) < 200)
    hidden = np.where(circle[..., None] > 0, person, np.uint8([0, 255, 0]))
    avatar, plain = prepare_portrait(np.dstack([hidden, circle])), prepare_portrait(person)
    bare = prepare_portrait(np.dstack([hidden, circle]), matting="none")
    assert (avatar.alpha <= bare.alpha + 1e-6).all()
    inside = bare.alpha[0] > 0.99
    assert (avatar.alpha - plain.alpha)[0][inside].abs().mean() < 0.05
    assert avatar.alpha[0][inside].mean() < 0.8, "the background within the circle is gone"
    green = avatar.image[1] - avatar.image[[0, 2]].amax(0)
    assert green.max() < 0.3


def test_a_silhouette_is_the_matte(person):
    """Not looked for again: what the owner of the photo cut out stays as it is."""
    plain = prepare_portrait(person)
    cut = np.zeros((512, 512), np.uint8)
    cv2.ellipse(cut, (225, 130), (85, 110), 0, 0, 360, 255, -1)
    cv2.ellipse(cut, (225, 512), (220, 240), 0, 0, 360, 255, -1)
    hidden = np.where(cut[..., None] > 0, person, np.uint8([0, 255, 0]))  # junk under transparent pixels
    portrait = prepare_portrait(np.dstack([hidden, cut]))
    kept = prepare_portrait(np.dstack([hidden, cut]), matting="none")
    assert torch.equal(portrait.alpha[:, :480], kept.alpha[:, :480])
    assert (portrait.alpha - plain.alpha).abs().mean() > 0.02
    green = portrait.image[1] - portrait.image[[0, 2]].amax(0)
    assert green.max() < 0.3  # no seam of the junk


@pytest.mark.parametrize("content", [b"x", b"MM", b"\x89PN"])
def test_a_file_of_a_few_bytes_is_no_image(content):
    with pytest.raises(UserError, match="not an image"):
        load_photo(content)

"""A picture file becomes pixels: by its content, whatever its name says, and in bounded memory.

Pillow's decoders are called one by one rather than through `Image.open`: its limits and its registry belong
to the whole process, and the caller may have set them.
"""

import io
import math
import zlib
from collections.abc import Callable
from typing import IO, TypeVar

import cv2
import numpy as np
from PIL import Image, ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.TiffImagePlugin import TiffImageFile
from pillow_heif import HeifImageFile

from facelift.errors import UserError
from facelift.portrait.color import read_code_points, to_eight_bits

MAX_MEMORY = 2 << 30  # bytes that decoding may take: 268 megapixels of HEIC, 536 of PNG, any number of JPEG
MAX_PIXELS = 50_000_000  # of more, squares of 2 x 2, 3 x 3, ... pixels become one: no head needs them
MIN_SIDE = 64  # pixels; a face in less has nothing to reconstruct
MAX_PAGES = 64  # of a TIFF, among which its picture is looked for
MAX_PROFILE_BYTES = 1 << 25  # of a colour profile

R = TypeVar("R")

FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "PPM", "PSD"),
    *("ICO", "ICNS", "QOI", "SGI", "PCX", "DDS", "SUN", "TGA"),
)
# Peak bytes per pixel, measured: the picture, and what its decoder holds besides.
BYTES_PER_PIXEL = {"JPEG": 4, "MPO": 4, "PNG": 4, "HEIF": 8, "AVIF": 10, "WEBP": 16, "JPEG2000": 20}
OTHER_BYTES_PER_PIXEL = 6

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
RAW_DATA, DRAWING, VIDEO = "a camera's raw data", "a drawing", "a video"
OTHER_SIGNATURES = (  # offset, magic bytes in lower case, kind of file
    (0, b"%PDF", "a PDF"),
    (0, b"%!PS", DRAWING + " (EPS)"),
    (0, b"\xc5\xd0\xd3\xc6", DRAWING + " (EPS)"),
    (0, b"\xd7\xcd\xc6\x9a", DRAWING + " (WMF)"),
    (0, b"\x01\x00\x09\x00", DRAWING + " (WMF)"),
    (40, b" EMF", DRAWING + " (EMF)"),
    (0, b"<svg", DRAWING + " (SVG)"),
    (0, b"<?xml", DRAWING + " or a text (XML)"),
    (0, b"<!doctype html", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (4, b"jxl ", "a JPEG XL"),
    (0, b"fujifilmccd-raw", RAW_DATA),
    (0, b"iiro", RAW_DATA),
    (0, b"iiu\0", RAW_DATA),
    (4, b"ftypcrx", RAW_DATA),
    (4, b"ftyp", VIDEO),
    (4, b"moov", VIDEO),
    (0, b"\x1aE\xdf\xa3", VIDEO),
    (8, b"avi ", VIDEO),
    (0, b"pk\x03\x04", "an archive (ZIP)"),
    (0, b"gimp xcf", "a GIMP project"),
)
UNSUPPORTED_PHRASES = (
    "unsupported",
    "not supported",
    "unknown pixel mode",
    "no codec",
    "not installed",
    "unknown data",
)


def sniff(stream: IO[bytes]) -> list[str]:
    """The formats that a file may have by its first bytes: none, one or, rarely, several to try in turn."""
    stream.seek(0)
    start = stream.read(256)
    if start[4:8] == b"ftyp":  # the first brand is often a general one: the others tell the codec
        end = min(int.from_bytes(start[:4]), len(start))
        brands = {start[i : i + 4] for i in range(8, end, 4)}
        return ["AVIF"] if brands & {b"avif", b"avis"} else ["HEIF"] if brands & HEIF_BRANDS else []
    Image.init()
    found = []
    for name in FORMATS:
        accepts = Image.OPEN[name][1] if name in Image.OPEN else None
        if accepts is not None and accepts(start[:16].ljust(16, b"\0")):
            found.append(name)
    # TGA alone has no mark at its start; 1, 2 and 3, and these with 8, are its kinds of picture.
    tga = len(start) > 18 and start[1] in (0, 1) and start[2] in (1, 2, 3, 9, 10, 11)
    return found or (["TGA"] if tga else [])


def decode(stream: IO[bytes], name: str) -> Image.Image:
    """The picture in a file, its pixels loaded: the first of an animation, the largest page of a TIFF.

    Args:
        stream: seekable.
        name: what messages call it.

    Returns:
        A PIL image of any mode; smaller than in the file where the decoder can do so and there are more than
        `MAX_PIXELS`.

    Raises:
        UserError: no picture, a damaged one, an unsupported kind, or one that takes more than `MAX_MEMORY`.
    """
    return _in_some_format(_read, stream, name)


def picture_size(stream: IO[bytes], name: str) -> tuple[int, int]:
    """Width and height of the picture in a file, as it says itself: no pixel is decoded.

    Args:
        stream: seekable.
        name: what messages call it.

    Raises:
        UserError: as `decode`, as far as the beginning of the file tells.
    """
    return _in_some_format(_measure, stream, name)


def _in_some_format(action: Callable[[str, IO[bytes], str], R], stream: IO[bytes], name: str) -> R:
    formats = sniff(stream)
    if not formats:
        raise UserError(_not_a_photo(stream, name))
    reason, cause = "", None
    for format in formats:
        try:
            return action(format, stream, name)
        except (UserError, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise UserError(f"{name} is too large: scale it down.") from error
        except Exception as error:  # decoders raise whatever they like about damaged data
            reason, cause = " ".join(str(error).split()), error
    if format == "TGA":
        raise UserError(_not_a_photo(stream, name)) from cause
    if any(word in reason.lower() for word in UNSUPPORTED_PHRASES):
        message = f"{name} is a {format} of a kind that cannot be read ({reason}): export it as JPEG or PNG."
    else:
        message = f"{name} is damaged or cut short: save or download the photo again."
    raise UserError(message) from cause


def check_size(width: int, height: int, name: str) -> None:
    """Refuses what is too small to show a face.

    Raises:
        UserError: a side below `MIN_SIDE`.
    """
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"{name} is too small ({width} x {height}): use a photo of at least {MIN_SIDE} pixels a side."
        )


def shrink_factor(width: int, height: int) -> int:
    """By how many times, a whole number, the sides exceed those of `MAX_PIXELS`; 1 if they do not."""
    return max(1, math.ceil(math.sqrt(width * height / MAX_PIXELS)))


def _read(format: str, stream: IO[bytes], name: str) -> Image.Image:
    try:
        return _with_all_bits(_load(_open(format, stream), name), stream)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
    lean, profile = _without_texts(stream)
    image = _with_all_bits(_load(_open(format, lean), name), lean)
    image.info["icc_profile"] = profile
    return image


def _measure(format: str, stream: IO[bytes], name: str) -> tuple[int, int]:
    try:
        return _open(format, stream).size
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
    return _open(format, _without_texts(stream)[0]).size


def _open(format: str, stream: IO[bytes]) -> ImageFile.ImageFile:
    stream.seek(0)
    start = stream.read(1 << 12)
    stream.seek(0)
    if format == "HEIF":
        return HeifImageFile(stream)
    Image.init()
    if format not in Image.OPEN:
        raise OSError(f"{format} is not supported by this Pillow")
    image = Image.OPEN[format][0](stream, "")
    if isinstance(image, TiffImageFile):
        _seek_largest_page(image)
    if format in ("PNG", "AVIF"):
        image.info["nclx_profile"] = read_code_points(start)
    return image


def _load(image: ImageFile.ImageFile, name: str) -> Image.Image:
    width, height = image.size
    check_size(width, height, name)
    if isinstance(image, TiffImageFile) and _is_raw(image):
        raise UserError(f"{name} is {RAW_DATA}, not a photo: export it as JPEG or PNG.")
    factor, coefficients = shrink_factor(width, height), 0
    pixels = width * height
    if isinstance(image, Jpeg2KImageFile):
        halvings = factor.bit_length() - 1
        image.reduce = halvings  # type: ignore[method-assign, assignment]
        pixels //= 4**halvings
    elif factor > 1 and image.draft(image.mode, (width // factor, height // factor)):
        if image.info.get("progressive"):  # every coefficient is kept until the last scan
            coefficients = 2 * len(image.getbands()) * pixels
        pixels = image.width * image.height
    needed = BYTES_PER_PIXEL.get(image.format or "", OTHER_BYTES_PER_PIXEL) * pixels + coefficients
    if needed > MAX_MEMORY:
        raise UserError(
            f"{name} is too large ({width} x {height}): reading it takes {needed / 1e9:.1f} GB of memory, "
            f"and {MAX_MEMORY / 1e9:.1f} GB is the most; scale it down."
        )
    image.load()
    return image


def _with_all_bits(image: Image.Image, stream: IO[bytes]) -> Image.Image:
    """Of 12 bits stored in 16, as PNG and TIFF have them, Pillow keeps 4: OpenCV reads all."""
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA") or image.tell() > 0:
        return image
    if np.max(image.getextrema()[:3]) > 15:
        return image
    stream.seek(0)
    wide = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if wide is None or wide.dtype != np.uint16 or wide.ndim != 3 or wide.shape[1::-1] != image.size:
        return image
    colors = Image.fromarray(to_eight_bits(np.ascontiguousarray(wide[..., 2::-1])))
    if image.mode == "RGBA":
        colors.putalpha(image.getchannel("A"))
    colors.info = image.info
    return colors


def _seek_largest_page(image: TiffImageFile) -> None:
    """Seeks the largest page: the first one may be a thumbnail."""
    sizes = []
    for page in range(MAX_PAGES):
        try:
            image.seek(page)
        except Exception:  # the end, or a damaged page
            break
        sizes.append(image.width * image.height)
    image.seek(sizes.index(max(sizes)))


def _is_raw(image: TiffImageFile) -> bool:
    """Raw files are TIFFs whose pages are previews."""
    tags = image.tag_v2
    preview = bool(tags.get(254, 0) & 1) and 330 in tags  # a reduced picture, and one hidden below it
    return preview or 50706 in tags  # DNG's version


def _without_texts(stream: IO[bytes]) -> tuple[IO[bytes], bytes | None]:
    """The same PNG without texts and profile, which Pillow refuses beyond a megabyte; and the profile."""
    stream.seek(0)
    lean, profile = io.BytesIO(), None
    lean.write(stream.read(8))
    while len(head := stream.read(8)) == 8:
        body = stream.read(int.from_bytes(head[:4]) + 4)  # with its checksum
        if head[4:] == b"iCCP":
            packed = body[body.index(b"\0") + 2 : -4]
            profile = zlib.decompressobj().decompress(packed, MAX_PROFILE_BYTES)
        elif head[4:] not in (b"tEXt", b"zTXt", b"iTXt"):
            lean.write(head + body)
    return lean, profile


def _not_a_photo(stream: IO[bytes], name: str) -> str:
    stream.seek(0)
    start = stream.read(256).lower().removeprefix(b"\xef\xbb\xbf")
    for offset, mark, what in OTHER_SIGNATURES:
        if start[offset:].startswith(mark.lower()):
            advice = "take a still of it" if what == VIDEO else "export it as JPEG or PNG"
            return f"{name} is {what}, not a photo: {advice}."
    return f"{name} is not an image that can be read: use a JPEG, PNG, HEIC or WebP photo."

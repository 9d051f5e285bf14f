"""Whatever a user has as a photo becomes one plain array: upright, 8 bit, sRGB, RGB or RGBA."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facelift.errors import UserError
from facelift.portrait.alpha import hides_something
from facelift.portrait.color import to_eight_bits, to_srgb
from facelift.portrait.decode import MAX_MEMORY, check_size, decode, shrink_factor, sniff

Photo = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | Tensor

PHOTO_TYPES = (
    "a path, bytes, a file opened in binary mode, a PIL image, a NumPy array (H, W, 3 or 4), or a torch "
    "tensor (3, H, W)"
)
EXIF_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_photo(photo: Photo) -> np.ndarray:
    """Reads a photo of any kind.

    Args:
        photo: a path; a file's content as bytes; a file object opened in binary mode, which is read from its
            start and left where it was; a PIL image of any mode; an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)`
            or `(H, W, 4)`, or a tensor `(1, H, W)`, `(3, H, W)` or `(4, H, W)` on any device, uint8, uint16,
            or float in [0, 1]. The channels are red, green and blue in this order, not OpenCV's BGR, and then
            straight alpha. A file's content decides what it is, never its name: JPEG, PNG, HEIC, AVIF, WebP,
            GIF, TIFF, BMP, or another format of `facelift.portrait.decode`.

    Returns:
        uint8 `(H, W, 3)`, sRGB, rotated as its EXIF orientation says; `(H, W, 4)` with straight (not
        premultiplied) alpha if the photo has an alpha channel that hides something. The first frame of an
        animation, the largest page of a TIFF. Photos of more than 50 megapixels are shrunk by 2, 3, ...

    Raises:
        UserError: no photo, unreadable, too small, or too large for a bounded share of memory.
    """
    if isinstance(photo, Tensor):
        image = _from_array(_from_tensor(photo))
    elif isinstance(photo, np.ndarray):
        image = _from_array(photo)
    elif isinstance(photo, Image.Image):
        check_size(*photo.size, "The image")
        image = _from_image(photo, "The image")
    else:
        name = photo_name(photo, "The image")
        with _opened(photo, name) as stream:
            image = _from_image(decode(stream, name), name)
    if image.shape[2] == 4 and not hides_something(image[..., 3]):
        image = image[..., :3]
    return np.require(image, requirements=["C", "W"])


def photo_name(photo: Photo, nameless: str = "the image") -> str:
    """What messages call a photo: its path, if it has one."""
    name = photo if isinstance(photo, str | os.PathLike) else getattr(photo, "name", None)
    return os.fsdecode(name) if isinstance(name, str | os.PathLike) else nameless


def is_photo(path: Path) -> bool:
    """Whether a file begins as the pictures do that can be read."""
    try:
        with path.open("rb") as stream:
            return bool(sniff(stream))
    except OSError:
        return False


# --- files ---------------------------------------------------------------------------------------


@contextmanager
def _opened(photo: Any, name: str) -> Iterator[IO[bytes]]:
    """A seekable stream of a path, of bytes or of a file object."""
    if isinstance(photo, bytes | bytearray | memoryview):
        yield _not_empty(io.BytesIO(photo), name)
    elif isinstance(photo, str | os.PathLike):
        with _open_path(photo, name) as file:
            yield _not_empty(_seekable(file, name), name)
    elif hasattr(photo, "read"):
        if getattr(photo, "closed", False):
            raise UserError(f"{name} is a closed file: pass it before you close it.")
        stream = _seekable(photo, name)
        place = stream.tell()
        try:
            yield _not_empty(stream, name)
        finally:
            stream.seek(place)
    else:
        raise UserError(f"A {type(photo).__name__} is no photo: pass {PHOTO_TYPES}.")


def _open_path(photo: str | os.PathLike[str], name: str) -> IO[bytes]:
    if not name:
        raise UserError("The path of the photo is empty: name a photo.")
    if name.startswith(("http://", "https://")):
        raise UserError(f"{name} is an address: download the photo, and pass the file.")
    try:
        return Path(name).open("rb")
    except IsADirectoryError as error:
        raise UserError(f"{name} is a folder: name one photo in it.") from error
    except PermissionError as error:
        if Path(name).is_dir():  # as Windows says it
            raise UserError(f"{name} is a folder: name one photo in it.") from error
        raise UserError(f"{name} may not be read: give yourself permission to read it.") from error
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise UserError(f"There is no file {name}: check the path.") from error
    except OSError as error:
        raise UserError(f"{name} cannot be opened ({error.strerror}): check the path.") from error


def _seekable(file: Any, name: str) -> IO[bytes]:
    """The file itself, or, of a pipe or a download, all that comes out of it."""
    try:
        if file.seekable():
            file.seek(file.tell())
            if isinstance(file.read(0), bytes):
                return file
    except (AttributeError, OSError):
        pass
    content = io.BytesIO()
    while content.tell() <= MAX_MEMORY:
        try:
            part = file.read(1 << 20)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{name} cannot be read ({error}): pass {PHOTO_TYPES}.") from error
        if not isinstance(part, bytes | bytearray):
            raise UserError(f"{name} gives no bytes: open the file in binary mode, open(path, 'rb').")
        if not part:
            return content
        content.write(part)
    raise UserError(f"{name} is too large: {MAX_MEMORY / 1e9:.1f} GB is the most.")


def _not_empty(stream: IO[bytes], name: str) -> IO[bytes]:
    stream.seek(0)
    try:
        start = stream.read(1)
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror or error}): check it.") from error
    if not start:
        raise UserError(f"{name} is empty: save or download the photo again.")
    return stream


# --- pictures ------------------------------------------------------------------------------------


def _from_image(image: Image.Image, name: str) -> np.ndarray:
    try:
        image.load()  # which may change the mode
        image = _plain(image)
        factor = shrink_factor(*image.size)
        if factor > 1:
            image = image.reduce(factor)
        return np.array(to_srgb(_upright(image)))
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # a caller's image that is not loaded yet
        raise UserError(f"{name} is damaged, or was closed before it was read ({error}).") from error


def _plain(image: Image.Image) -> Image.Image:
    """In a mode that can be shrunk and converted: L, LA, RGB, RGBA, CMYK or LAB."""
    mode, transparent = image.mode, image.has_transparency_data
    if mode.startswith("I") or mode == "F":
        plain = Image.fromarray(to_eight_bits(np.asarray(image)))
        plain.info = dict(image.info)
        return plain
    if mode in ("LA", "La"):
        return image.convert("LA")
    if transparent:
        return image.convert("RGBA")
    if mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = EXIF_TRANSPOSES.get(image.getexif().get(0x0112, 1))
    except Exception:  # what is no EXIF says nothing about the picture
        orientation = None
    return image if orientation is None else image.transpose(orientation)


def _from_tensor(tensor: Tensor) -> np.ndarray:
    shape = tuple(tensor.shape)
    if tensor.ndim != 3 or shape[0] not in (1, 3, 4):
        advice = "pass (3, H, W)"
        if tensor.ndim == 3 and shape[2] in (1, 3, 4):
            advice = "channels come first, so pass tensor.permute(2, 0, 1)"
        elif tensor.ndim == 4:
            advice = "pass one of its images, (3, H, W)"
        raise UserError(f"A tensor of shape {shape} is no photo: {advice}.")
    if tensor.is_meta or tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
        raise UserError(
            f"A {tensor.dtype} tensor on {tensor.device} has no plain pixels: pass a dense float one."
        )
    tensor = tensor.detach().movedim(0, -1).cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        advice = "pass (H, W), (H, W, 3) or (H, W, 4)"
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            advice = "channels come last, so pass array.transpose(1, 2, 0)"
        raise UserError(f"An array of shape {array.shape} is no photo: {advice}.")
    check_size(array.shape[1], array.shape[0], "The image")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise UserError("The image has values that are not finite (NaN or infinity): mend them.")
        if array.min() < -0.01 or array.max() > 1.01:
            raise UserError("A float image must lie in [0, 1]: divide it by its white, such as 255.")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = to_eight_bits(array.astype(np.uint16))
    if array.dtype != np.uint8:
        raise UserError(f"An array of {array.dtype} is no photo: pass uint8, uint16, or float in [0, 1].")
    factor = shrink_factor(array.shape[1], array.shape[0])
    if factor > 1:
        array = np.array(Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).reduce(factor))
        array = array.reshape(*array.shape[:2], -1)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array

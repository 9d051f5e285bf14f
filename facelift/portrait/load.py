"""Whatever a user has as a photo becomes one plain array: upright, 8 bit, sRGB, RGB or RGBA."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from facelift.errors import UserError

MAX_PIXELS = 100_000_000
MIN_SIDE = 64  # pixels; a face in less has nothing to reconstruct
CUT_OUT = 0.005  # share of clearly transparent pixels from which an alpha channel is a matte

Photo = str | os.PathLike[str] | Image.Image | np.ndarray


def load_photo(photo: Photo) -> np.ndarray:
    """Reads a photo: a file that Pillow can open, a PIL image, or an array.

    Args:
        photo: a path, a PIL image of any mode, or an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)`,
            uint8, uint16, or float in [0, 1].

    Returns:
        uint8 `(H, W, 3)`, sRGB, rotated as its EXIF orientation says; `(H, W, 4)` with straight (not
        premultiplied) alpha if the photo has an alpha channel that cuts something out. The first frame of an
        animation.

    Raises:
        UserError: missing, unreadable, larger than `MAX_PIXELS` or with a side below `MIN_SIDE`.
    """
    if isinstance(photo, np.ndarray):
        return _without_idle_alpha(_array_to_rgb(photo))
    if isinstance(photo, Image.Image):
        return _without_idle_alpha(_image_to_rgb(photo, "The image"))
    path = Path(photo)
    if not path.exists():
        raise UserError(f"There is no file {path}: check the path.")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name one photo in it.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: save or download the photo again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warning about large images: `_check_size` decides
            with Image.open(path) as image:
                return _without_idle_alpha(_image_to_rgb(image, str(path)))
    except Image.DecompressionBombError as error:
        raise UserError(_too_large(str(path))) from error
    except PermissionError as error:
        raise UserError(f"{path} may not be read: give yourself permission to read it.") from error
    except Image.UnidentifiedImageError as error:
        if path.suffix.lower() in (".heic", ".heif"):
            raise UserError(
                f"{path} is a HEIC photo, which cannot be read here: export it as JPEG."
            ) from error
        raise UserError(f"{path} is not an image that can be read: use a JPEG, PNG or WebP photo.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's decoders raise all of these
        raise UserError(f"{path} is damaged or cut short: save or download the photo again.") from error


def on_white(image: np.ndarray) -> np.ndarray:
    """`(H, W, 3 or 4)` uint8 to `(H, W, 3)` uint8, composited on white."""
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _image_to_rgb(image: Image.Image, name: str) -> np.ndarray:
    _check_size(*image.size, name)
    image = ImageOps.exif_transpose(image)  # loads the pixels of the first frame
    if image.mode.startswith("I") or image.mode == "F":
        return _array_to_rgb(_integer_to_float(np.asarray(image), image.mode))
    transparent = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    image = _to_srgb(image)
    return np.array(image.convert("RGBA" if transparent else "RGB"))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Phones save Display P3 and printers CMYK: taken as sRGB, faces come out too pale or too green."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image
    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken profile: the pixels as they are
    return image if converted is None else converted


def _integer_to_float(values: np.ndarray, mode: str) -> np.ndarray:
    """Pillow's wide grey modes: 16 bit has a known white, the others are stretched if they exceed it."""
    white = 65535.0 if mode.startswith("I") else 1.0
    values = values.astype(np.float32)
    return values / max(white, float(values.max(initial=0)))


def _array_to_rgb(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise UserError(f"An array of shape {array.shape} is no photo: pass (H, W), (H, W, 3) or (H, W, 4).")
    _check_size(array.shape[1], array.shape[0], "The image")
    if array.dtype == np.uint16:
        array = array.astype(np.float32) / 65535
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < -0.01 or array.max() > 1.01:
            raise UserError("A float image must lie in [0, 1]: divide it by its white, such as 255.")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"An array of {array.dtype} is no photo: pass uint8, uint16, or float in [0, 1].")
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def _without_idle_alpha(image: np.ndarray) -> np.ndarray:
    """Many files carry an alpha channel that is opaque everywhere: that is a photo, not a cut-out."""
    if image.shape[2] == 4 and (image[..., 3] < 128).mean() < CUT_OUT:
        return np.ascontiguousarray(image[..., :3])
    return image


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise UserError(_too_large(name, f" ({width} x {height})"))
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"{name} is too small ({width} x {height}): use a photo of at least {MIN_SIDE} pixels a side."
        )


def _too_large(name: str, size: str = "") -> str:
    return f"{name} is too large{size}: scale it down to at most {MAX_PIXELS // 1_000_000} megapixels."

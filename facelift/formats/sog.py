"""SOG, PlayCanvas's bundle for the web: a zip of lossless WebP images, a pixel a Gaussian, and meta.json.

Version 2. Positions are 16-bit logarithms, in two images of their lower and upper bytes; of a rotation the
largest component is left out, and the others are bytes; log-scales, colours and coefficients above degree 0
are bytes that index codebooks, the last by way of a palette of vectors. Opacity is the alpha of the colours.
The frame is that of 3D Gaussian Splatting. https://developer.playcanvas.com has the specification.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from facelift.errors import UserError
from facelift.formats.clustering import codebook, palette
from facelift.formats.files import PathLike, atomic_path
from facelift.formats.frames import Frame, from_frame, to_frame
from facelift.formats.morton import morton_order
from facelift.formats.ply import array
from facelift.formats.reading import check_count, damaged, file_size, reading
from facelift.formats.smallest_three import with_largest, without_largest
from facelift.gaussians import Gaussians
from facelift.isolation import isolated
from facelift.spherical_harmonics import COEFFICIENTS

Pixels = NDArray[np.uint8]

_KIND = "SOG file"
_TAG = 252  # alpha of a rotation whose w is left out; 253 to 255 are x, y and z
_PALETTE = 1 << 16  # vectors of coefficients above degree 0, which labels of two bytes can tell apart
_ROW = 64  # of them in a row of their image
_LEAST_LOG_SCALE = -20.0
_META_BYTES = 1 << 20  # many times as many as any meta.json has
_SLACK = 1 << 16  # pixels beyond those of the Gaussians, and bytes


@isolated()
def write_sog(path: PathLike, gaussians: Gaussians) -> None:
    """Write Gaussians of our world, in Morton order.

    Raises:
        UserError: `path` cannot be written, or these are no Gaussians, see `Gaussians.check`.
    """
    gaussians.check()
    turned = to_frame(gaussians.to("cpu"), "RDF")
    turned = turned[torch.from_numpy(morton_order(array(turned.means)))]
    count = len(turned)

    means = array(turned.means)
    means = np.sign(means) * np.log1p(np.abs(means))
    low, high = (means.min(axis=0), means.max(axis=0)) if count else (np.zeros(3), np.zeros(3))
    fixed = ((means - low) / np.where(high > low, high - low, 1.0) * 65535.0).round().astype(np.uint16)
    largest, others = without_largest(array(turned.quats))
    rotations = np.column_stack([_bytes((others / np.sqrt(2.0) + 0.5) * 255.0), largest + _TAG])
    scale_book, scales = codebook(np.log(array(turned.scales)).clip(_LEAST_LOG_SCALE))
    color_book, colors = codebook(array(turned.sh0))
    images = {
        "means_l": _square(fixed & 255),
        "means_u": _square(fixed >> 8),
        "quats": _square(rotations),
        "scales": _square(scales),
        "sh0": _square(np.column_stack([colors, _bytes(array(turned.opacities) * 255.0)])),
    }
    meta: dict[str, Any] = {
        "version": 2,
        "asset": {"generator": "FaceLift"},
        "count": count,
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scale_book.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": color_book.tolist(), "files": ["sh0.webp"]},
    }
    if turned.shN is not None:
        vectors, labels = palette(turned.shN.reshape(count, -1).float().numpy(), _PALETTE)
        book, indices = codebook(vectors.astype(np.float64))
        images["shN_centroids"] = _rows(indices.reshape(len(vectors), -1, 3))
        images["shN_labels"] = _square(np.column_stack([labels & 255, labels >> 8, np.zeros_like(labels)]))
        files = ["shN_centroids.webp", "shN_labels.webp"]
        meta["shN"] = {
            "count": len(vectors),
            "bands": turned.degree,
            "codebook": book.tolist(),
            "files": files,
        }
    with atomic_path(path) as aside, zipfile.ZipFile(aside, "w") as bundle:
        for name, pixels in images.items():
            bundle.writestr(
                zipfile.ZipInfo(f"{name}.webp"), _webp(pixels)
            )  # dated 1980: the same bytes each time
        bundle.writestr(zipfile.ZipInfo("meta.json"), json.dumps(meta))


@isolated()
def read_sog(path: PathLike, frame: Frame | None = None) -> Gaussians:
    """Read Gaussians from a bundle of version 2, ours or another tool's.

    Args:
        path: of the file.
        frame: of the file; None for 3D Gaussian Splatting's, "RDF".

    Returns:
        In our world.

    Raises:
        UserError: the file cannot be read, is no SOG, is cut short, or of another version.
    """
    file_size(path)
    with reading(path, _KIND, zipfile.BadZipFile, zlib.error, RuntimeError), zipfile.ZipFile(path) as bundle:
        meta = json.loads(_member(bundle, "meta.json", _META_BYTES))
        if not isinstance(meta, dict):
            raise damaged(path, _KIND)
        if meta.get("version") != 2:
            raise UserError(f"{path} is not of version 2 of SOG, the only one that is read: convert it.")
        count = int(meta["count"])
        check_count(path, count)
        if count < 0:
            raise damaged(path, _KIND)

        def image(part: str, number: int = 0) -> Pixels:
            return _pixels(bundle, meta[part]["files"][number], count)

        fixed = image("means")[:, :3] | image("means", 1)[:, :3].astype(np.uint16) << 8
        low, high = (np.asarray(meta["means"][end], np.float64).reshape(3) for end in ("mins", "maxs"))
        means = low + (high - low) * (fixed / 65535.0)
        rotations, colors = image("quats"), image("sh0")
        if (rotations[:, 3] < _TAG).any():
            raise damaged(path, _KIND)
        gaussians = Gaussians(
            means=_tensor(np.sign(means) * np.expm1(np.abs(means))),
            quats=_tensor(
                with_largest(rotations[:, 3] - _TAG, (rotations[:, :3] / 255.0 - 0.5) * np.sqrt(2.0))
            ),
            scales=_tensor(np.exp(_book(meta["scales"])[image("scales")[:, :3]])),
            opacities=_tensor(colors[:, 3] / 255.0),
            sh0=_tensor(_book(meta["sh0"])[colors[:, :3]]),
            shN=_higher(bundle, meta["shN"], count) if "shN" in meta else None,
        )
        return from_frame(gaussians, frame or "RDF")


def _higher(bundle: zipfile.ZipFile, meta: dict[str, Any], count: int) -> torch.Tensor:
    """(N, K, 3) coefficients above degree 0, by way of the palette."""
    size, coefficients = int(meta["count"]), COEFFICIENTS[1:][int(meta["bands"]) - 1]
    if not 0 <= size <= _PALETTE:
        raise ValueError("labels have two bytes")
    image = _image(bundle, meta["files"][0], size * coefficients)
    if image.shape[1] != _ROW * coefficients:
        raise ValueError("a row of the palette has another length")
    vectors = _book(meta)[image[:, :, :3].reshape(-1, coefficients, 3)[:size]]
    labels = _pixels(bundle, meta["files"][1], count).astype(np.int64)
    return _tensor(vectors)[labels[:, 0] | labels[:, 1] << 8]


def _pixels(bundle: zipfile.ZipFile, name: str, count: int) -> Pixels:
    """(N, 4): a pixel for each Gaussian."""
    pixels = _image(bundle, name, count).reshape(-1, 4)
    if len(pixels) < count:
        raise ValueError("fewer pixels than Gaussians")
    return pixels[:count]


def _image(bundle: zipfile.ZipFile, name: str, pixels: int) -> Pixels:
    """(H, W, 4) RGBA of an image that may hold little more than so many pixels."""
    packed = _member(bundle, name, 8 * pixels + _SLACK)
    try:
        with Image.open(io.BytesIO(packed), formats=["WEBP"]) as image:
            if image.width * image.height > 2 * pixels + _SLACK:
                raise ValueError("far more pixels than Gaussians")
            return np.asarray(image.convert("RGBA"))
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError("no image") from error


def _member(bundle: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of the bundle, unpacked in memory: its name is looked up, and never becomes a path."""
    with bundle.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError("far larger than what it holds")
    return data


def _square(pixels: NDArray[np.integer]) -> Pixels:
    """(H, W, C) of (N, C), filled up with zeros; sides are multiples of 4, as PlayCanvas has them."""
    width = max(4, math.ceil(len(pixels) ** 0.5 / 4) * 4)
    height = max(4, math.ceil(len(pixels) / width / 4) * 4)
    image = np.zeros((height * width, pixels.shape[1]), np.uint8)
    image[: len(pixels)] = pixels
    return image.reshape(height, width, -1)


def _rows(vectors: NDArray[np.integer]) -> Pixels:
    """(H, 64 K, 3) of vectors (N, K, 3)."""
    count, coefficients, _ = vectors.shape
    image = np.zeros((math.ceil(count / _ROW) * _ROW, coefficients, 3), np.uint8)
    image[:count] = vectors
    return image.reshape(-1, _ROW * coefficients, 3)


def _webp(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    # Exact: colours where alpha is 0 are kept.
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, exact=True, quality=75)
    return file.getvalue()


def _book(meta: dict[str, Any]) -> NDArray[np.float64]:
    return np.asarray(meta["codebook"], np.float64).reshape(-1)


def _bytes(levels: NDArray[np.float64]) -> Pixels:
    return levels.round().clip(0.0, 255.0).astype(np.uint8)


def _tensor(values: NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))

"""PNG images from tensors, and several images tiled into one."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from facelift.formats.files import PathLike, atomic_path


def write_png(path: PathLike, image: Tensor) -> None:
    """Write an image (3 or 4, H, W): RGB or straight-alpha RGBA, float in [0, 1]; values beyond are clamped.

    Raises:
        UserError: `path` cannot be written.
    """
    pixels = (image.detach().float().clamp(0.0, 1.0) * 255.0).round().byte().permute(1, 2, 0).cpu().numpy()
    with atomic_path(path) as aside:
        Image.fromarray(pixels).save(aside, format="PNG")


def tile(images: Tensor, columns: int) -> Tensor:
    """Images (N, C, H, W) in reading order as one (C, rows * H, columns * W); cells left over are white."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cells = images.new_ones(rows * columns, channels, height, width)
    cells[:count] = images
    grid = cells.reshape(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(channels, rows * height, columns * width)

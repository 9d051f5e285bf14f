"""Frames for files: what a camera sees as bytes, supersampled, over a colour or with straight alpha.

All of it is NumPy: torch's threads would go on spinning between frames and take cores from the rasteriser's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facelift.cameras import Cameras
from facelift.choices import OutputType
from facelift.data.schema import DEPTH_SCALE
from facelift.errors import UserError
from facelift.gaussians import Gaussians
from facelift.render import render
from facelift.render.normals import render_normals

Floats = NDArray[np.float32]

_NEIGHBORHOODS = (3, 5, 9, 17)  # pixels across, from which transparent pixels take their colour


@dataclass(frozen=True)
class FrameStyle:
    """What a frame shows, and how.

    Attributes:
        output_type: colour, normals or depth.
        background: (3, 1, 1) RGB in [0, 1]; None is transparent.
        supersample: how many times as fine it is drawn, before pixels are averaged.
        depths: of depth, what is drawn white, and what black.
    """

    output_type: OutputType = "color"
    background: Floats | None = None
    supersample: int = 1
    depths: tuple[float, float] = (0.0, 1.0)


def draw_frame(gaussians: Gaussians, camera: Cameras, style: FrameStyle) -> NDArray[np.uint8]:
    """(H, W, 3), or (H, W, 4) with straight alpha: what the one camera sees.

    Where a pixel is clear, its colour is the mean of those around it, so that no dark or light fringe appears
    when a picture is scaled, compressed or laid over another.
    """
    color, alpha = _drawn(gaussians, camera, style)
    if style.background is not None:
        return _bytes(_last(color + (1 - alpha) * style.background))
    layers = _last(np.concatenate([color, alpha]))
    clear = layers[..., 3] < 0.5 / 255
    straight = layers[..., :3] / np.maximum(layers[..., 3:], 1e-6)
    straight[clear] = 0
    for width in _NEIGHBORHOODS:
        around = cv2.boxFilter(layers, -1, (width, width))
        near = clear & (around[..., 3] > 1e-4)
        straight[near] = around[near, :3] / around[near, 3:]
        clear &= ~near
    return _bytes(np.concatenate([straight, layers[..., 3:]], -1))


def _drawn(gaussians: Gaussians, camera: Cameras, style: FrameStyle) -> tuple[Floats, Floats]:
    """Colour times alpha (3, H, W), and alpha (1, H, W)."""
    fine = _finer(camera, style.supersample)
    normals = style.output_type == "normals"
    drawing = render_normals(gaussians, fine) if normals else render(gaussians, fine, 0.0)
    color, alpha, depth = (
        _averaged(layer[0].cpu().numpy(), style.supersample)
        for layer in (drawing.image, drawing.alpha, drawing.depth)
    )
    if normals:
        length = np.linalg.norm(color, axis=0, keepdims=True)
        color = (color / np.maximum(length, 1e-6) + 1) / 2 * alpha
    elif style.output_type == "depth":
        near, far = style.depths
        shade = (far - depth / np.maximum(alpha, 1e-6)) / max(far - near, 1e-6)
        color = np.repeat(shade.clip(0, 1) * alpha, 3, axis=0)
    return color, alpha


def draw_depth(gaussians: Gaussians, camera: Cameras, style: FrameStyle) -> NDArray[np.uint16]:
    """(H, W) z-depth, DEPTH_SCALE steps a unit; 0 where half of a pixel or more is clear.

    Raises:
        UserError: something is too far away for 16 bits.
    """
    drawing = render(gaussians, _finer(camera, style.supersample), 0.0)
    alpha, depth = (
        _averaged(layer[0].cpu().numpy(), style.supersample)[0] for layer in (drawing.alpha, drawing.depth)
    )
    steps = np.where(alpha > 0.5, np.rint(DEPTH_SCALE * depth / np.maximum(alpha, 1e-6)), 0)
    if steps.max() > 65535:
        raise UserError(
            f"Something is {steps.max() / DEPTH_SCALE:.2f} units from the camera, and 16 bits hold "
            f"{65535 / DEPTH_SCALE:.2f}: bring the camera nearer, or name a video for shades of grey."
        )
    return steps.astype(np.uint16)


def _finer(camera: Cameras, factor: int) -> Cameras:
    return Cameras(camera.w2c, factor * camera.intrinsics, factor * camera.width, factor * camera.height)


def _averaged(layer: Floats, factor: int) -> Floats:
    """(C, factor H, factor W) to (C, H, W)."""
    channels, height, width = layer.shape
    if factor == 1:
        return layer
    return layer.reshape(channels, height // factor, factor, width // factor, factor).mean((2, 4))


def _last(layers: Floats) -> NDArray[Any]:
    """(C, H, W) to (H, W, C), as encoders want it."""
    return np.ascontiguousarray(np.moveaxis(layers, 0, -1))


def _bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8)

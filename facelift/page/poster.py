"""A head's picture, for as long as its viewer does not run: transparent, so that any background fits it."""

from __future__ import annotations

import base64
import io

import torch
from PIL import Image
from torch import Tensor

from facelift.cameras import Cameras
from facelift.errors import UserError
from facelift.gaussians import Gaussians
from facelift.render import render

_QUALITY = 80
"""Of WebP: a head of 512 pixels takes some 20 KB, its colours and its alpha."""


def draw_poster(gaussians: Gaussians, camera: Cameras) -> Tensor:
    """(4, H, W) what one camera sees, RGB and straight alpha in [0, 1]."""
    drawn = render(gaussians, camera, background=0.0)
    color = (drawn.image[0] / drawn.alpha[0].clamp_min(1e-6)).clamp(0, 1)
    return torch.cat([color, drawn.alpha[0].clamp(0, 1)])


def webp_address(image: Tensor) -> str:
    """A `data:` address that holds (3 or 4, H, W) RGB or straight-alpha RGBA in [0, 1] as WebP.

    Raises:
        UserError: the image has another shape.
    """
    if image.ndim != 3 or image.shape[0] not in (3, 4):
        raise UserError(f"A poster must be (3, H, W) or (4, H, W), not {tuple(image.shape)}.")
    pixels = (image.detach().float().clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"

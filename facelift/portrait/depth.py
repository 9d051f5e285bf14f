"""How far the surface of a portrait is: what places its pixels in space."""

from __future__ import annotations

import torch
from torch import Tensor

from facelift.cameras import RADIUS, Cameras
from facelift.portrait.matte import prior
from facelift.portrait.network import PortraitNetwork
from facelift.portrait.square import canonical_face

BOTTOM_PADDING = 3 / 16  # of the picture, added below
MIN_LOGIT = -1.5  # log odds of the person's, below which nothing is known of a pixel's depth


@torch.no_grad()
def surface_distances(network: PortraitNetwork, image: Tensor, camera: Cameras) -> Tensor:
    """How far the surface is that a portrait shows, along the unit ray of each pixel.

    Args:
        network: on the CPU.
        image: (3, S, S) RGB in [0, 1] on white, framed as a portrait is.
        camera: the canonical front camera, of S x S pixels.

    Returns:
        (S + BOTTOM_PADDING S, S) in world units; NaN where nobody is. In the rows below the picture the last
        one goes on, for other cameras see more of the bust.
    """
    size = image.shape[-1]
    prior_logits = torch.from_numpy(prior((size, size), canonical_face(size)))
    with torch.autocast("cpu", enabled=False):
        found = network.predict(image.float().cpu(), prior_logits)
    distance = (RADIUS + found.depth[0, 0]) / camera.depth_along_rays()[0].cpu()
    distance = torch.where(found.logits[0, 0] > MIN_LOGIT, distance, torch.nan)
    return torch.cat([distance, distance[-1:].expand(round(BOTTOM_PADDING * size), -1)]).to(image.device)

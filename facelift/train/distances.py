"""What warps the views of a training: how far the surface of a portrait is, as a trained network tells."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from facelift.errors import UserError
from facelift.portrait.depth import surface_distances
from facelift.portrait.network import PortraitNetwork, PortraitNetworkConfig
from facelift.views.warp import SurfaceDistances, mean_distances
from facelift.weights import load_reconstructor, load_weights


def load_distances(portrait: str | None, reconstructor: str | None, device: torch.device) -> SurfaceDistances:
    """The estimate that `facelift.views.warp` needs; of two the mean, as the pipeline takes it.

    Args:
        portrait: folder of the portrait's network, `OUT/portrait` of its training.
        reconstructor: folder of a reconstructor that was trained on the front view alone, too.
        device: where the reconstructor works.

    Raises:
        UserError: neither is given, or it cannot be read.
    """
    given: list[SurfaceDistances] = []
    if portrait is not None:
        network = load_weights(PortraitNetwork, PortraitNetworkConfig, Path(portrait))
        given.append(partial(surface_distances, network))
    if reconstructor is not None:
        given.append(load_reconstructor(Path(reconstructor)).to(device).distances)
    if not given:
        raise UserError("Warped views need a `portrait` or a `reconstructor` in the `training`.")
    return mean_distances(*given)

"""What a training starts from: weights of an earlier one, of FaceLift's authors, or of Stable Diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from torch import nn

from facelift import hub
from facelift.errors import UserError
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.reconstruct.released import read_released_reconstructor
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.views.released import PARTS, read_released_views, widen_input
from facelift.weights import (
    CHECKPOINT,
    FILES,
    PIPELINE,
    build_model,
    load_reconstructor,
    load_views,
    take_weights,
)

Model = TypeVar("Model", bound=nn.Module)
Places = Sequence[tuple[str, Sequence[str]]]
"""Folders in which weights may lie, and the files that they consist of there."""

VIEWS: Places = (("views", FILES), ("", PARTS), (PIPELINE, PARTS), ("", FILES))
RECONSTRUCTORS: Places = (
    ("reconstructor", FILES),
    (str(Path(CHECKPOINT).parent), [Path(CHECKPOINT).name]),
    ("", FILES),
)


def starting_views(name: str, config: ViewGeneratorConfig | None) -> ViewGenerator:
    """The view generator from which a training starts, in float32.

    Args:
        name: `views/` of an earlier training, or a model folder that has it; a diffusers pipeline folder of
            Stable Diffusion 2.1 unCLIP, whose U-Net gets the condition's channels, or of FaceLift; or any of
            these on the Hugging Face hub.
        config: the `model` of the configuration; None takes it as it comes.

    Raises:
        UserError: it is not there, damaged, cannot be fetched or does not fit the configuration.
    """
    folder = _find(name, VIEWS)
    if (folder / FILES[1]).is_file():
        weights = load_views(folder)
        return weights if config is None else _filled(ViewGenerator(config), weights, folder)
    its_own, state = widen_input(*read_released_views(folder))
    return build_model(ViewGenerator, config or its_own, state, folder).float()


def starting_reconstructor(name: str, config: GSLRMConfig) -> GSLRM:
    """The reconstructor from which a training starts, in float32; what the weights lack begins anew.

    Args:
        name: `reconstructor/` of an earlier training, or a model folder that has it; FaceLift's released
            folder; or any of these on the Hugging Face hub.
        config: the `model` of the configuration.

    Raises:
        UserError: it is not there, damaged, cannot be fetched or does not fit the configuration.
    """
    model = GSLRM(config)
    model.init_weights()
    folder = _find(name, RECONSTRUCTORS)
    if (folder / FILES[1]).is_file():
        return _filled(model, load_reconstructor(folder), folder)
    checkpoint = folder / Path(CHECKPOINT).name
    released = build_model(
        GSLRM, *read_released_reconstructor(checkpoint, config.image_size), checkpoint
    ).float()
    return _filled(model, released, checkpoint)


def _filled(model: Model, weights: nn.Module, path: Path) -> Model:
    take_weights(model, weights, path)
    return model


def _find(name: str, places: Places) -> Path:
    """Where these weights lie in the folder or repository of that name."""
    root = Path(name)
    if not root.exists() and hub.is_repository(name):
        wanted = [f"{folder}/{file}".lstrip("/") for folder, files in places for file in files]
        root = hub.download(name, None, wanted, lambda cached: _has_all(cached, places))
    for folder, files in places:
        if (root / folder / files[0]).is_file():
            return root / folder
    raise UserError(
        f"There are no weights to start from at {name}: name a folder that `facelift train` or `facelift "
        "convert` wrote, a diffusers folder, or a repository of one on the Hugging Face hub."
    )


def _has_all(root: Path, places: Places) -> bool:
    return any(all((root / folder / file).is_file() for file in files) for folder, files in places)

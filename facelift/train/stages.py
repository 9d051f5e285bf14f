"""The stages of a training: what each is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from facelift.choices import Stage
from facelift.portrait.network import PortraitNetworkConfig
from facelift.reconstruct import GSLRMConfig
from facelift.train.autoencoder import AutoencoderTask, AutoencoderTraining
from facelift.train.decoder import DecoderTask, DecoderTraining
from facelift.train.features import FeaturesConfig, FeaturesTask, FeaturesTraining
from facelift.train.portrait import PortraitTask, PortraitTraining
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining
from facelift.train.views import ViewsTask, ViewsTraining
from facelift.views import ViewGeneratorConfig


@dataclass(frozen=True)
class StageParts:
    """What a stage is made of.

    Attributes:
        task: makes the task from the model's configuration, if there is one, the training's, and the device.
        training: the class of its `training`.
        model: the class of its `model`; None if that comes from an earlier stage.
        optional: whether the model may come from an earlier stage as well.
    """

    task: Callable[..., Any]
    training: type[Any]
    model: type[Any] | None = None
    optional: bool = False


STAGES: dict[Stage, StageParts] = {
    "autoencoder": StageParts(AutoencoderTask, AutoencoderTraining, ViewGeneratorConfig),
    "views": StageParts(ViewsTask, ViewsTraining, ViewGeneratorConfig, optional=True),
    "decoder": StageParts(DecoderTask, DecoderTraining),
    "reconstructor": StageParts(ReconstructorTask, ReconstructorTraining, GSLRMConfig),
    "portrait": StageParts(PortraitTask, PortraitTraining, PortraitNetworkConfig),
    "features": StageParts(FeaturesTask, FeaturesTraining, FeaturesConfig),
}

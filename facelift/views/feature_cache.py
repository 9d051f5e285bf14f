"""Deep features of the U-Net, kept for some steps of denoising (Ma, Fang and Wang, "DeepCache", CVPR 2024).

What the U-Net computes at coarse resolutions changes little from one step to the next. Every `interval` steps
it is computed whole; between them only what the last skip connection carries around the rest: the first
convolution, and the last residual block with its attention. Of Stable Diffusion's operations that is a tenth.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn


class Output(NamedTuple):
    """What a U-Net of diffusers returns."""

    sample: Tensor


class FeatureCache:
    """A U-Net, called as it is itself, that keeps its deep features between calls.

    Args:
        unet: stock, with nothing on its way but time, class label and prompt.
        interval: every so many calls are whole; 1 makes all so.
    """

    def __init__(self, unet: UNet2DConditionModel, interval: int) -> None:
        self.unet = unet
        self.interval = interval
        self._calls = 0
        self._deep: Tensor | None = None

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        class_labels: Tensor | None = None,
    ) -> Any:
        """The U-Net's prediction for the next step; its arguments are those of diffusers."""
        whole = self._calls % self.interval == 0
        self._calls += 1
        if not whole and self._deep is not None:
            return Output(self._shallow(sample, timestep, encoder_hidden_states, class_labels, self._deep))
        hook = self._last_resnet.register_forward_pre_hook(self._keep)
        try:
            return self.unet(
                sample, timestep, encoder_hidden_states=encoder_hidden_states, class_labels=class_labels
            )
        finally:
            hook.remove()

    @property
    def _last_resnet(self) -> nn.Module:
        return self.unet.up_blocks[-1].resnets[-1]

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Deep features come first in what the last block is given, then those of the skip connection."""
        if self.interval > 1:
            self._deep = inputs[0][:, : -self.unet.config.block_out_channels[0]]

    def _shallow(
        self, sample: Tensor, timestep: Tensor, prompts: Tensor, labels: Tensor | None, deep: Tensor
    ) -> Tensor:
        unet, block = self.unet, self.unet.up_blocks[-1]
        embedding = unet.time_embedding(unet.get_time_embed(sample, timestep))
        if labels is not None:
            embedding = embedding + unet.get_class_embed(sample, labels)
        hidden = self._last_resnet(torch.cat([deep, unet.conv_in(sample)], dim=1), embedding)
        if attentions := getattr(block, "attentions", None):
            hidden = attentions[-1](hidden, encoder_hidden_states=prompts, return_dict=False)[0]
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))

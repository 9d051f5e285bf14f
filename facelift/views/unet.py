"""The multi-view U-Net: diffusers' own, with one attention processor on every self-attention.

FaceLift section 3.2: in each self-attention a view's queries see the tokens of the front view, which is
the input, and its own ("front" attention).
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional as F

# FaceLift's configurations name blocks of its own fork; without the attention they are the stock ones.
STOCK_BLOCKS = {
    "CrossAttnDownBlockMV2D": "CrossAttnDownBlock2D",
    "CrossAttnUpBlockMV2D": "CrossAttnUpBlock2D",
    "UNetMidBlockMV2DCrossAttn": "UNetMidBlock2DCrossAttn",
}


class FrontViewAttention:
    """Attention processor: keys and values are the front view's tokens followed by the view's own.

    Hidden states are (B * views, tokens, width), the views of one sample adjacent, the front one first.
    """

    def __init__(self, views: int) -> None:
        self.views = views

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Hidden states after attention; the signature is what diffusers calls."""
        query, key, value = (
            project(hidden_states)
            .unflatten(0, (-1, self.views))
            .unflatten(-1, (attn.heads, -1))
            .transpose(2, 3)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )  # each (B, views, heads, tokens, dim)
        # View by view, so that the front view's keys and values are copied for one at a time. For the front
        # itself they are not copied at all: attending to every token twice is attending to it once.
        attended = [F.scaled_dot_product_attention(query[:, 0], key[:, 0], value[:, 0])]
        for view in range(1, self.views):
            seen, shown = (torch.cat([x[:, 0], x[:, view]], dim=2) for x in (key, value))
            attended.append(F.scaled_dot_product_attention(query[:, view], seen, shown))
        output = torch.stack(attended, dim=1).flatten(0, 1).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](output))


def build_unet(config: dict[str, Any], views: int = 6) -> UNet2DConditionModel:
    """A stock U-Net, from FaceLift's configuration or our own, with front-view attention on every attn1."""
    unet = UNet2DConditionModel(**stock_config(config))
    unet.set_attn_processor(
        {
            name: FrontViewAttention(views) if name.endswith("attn1.processor") else processor
            for name, processor in unet.attn_processors.items()
        }
    )
    return unet


def stock_config(config: dict[str, Any]) -> dict[str, Any]:
    """What the stock U-Net takes of a configuration, FaceLift's names of blocks translated."""
    known = inspect.signature(UNet2DConditionModel.__init__).parameters
    return {key: _stock_names(value) for key, value in config.items() if key in known}


def _stock_names(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_stock_names(v) for v in value]
    return STOCK_BLOCKS.get(value, value) if isinstance(value, str) else value

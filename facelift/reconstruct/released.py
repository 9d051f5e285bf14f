"""FaceLift's released GS-LRM checkpoint: its names for the tensors, and ours, and the size that they tell."""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor

from facelift.errors import UserError
from facelift.formats.tensors import read_pickled
from facelift.reconstruct.gslrm import GSLRMConfig

OUR_NAMES = {
    "gaussian_position_embeddings": "learned_tokens",
    "patch_embedder.1.": "patch_embed.",
    "input_layer_norm.": "norm_in.",
    "transformer_layers.": "blocks.",
    ".attn.to_qkv.": ".attention.qkv.",
    ".attn.fc.": ".attention.out.",
    ".mlp.mlp.": ".mlp.",
    "pixel_gaussian_decoder.0.": "pixel_norm.",
    "pixel_gaussian_decoder.1.": "pixel_head.",
    "gaussian_upsampler.layernorm.": "learned_norm.",
    "gaussian_upsampler.linear.": "learned_head.",
}


def from_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A released state dict under the names of `GSLRM`; tensors of the loss network are left out."""
    ours = {}
    for name, tensor in state.items():
        if any(part in name for part in OUR_NAMES):
            for theirs, our in OUR_NAMES.items():
                name = name.replace(theirs, our)
            ours[name] = tensor
    return ours


def read_released_reconstructor(path: Path, image_size: int) -> tuple[GSLRMConfig, dict[str, Tensor]]:
    """Configuration and state dict of a `GSLRM`, from a released checkpoint.

    The checkpoint says nothing of itself, but its shapes do; all but the width of an attention head. That is
    64, as in the paper, or less in a stand-in so narrow that this would leave it with fewer than four.

    Raises:
        UserError: missing, damaged, with code in it, or not a GS-LRM.
    """
    state = from_released(read_pickled(path, "model"))
    try:
        width, inputs = state["patch_embed.weight"].shape
        learned_tokens = len(state["learned_tokens"])
    except (KeyError, ValueError):
        raise UserError(f"{path} is not a GS-LRM checkpoint: fetch the model again.") from None
    config = GSLRMConfig(
        image_size=image_size,
        patch_size=math.isqrt(inputs // 9),
        width=width,
        layers=len({name.split(".")[1] for name in state if name.startswith("blocks.")}),
        head_dim=max(1, min(64, width // 4)),
        learned_tokens=learned_tokens,
    )
    return config, state

"""The names of FaceLift's released GS-LRM checkpoint, and ours for the same tensors."""

from __future__ import annotations

from torch import Tensor

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

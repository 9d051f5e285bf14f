"""LoRA (Hu et al., ICLR 2022): the attention of a U-Net is trained by additions of low rank, with peft."""

from __future__ import annotations

from copy import deepcopy

from diffusers import UNet2DConditionModel
from torch import nn

from facelift.errors import UserError
from facelift.views.generator import ViewGenerator

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]  # of every attention
WHOLE = "conv_in"  # what takes in the condition, whose channels may begin at zero


def add_lora(unet: UNet2DConditionModel, rank: int) -> nn.ModuleDict:
    """Put additions of that rank beside the attention's layers; gives all that is to be trained, by its name.

    Raises:
        UserError: peft is not installed.
    """
    try:
        from peft import LoraConfig
    except ImportError:
        raise UserError(
            "`lora_rank` needs the package peft: pip install 'facelift[lora]', or leave it out of the "
            "`training`."
        ) from None
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS))
    trained = {
        name.replace(".", "-"): module  # which a name may not have
        for name, module in unet.named_modules()
        if name == WHOLE or (isinstance(module, nn.Linear) and "lora_" in name)
    }
    return nn.ModuleDict(trained)


def merged(generator: ViewGenerator) -> ViewGenerator:
    """A copy whose U-Net has the additions in its own weights, which nobody needs peft for."""
    copied = deepcopy(generator)
    copied.unet.fuse_lora()
    copied.unet.unload_lora()
    return copied

"""FaceLift's released view generator: a diffusers pipeline folder becomes a `ViewGenerator`.

So does the folder of Stable Diffusion 2.1 unCLIP, from which FaceLift's was trained. The text encoder only
ever encodes six fixed sentences, so it runs once, here, and is not kept.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler
from torch import Tensor

from facelift.cameras import VIEW_NAMES
from facelift.errors import UserError
from facelift.formats.tensors import first_reason, read_json, read_safetensors
from facelift.views.embedding import import_transformers, number_positions
from facelift.views.generator import ViewGeneratorConfig
from facelift.views.unet import stock_config

PROMPT = "a rendering image of 3D models, {} view, color map."

WEIGHTS = "diffusion_pytorch_model.safetensors"
PARTS = (
    "unet/config.json",
    f"unet/{WEIGHTS}",
    "vae/config.json",
    f"vae/{WEIGHTS}",
    "image_encoder/config.json",
    "image_encoder/model.safetensors",
    f"image_normalizer/{WEIGHTS}",
    "image_noising_scheduler/scheduler_config.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
)


def read_released_views(folder: Path) -> tuple[ViewGeneratorConfig, dict[str, Tensor]]:
    """Configuration and state dict of a `ViewGenerator`, from a folder as FaceLift's `pipeckpts/`.

    Raises:
        UserError: a part is missing or damaged, or transformers is not installed.
    """
    for part in PARTS:
        if not (folder / part).is_file():
            raise UserError(f"{folder / part} is missing: fetch the model again.")
    try:
        config = _read_config(folder)
    except (KeyError, TypeError) as error:
        raise UserError(f"A configuration in {folder} is damaged ({error}): fetch the model again.") from None
    prompts = encode_prompts(folder)
    config = replace(config, prompt_tokens=prompts.shape[1])
    state = {"prompts": prompts}
    for prefix, part in (
        ("unet.", f"unet/{WEIGHTS}"),
        ("autoencoder.kl.", f"vae/{WEIGHTS}"),
        ("image_embedding.clip.", "image_encoder/model.safetensors"),
        ("image_embedding.", f"image_normalizer/{WEIGHTS}"),
    ):
        state |= {prefix + name: tensor for name, tensor in _weights(folder / part).items()}
    return config, state


def widen_input(
    config: ViewGeneratorConfig, state: dict[str, Tensor]
) -> tuple[ViewGeneratorConfig, dict[str, Tensor]]:
    """The same view generator with twice the channels in, if it has only those of the noisy latent.

    The new ones are the condition's; their weights are zero, so that at first it changes nothing.
    """
    if config.unet["in_channels"] > config.unet["out_channels"]:
        return config, state
    weight = state["unet.conv_in.weight"]
    unet = config.unet | {"in_channels": 2 * config.unet["in_channels"]}
    widened = torch.cat([weight, torch.zeros_like(weight)], dim=1)
    return replace(config, unet=unet), state | {"unet.conv_in.weight": widened}


@torch.no_grad()
def encode_prompts(folder: Path) -> Tensor:
    """(6, tokens, width): CLIP's reading of the six views' prompts, padding included, as FaceLift has it."""
    transformers = import_transformers()
    path = folder / "text_encoder/model.safetensors"
    weights = {name.removeprefix("text_model."): tensor.float() for name, tensor in _weights(path).items()}
    try:
        config = transformers.CLIPTextConfig(
            **_without_bookkeeping(read_json(folder / "text_encoder/config.json"))
        )
        with torch.device("meta"):
            encoder = transformers.CLIPTextModel(config).eval()
        inner = getattr(encoder, "text_model", encoder)  # before transformers 5 it is wrapped once more
        inner.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not fit its config.json: {first_reason(error)}.") from None
    number_positions(inner.embeddings)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    prompts = [PROMPT.format(view) for view in VIEW_NAMES]
    tokens = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return encoder(tokens).last_hidden_state


def _read_config(folder: Path) -> ViewGeneratorConfig:
    unet = stock_config(read_json(folder / "unet/config.json"))
    vae = read_json(folder / "vae/config.json")
    noise = read_json(folder / "image_noising_scheduler/scheduler_config.json")
    return ViewGeneratorConfig(
        image_size=unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1),
        any_size=True,
        unet=unet,
        autoencoder=_arguments(AutoencoderKL, vae, without=("in_channels", "out_channels")),
        scaling_factor=vae["scaling_factor"],
        image_encoder=_without_bookkeeping(read_json(folder / "image_encoder/config.json")),
        image_noise=_arguments(DDPMScheduler, noise),
        scheduler=_arguments(DDIMScheduler, read_json(folder / "scheduler/scheduler_config.json")),
        steps=50,
        guidance=3.0,
        eta=1.0,
    )


def _weights(path: Path) -> dict[str, Tensor]:
    """A file's tensors, without the table of positions that old checkpoints carry along."""
    return {name: t for name, t in read_safetensors(path).items() if not name.endswith("position_ids")}


def _arguments(cls: type[Any], config: dict[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `cls` takes of a diffusers configuration, and not what it notes down besides."""
    known = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    return {key: value for key, value in config.items() if key in known and key not in without}


def _without_bookkeeping(config: dict[str, Any]) -> dict[str, Any]:
    notes = ("architectures", "model_type", "torch_dtype", "transformers_version")
    return {key: value for key, value in config.items() if key not in notes}

"""Estimates, before the work begins, how long a photo takes on a CPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from facelift.cameras import VIEW_NAMES
from facelift.reconstruct import GSLRMConfig
from facelift.transformer import Block
from facelift.views import ViewGenerator
from facelift.views.feature_cache import FeatureCache

LARGE = 200_000_000  # weights; what is smaller is done before anybody asks
VIEWS = len(VIEW_NAMES)


@torch.no_grad()
def seconds_per_photo(
    generator: ViewGenerator,
    reconstructor: GSLRMConfig,
    steps: int,
    guidance: float,
    cache_interval: int,
    precision: AbstractContextManager[object],
) -> float | None:
    """About how long both stages take at the model's own size; None for a small model.

    The first block of the U-Net is timed on tensors of the real size, in the precision that will be used; all
    the rest is scaled from it by the number of floating-point operations.

    Args:
        generator: stage 1, with its weights.
        reconstructor: the size of stage 2.
        steps: of the sampling.
        guidance: of the sampling; 1 needs one pass a step instead of two.
        cache_interval: of the sampling; every so many steps are computed whole.
        precision: the autocast context in which the photo will be computed.
    """
    if sum(p.numel() for p in generator.parameters()) < LARGE:
        return None
    with torch.device("meta"):
        views = ViewGenerator(generator.config)
        config, size = reconstructor, generator.config.image_size
        tokens = torch.empty(1, VIEWS * (size // config.patch_size) ** 2, config.width)
        block = Block(config.width, config.head_dim)
        cells = size // views.autoencoder.downsampling
        latents = torch.empty(1, VIEWS, views.autoencoder.latent_channels, cells, cells)
        label = torch.empty(1, VIEWS, views.unet.config.projection_class_embeddings_input_dim or 0)
        cache = FeatureCache(views.unet, cache_interval)
        whole, between = (
            operations(
                lambda: views.predict(
                    latents,
                    torch.empty(1),
                    latents[:, :1],
                    label if views.config.image_encoder else None,
                    cache,
                )
            )
            for _ in range(2)
        )
        work = operations(lambda: views.autoencoder.decode(latents[0]))
        work += config.layers * operations(lambda: block(tokens))
        sample = operations(lambda: _first_block(views, cells))
    whole_steps = math.ceil(steps / cache_interval)
    passes = whole * whole_steps + between * (steps - whole_steps)
    work += passes * (1 if guidance == 1.0 else 2)

    with precision:
        start = time.perf_counter()
        _first_block(generator, cells)
        return work / sample * (time.perf_counter() - start)


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products, convolutions and attention in `work`."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def _first_block(views: ViewGenerator, cells: int) -> object:
    block: nn.Module = views.unet.down_blocks[0]
    config, parameter = views.unet.config, next(views.unet.parameters())
    hidden = torch.zeros(
        VIEWS, config.block_out_channels[0], cells, cells, device=parameter.device, dtype=torch.float32
    )
    embedding = hidden.new_zeros(VIEWS, views.unet.time_embedding.linear_2.out_features)
    prompts = hidden.new_zeros(VIEWS, views.config.prompt_tokens, config.cross_attention_dim)
    return block(hidden, embedding, encoder_hidden_states=prompts)

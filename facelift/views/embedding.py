"""The CLIP image embedding of the portrait, as unCLIP conditions a U-Net on it (Ramesh et al., 2022)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.models.embeddings import get_timestep_embedding
from PIL import Image
from torch import Tensor, nn

from facelift.errors import UserError

# CLIP's own preparation of images (Radford et al., 2021)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEmbedding(nn.Module):
    """CLIP's embedding of an image with a trace of noise, followed by the embedding of that noise's level.

    unCLIP is trained at every level of noise; at inference the level is 0, the first of the schedule, which
    still adds a little.
    """

    def __init__(self, clip: dict[str, Any], noise_schedule: dict[str, Any]) -> None:
        super().__init__()
        transformers = import_transformers()
        self.clip = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**clip))
        self.size: int = self.clip.config.image_size
        self.dim: int = self.clip.config.projection_dim
        self.mean = nn.Parameter(
            torch.zeros(1, self.dim)
        )  # of embeddings: the noise is in units of their spread
        self.std = nn.Parameter(torch.ones(1, self.dim))
        with torch.device("cpu"):  # a table that no checkpoint holds, even where the weights come later
            self.schedule = DDPMScheduler(**noise_schedule)
        number_positions(self.clip.vision_model.embeddings)

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        """(3, H, W) RGB in [0, 1] and standard normal noise (N, dim) -> N class labels, (N, 2 * dim)."""
        return self.label(self.embed(image), noise)

    def embed(self, image: Tensor) -> Tensor:
        """(3, H, W) RGB in [0, 1] -> (1, dim), CLIP's embedding of it."""
        return self.clip(prepare_for_clip(image, self.size)[None]).image_embeds

    def label(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Embeddings (1 or N, dim) and standard normal noise (N, dim) -> class labels (N, 2 * dim)."""
        level = torch.zeros(len(noise), dtype=torch.long, device=noise.device)
        normalized = ((embedding.float() - self.mean) / self.std).expand_as(noise)
        noisy = self.schedule.add_noise(normalized, noise, level) * self.std + self.mean
        level_embedding = get_timestep_embedding(
            level, self.dim, flip_sin_to_cos=True, downscale_freq_shift=0.0
        )
        return torch.cat([noisy, level_embedding], dim=1)


def prepare_for_clip(image: Tensor, size: int) -> Tensor:
    """(3, H, W) RGB in [0, 1] -> (3, size, size), as CLIP saw its training images.

    Resized in 8 bits by Pillow's bicubic filter, and normalised.
    """
    pixels = image.clamp(0, 1).mul(255).round().byte().movedim(0, -1).cpu().numpy()
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    mean, std = (image.new_tensor(v)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return (image.new_tensor(np.asarray(resized) / 255.0).movedim(-1, 0) - mean) / std


def number_positions(embeddings: Any) -> None:
    """Write CLIP's table of positions, which checkpoints leave out and the meta device loses."""
    embeddings.position_ids = torch.arange(embeddings.position_ids.shape[-1], device="cpu")[None]


def import_transformers() -> Any:
    """transformers, which only models of the paper's size need.

    Raises:
        UserError: it is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise UserError(
            "This model needs the package transformers: install it with pip install 'facelift[paper]'."
        ) from None
    return transformers

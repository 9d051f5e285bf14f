"""GS-LRM: a transformer that turns posed views into pixel-aligned 3D Gaussians (Zhang et al., ECCV 2024).

Every view is cut into patches; each patch becomes one token that carries its pixels and its rays; after
the transformer each token becomes the Gaussians of its patch, placed along those rays.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from facelift.cameras import Cameras, overhead_rig
from facelift.gaussians import Gaussians
from facelift.reconstruct.config import GSLRMConfig
from facelift.reconstruct.decode import RAW_CHANNELS, GaussianBatch, decode
from facelift.reconstruct.refinement_unet import RefinementUNet
from facelift.transformer import Block, pad_tokens


class GSLRM(nn.Module):
    """Six posed views in, Gaussians out (GS-LRM section 3; FaceLift section 3.3).

    Attributes:
        gradient_checkpointing: whether blocks are computed again for the gradient, to save their memory.
    """

    float32_modules = ("pixel_head", "learned_head", "refinement_unet")  # whatever the others compute in

    def __init__(self, config: GSLRMConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        width = config.width
        self.learned_tokens = nn.Parameter(torch.randn(config.learned_tokens, width) * 0.02)
        self.patch_embed = nn.Linear(9 * config.patch_size**2, width, bias=False)
        self.norm_in = nn.LayerNorm(width, bias=False)
        self.blocks = nn.ModuleList(Block(width, config.head_dim) for _ in range(config.layers))
        self.pixel_norm = nn.LayerNorm(width, bias=False)
        self.pixel_head = nn.Linear(width, config.gaussians_per_side**2 * sum(RAW_CHANNELS), bias=False)
        self.refinement_unet: RefinementUNet | None = None
        if config.refinement_unet:
            pixels = 3 * config.cell**2 + 1  # the colours, and whether a token predicts the cell at all
            self.refinement_unet = RefinementUNet(sum(RAW_CHANNELS), pixels, config.refinement_unet)
        self.learned_norm = nn.LayerNorm(width, bias=False)
        self.learned_head = nn.Linear(width, sum(RAW_CHANNELS), bias=False)
        self.register_load_state_dict_pre_hook(_rename_old_tensors)

    def init_weights(self) -> None:
        """Normal(0, 0.02) as in GS-LRM section 4.1, residual branches scaled down by depth."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith(("attention.out.weight", "mlp.2.weight"))
                nn.init.normal_(
                    parameter, std=0.02 / (math.sqrt(2 * self.config.layers) if residual else 1.0)
                )
        if self.refinement_unet is not None:
            self.refinement_unet.init_weights()

    def forward(self, images: Tensor, cameras: Cameras, heads: int = 1) -> GaussianBatch:
        """Reconstruct one head, or several that are seen from as many cameras each.

        Args:
            images: (heads * V, 3, H, W) RGB in [0, 1] on white, the views of a head side by side.
            cameras: of these images.
            heads: how many.

        Returns:
            For each head V * (H * W / patch_size^2) * grid^2 Gaussians and the learned ones; fewer with
            `skip_background`, more with `overhead_tokens`, which heads of a single view do not get.
        """
        config = self.config
        if images.shape[-2:] != (cameras.height, cameras.width):
            raise ValueError(
                f"images are {tuple(images.shape[-2:])}, cameras {(cameras.height, cameras.width)}"
            )
        overhead = config.overhead_tokens is not None and len(images) > heads
        if overhead:
            images, cameras = _add_overhead_view(images, cameras, heads)
        views = len(images) // heads
        images = F.pad(images, (0, 0, 0, config.bottom_padding), mode="replicate")
        cameras = replace(cameras, height=cameras.height + config.bottom_padding)
        mask = self._kept(images, views)
        kept, patches = mask.flatten().nonzero()[:, 0], mask[0].numel()
        parts = (self._by_patch(x, config.patch_size)[kept] for x in (images * 2 - 1, _ray_channels(cameras)))
        tokens = self.patch_embed(torch.cat([*parts], dim=-1).flatten(1))  # by row, column, channel
        head, view = kept // (views * patches), kept // patches % views
        learned, seen = self._attend(tokens, head, heads, (view == views - 1) if overhead else None)
        with torch.autocast(images.device.type, enabled=False):  # positions want more than bfloat16's 8 bits
            pixel = self._pixel(images, kept)
            raw = self.pixel_head(self.pixel_norm(seen.float())).view(-1, sum(RAW_CHANNELS))
            if self.refinement_unet is not None:
                raw = raw + self._residual(self.refinement_unet, raw, images, pixel)
            free = self.learned_head(self.learned_norm(learned.float()))
            owner = torch.arange(heads, device=head.device).repeat_interleave(config.learned_tokens)
            owners = torch.cat([owner, head.repeat_interleave(config.gaussians_per_side**2)])
            return decode(free, raw, pixel, owners, images, cameras, heads, config)

    def _attend(
        self, tokens: Tensor, head: Tensor, heads: int, query_only: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Send patch tokens, and the learned ones before them, through the transformer.

        Args:
            tokens: (N, width) head by head, a head's query-only tokens last.
            head: (N,) which of the heads each belongs to.
            heads: how many.
            query_only: (N,) which of them are not attended to, the same number in each head; None for none.

        Returns:
            (heads * learned_tokens, width) and (N, width), in the order in which they came.
        """
        learned = self.learned_tokens.expand(heads, -1, -1)
        if query_only is None:
            query_only = torch.zeros_like(head, dtype=torch.bool)
        batch, mask = pad_tokens(tokens[~query_only], torch.bincount(head[~query_only], minlength=heads))
        queries = tokens[query_only].unflatten(0, (heads, -1))
        x = self.norm_in(torch.cat([learned, batch, queries], dim=1))
        equal = heads == 1 or not self.config.skip_background
        padding_mask = None if equal else F.pad(mask, (learned.shape[1], 0), value=True)
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, queries.shape[1], padding_mask, use_reentrant=False)
            else:
                x = block(x, queries.shape[1], padding_mask)
        learned, x = x.split([learned.shape[1], batch.shape[1] + queries.shape[1]], dim=1)
        return learned.flatten(0, 1), x[F.pad(mask, (0, queries.shape[1]), value=True)]

    def reconstruct(self, images: Tensor, cameras: Cameras) -> Gaussians:
        """The finished head: what `forward` predicts, activated and filtered."""
        return self.reconstruct_batch(images[None], cameras)[0]

    def reconstruct_batch(self, images: Tensor, cameras: Cameras) -> list[Gaussians]:
        """Several finished heads at once.

        Args:
            images: (B, V, 3, H, W) RGB in [0, 1] on white.
            cameras: of the V views, which are the same for each head.
        """
        rigs = Cameras.concatenate([cameras] * len(images))
        heads = [
            gaussians.filtered(half_width=self.config.half_width, min_z=self.config.min_z)
            for gaussians in self(images.flatten(0, 1), rigs, len(images)).unbatch()
        ]
        ratio = self.config.max_aspect_ratio
        return [gaussians.shortened(ratio) for gaussians in heads] if ratio else heads

    def distances(self, image: Tensor, camera: Cameras) -> Tensor:
        """How far the surface is that one view shows, along the unit ray of each pixel.

        Args:
            image: (3, H, W) RGB in [0, 1] on white.
            camera: its camera.

        Returns:
            (H + bottom_padding, W) in world units, between the Gaussians bilinear; NaN where there are none.
        """
        predicted, side = self(image[None], camera), self.config.cell
        rows, columns = (image.shape[1] + self.config.bottom_padding) // side, image.shape[2] // side
        cells = torch.zeros(2, rows * columns, device=image.device, dtype=torch.float32)
        cells[0, predicted.pixel], cells[1, predicted.pixel] = predicted.distance, 1.0
        cells = cells.view(1, 2, rows, columns)
        total, known = F.interpolate(cells, scale_factor=side, mode="bilinear", align_corners=False)[0]
        return torch.where(known > 0, total / known, torch.nan)

    def _kept(self, images: Tensor, views: int) -> Tensor:
        """(heads * views, rows, columns) which patches become tokens.

        All of them; or those that are not white, or lie between two such in their row (a white shirt), and of
        a last view from above the middle.
        """
        rows, columns = (side // self.config.patch_size for side in images.shape[-2:])
        if self.config.skip_background:
            inked = F.max_pool2d((images.amin(dim=1) < 0.96).float(), self.config.patch_size)
            kept = inked.cummax(-1).values * inked.flip(-1).cummax(-1).values.flip(-1) > 0
        else:
            kept = torch.ones(len(images), rows, columns, dtype=torch.bool, device=images.device)
        if self.config.overhead_tokens and views > 1:
            high, wide = self.config.overhead_tokens
            top, left = (columns - high) // 2, (columns - wide) // 2  # views are square, but for the padding
            above = torch.zeros_like(kept[0])
            above[top : top + high, left : left + wide] = True
            kept[views - 1 :: views] = above
        return kept

    def _pixel(self, images: Tensor, kept: Tensor) -> Tensor:
        """(N,) index of the cell of each Gaussian of the patches that are kept, see `GaussianBatch.pixel`."""
        rows, columns = (side // self.config.cell for side in images.shape[-2:])
        index = torch.arange(len(images) * rows * columns, device=images.device)
        index = index.view(len(images), 1, rows, columns)
        return self._by_patch(index, self.config.gaussians_per_side)[kept].flatten()

    def _residual(self, unet: RefinementUNet, raw: Tensor, images: Tensor, pixel: Tensor) -> Tensor:
        """What the U-Net adds to raw Gaussians (N, C) in these cells."""
        pixels = F.pixel_unshuffle(images * 2 - 1, self.config.cell)
        views, _, rows, columns = pixels.shape
        spread = raw.new_zeros(views * rows * columns, raw.shape[-1] + 1)
        spread[pixel] = F.pad(raw, (0, 1), value=1.0)  # and where they are
        grid, there = spread.view(views, rows, columns, -1).movedim(-1, 1).split([raw.shape[-1], 1], dim=1)
        residual = unet(grid, torch.cat([pixels, there], dim=1))
        return residual.movedim(1, -1).flatten(0, 2)[pixel]

    @staticmethod
    def _by_patch(x: Tensor, grid: int) -> Tensor:
        """(V, C, H, W) -> (V * patches, grid * grid, C): the cells of each patch, row by row."""
        x = x.unflatten(2, (-1, grid)).unflatten(4, (-1, grid)).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(-1, grid * grid, x.shape[-1])


def _add_overhead_view(images: Tensor, cameras: Cameras, heads: int) -> tuple[Tensor, Cameras]:
    """Give every head one more view, which is grey, by a camera above it."""
    grey = torch.full_like(images[:heads, None], 0.5)
    images = torch.cat([images.unflatten(0, (heads, -1)), grey], dim=1).flatten(0, 1)
    above = overhead_rig(cameras.width).to(images.device)
    views = len(cameras) // heads
    rigs = [Cameras.concatenate([cameras[slice(i * views, (i + 1) * views)], above]) for i in range(heads)]
    return images, Cameras.concatenate(rigs)


def _ray_channels(cameras: Cameras) -> Tensor:
    """(V, 6, H, W): unit direction of each pixel's ray, and the ray's point nearest the origin."""
    origins, directions = cameras.rays()
    nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
    return torch.cat([directions, nearest], dim=-1).movedim(-1, 1)


def _rename_old_tensors(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Checkpoints of version 0.1 have other names for the refinement U-Net."""
    for name in [name for name in state_dict if name.startswith(f"{prefix}detail.")]:
        new = name.replace(f"{prefix}detail.", f"{prefix}refinement_unet.", 1)
        new = new.replace(".enter.", ".conv_in.").replace(".leave.", ".conv_out.")
        state_dict[new] = state_dict.pop(name)

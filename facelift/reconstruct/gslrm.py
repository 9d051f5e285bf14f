"""GS-LRM: a transformer that turns posed views into pixel-aligned 3D Gaussians (Zhang et al., ECCV 2024).

Every view is cut into patches; each patch becomes one token that carries its pixels and its rays; after
the transformer each token becomes the Gaussians of its patch, placed along those rays.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelift.cameras import Cameras
from facelift.gaussians import SH_C0, Gaussians

RAW_CHANNELS = (3, 3, 3, 4, 1)  # xyz, sh, scale, rotation, opacity
DEPTH_RANGE = 1.8  # Gaussians lie within this distance of the ray's point nearest the origin


@dataclass(frozen=True)
class GSLRMConfig:
    """The size of a GS-LRM, and where `mini` departs from the paper; the defaults are the paper's.

    Attributes:
        image_size: side of the square views in pixels.
        patch_size: side of a patch in pixels.
        width, layers, head_dim: of the transformer.
        learned_tokens: tokens that belong to no pixel; each becomes one Gaussian.
        grid: Gaussians along the side of a patch; None is one a pixel.
        residual_color: colour is the input pixel plus what the network adds.
        footprint_scale: scale is the pixel's footprint at its depth times what the network predicts.
        margin: pixels by which the views are continued at the bottom, repeating their last row: the bust goes
            on below the frame, and is seen there from above.
        aspect: no Gaussian is longer than so many times its middle axis; None sets no bound.
        half_width, floor: the box that finished heads are cut to, see `Gaussians.filtered`.
        skip_background: patches of pure white around the head get no token and no Gaussians.
    """

    image_size: int = 512
    patch_size: int = 8
    width: int = 1024
    layers: int = 24
    head_dim: int = 64
    learned_tokens: int = 2
    grid: int | None = None
    residual_color: bool = False
    footprint_scale: bool = False
    skip_background: bool = False
    margin: int = 0
    aspect: float | None = None
    half_width: float = 0.91
    floor: float = -1.0

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    @property
    def gaussians_per_side(self) -> int:
        return self.grid or self.patch_size


@dataclass(frozen=True)
class GaussianBatch:
    """What GS-LRM predicts for one head, before activation where noted.

    The first `learned` Gaussians are those of the learned tokens; the others lie on rays.

    Attributes:
        means, log_scales, sh0: (N, 3) each.
        quats: (N, 4) wxyz, not normalised.
        opacity_logits: (N,).
        pixel: (N - learned,) index of each Gaussian's cell in the flattened (view, row, column) grid, whose
            last rows are the margin's.
        distance: (N - learned,) along its unit ray, world units.
        learned: how many Gaussians belong to no pixel.
    """

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    sh0: Tensor
    pixel: Tensor
    distance: Tensor
    learned: int

    def activated(self, clamp: bool = False) -> Gaussians:
        """Gaussians ready to render; `clamp` keeps centres in [-1, 1]^3, as in training."""
        return Gaussians(
            means=self.means.clamp(-1, 1) if clamp else self.means,
            quats=F.normalize(self.quats, dim=-1),
            scales=self.log_scales.exp(),
            opacities=self.opacity_logits.sigmoid(),
            sh0=self.sh0,
        )


class Attention(nn.Module):
    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block without biases."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, head_dim)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GSLRM(nn.Module):
    """Six posed views in, Gaussians out (GS-LRM section 3; FaceLift section 3.3)."""

    exact = ("pixel_head", "learned_head")  # computed in float32 whatever the rest is in

    def __init__(self, config: GSLRMConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.learned_tokens = nn.Parameter(torch.randn(config.learned_tokens, width) * 0.02)
        self.patch_embed = nn.Linear(9 * config.patch_size**2, width, bias=False)
        self.norm_in = nn.LayerNorm(width, bias=False)
        self.blocks = nn.ModuleList(Block(width, config.head_dim) for _ in range(config.layers))
        self.pixel_norm = nn.LayerNorm(width, bias=False)
        self.pixel_head = nn.Linear(width, config.gaussians_per_side**2 * sum(RAW_CHANNELS), bias=False)
        self.learned_norm = nn.LayerNorm(width, bias=False)
        self.learned_head = nn.Linear(width, sum(RAW_CHANNELS), bias=False)

    def init_weights(self) -> None:
        """Normal(0, 0.02) as in GS-LRM section 4.1, residual branches scaled down by depth."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith(("attention.out.weight", "mlp.2.weight"))
                nn.init.normal_(
                    parameter, std=0.02 / (math.sqrt(2 * self.config.layers) if residual else 1.0)
                )

    def forward(self, images: Tensor, cameras: Cameras) -> GaussianBatch:
        """Reconstruct one head.

        Args:
            images: (V, 3, H, W) RGB in [0, 1] on white.
            cameras: the V cameras of these images.

        Returns:
            V * (H * W / patch_size^2) * grid^2 Gaussians and the learned ones; fewer with `skip_background`.
        """
        config = self.config
        if images.shape[-2:] != (cameras.height, cameras.width):
            raise ValueError(
                f"images are {tuple(images.shape[-2:])}, cameras {(cameras.height, cameras.width)}"
            )
        images = F.pad(images, (0, 0, 0, config.margin), mode="replicate")
        cameras = replace(cameras, height=cameras.height + config.margin)
        if config.skip_background:
            kept = self._foreground(images)
        else:
            kept = torch.arange(images[:, 0].numel() // config.patch_size**2, device=images.device)
        patches = (
            self._by_patch(x, config.patch_size)[kept] for x in (images * 2 - 1, _ray_channels(cameras))
        )
        tokens = self.patch_embed(torch.cat([*patches], dim=-1).flatten(1))  # by row, column, channel
        x = torch.cat([self.learned_tokens, tokens])
        x = self.norm_in(x)[None]
        for block in self.blocks:
            x = block(x)
        learned, pixels = x[0].split([config.learned_tokens, len(kept)])
        with torch.autocast(images.device.type, enabled=False):  # positions want more than bfloat16's 8 bits
            return self._to_gaussians(
                self.learned_head(self.learned_norm(learned.float())),
                self.pixel_head(self.pixel_norm(pixels.float())),
                images,
                cameras,
                kept,
            )

    def reconstruct(self, images: Tensor, cameras: Cameras) -> Gaussians:
        """The finished head: what `forward` predicts, activated and filtered."""
        gaussians = self(images, cameras).activated()
        gaussians = gaussians.filtered(half_width=self.config.half_width, floor=self.config.floor)
        return gaussians.shortened(self.config.aspect) if self.config.aspect else gaussians

    def distances(self, image: Tensor, camera: Cameras) -> Tensor:
        """How far the surface is that one view shows, along the unit ray of each pixel.

        Args:
            image: (3, H, W) RGB in [0, 1] on white.
            camera: its camera.

        Returns:
            (H + margin, W) in world units, between the Gaussians bilinear; NaN where there are none.
        """
        predicted, side = self(image[None], camera), self.config.patch_size // self.config.gaussians_per_side
        rows, columns = (image.shape[1] + self.config.margin) // side, image.shape[2] // side
        cells = torch.zeros(2, rows * columns, device=image.device)
        cells[0, predicted.pixel], cells[1, predicted.pixel] = predicted.distance, 1.0
        cells = cells.view(1, 2, rows, columns)
        total, known = F.interpolate(cells, scale_factor=side, mode="bilinear", align_corners=False)[0]
        return torch.where(known > 0, total / known, torch.nan)

    def _foreground(self, images: Tensor) -> Tensor:
        """Indices of the patches that are not white, or lie between two such in their row (a white shirt)."""
        inked = F.max_pool2d((images.amin(dim=1) < 0.96).float(), self.config.patch_size)
        spanned = inked.cummax(-1).values * inked.flip(-1).cummax(-1).values.flip(-1)
        return spanned.flatten().nonzero()[:, 0]

    def _to_gaussians(
        self, learned: Tensor, pixels: Tensor, images: Tensor, cameras: Cameras, kept: Tensor
    ) -> GaussianBatch:
        grid = self.config.gaussians_per_side
        side = self.config.patch_size // grid  # pixels along a Gaussian's cell
        cells = cameras.resized(cameras.width // side)
        origins, directions = (
            self._by_patch(r.movedim(-1, 1), grid)[kept].flatten(0, 1) for r in cells.rays()
        )
        index = torch.arange(len(cells) * cells.height * cells.width, device=images.device)
        pixel = self._by_patch(index.view(len(cells), 1, cells.height, cells.width), grid)[kept].flatten()

        xyz, sh, scale, rotation, opacity = (
            pixels.unflatten(-1, (grid**2, -1)).flatten(0, 1).split(RAW_CHANNELS, -1)
        )
        nearest = -(origins * directions).sum(-1)
        distance = (2 * xyz.mean(-1).sigmoid() - 1) * DEPTH_RANGE + nearest
        means = origins + distance[:, None] * directions
        if self.config.residual_color:
            colors = self._by_patch(F.avg_pool2d(images, side), grid)[kept].flatten(0, 1)
            sh = sh + (colors - 0.5) / SH_C0
        if self.config.footprint_scale:
            footprint = distance.clamp_min(0.1) / cells.intrinsics[0, 0]
            log_scales = scale.clamp(-4, 4) + (0.5 * footprint).log()[:, None]
        else:
            log_scales = _log_scales(scale)

        free_xyz, free_sh, free_scale, free_rotation, free_opacity = learned.split(RAW_CHANNELS, -1)
        return GaussianBatch(
            means=torch.cat([free_xyz, means]),
            quats=torch.cat([free_rotation, rotation]),
            log_scales=torch.cat([_log_scales(free_scale), log_scales]),
            opacity_logits=torch.cat([free_opacity, opacity])[:, 0] - 2.0,
            sh0=torch.cat([free_sh, sh]),
            pixel=pixel,
            distance=distance,
            learned=len(learned),
        )

    @staticmethod
    def _by_patch(x: Tensor, grid: int) -> Tensor:
        """(V, C, H, W) -> (V * patches, grid * grid, C): the cells of each patch, row by row."""
        x = x.unflatten(2, (-1, grid)).unflatten(4, (-1, grid)).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(-1, grid * grid, x.shape[-1])


def _log_scales(raw: Tensor) -> Tensor:
    return (raw - 2.3).clamp_max(-1.2)


def _ray_channels(cameras: Cameras) -> Tensor:
    """(V, 6, H, W): unit direction of each pixel's ray, and the ray's point nearest the origin."""
    origins, directions = cameras.rays()
    nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
    return torch.cat([directions, nearest], dim=-1).movedim(-1, 1)

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

from facelift.cameras import Cameras, joined, overhead
from facelift.gaussians import SH_C0, Gaussians
from facelift.reconstruct.detail import Detail

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
        detail: channels of a convolutional network that says the Gaussians of each cell again, see
            `facelift.reconstruct.detail`; None, the paper's, leaves them as the tokens say them.
        margin: pixels by which the views are continued at the bottom, repeating their last row: the bust goes
            on below the frame, and is seen there from above.
        crown: rows and columns of patches in the middle of what a camera above the head would see. No view
            shows them: their pixels are grey, and what their rays meet is for the model to say. They see the
            views' tokens and are seen by none, so that what those become does not hang on them. None, the
            paper's, leaves what no view sees to the Gaussians of those that see its rim.
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
    crown: tuple[int, int] | None = None
    detail: tuple[int, int] | None = None
    margin: int = 0
    aspect: float | None = None
    half_width: float = 0.91
    floor: float = -1.0

    def __post_init__(self) -> None:
        if self.crown and max(self.crown) > self.image_size // self.patch_size:
            raise ValueError(f"a crown of {self.crown} patches is larger than a view")
        if self.detail and (self.image_size // self.cell % 2 or self.margin // self.cell % 2):
            raise ValueError("details need an even number of cells along the sides of views and margin")

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    @property
    def gaussians_per_side(self) -> int:
        return self.grid or self.patch_size

    @property
    def cell(self) -> int:
        """Pixels along the side of a Gaussian's cell."""
        return self.patch_size // self.gaussians_per_side


@dataclass(frozen=True)
class GaussianBatch:
    """What GS-LRM predicts for one head or for several, before activation where noted.

    The first `learned` Gaussians are those of the learned tokens; the others lie on rays. Either come head by
    head.

    Attributes:
        means, log_scales, sh0: (N, 3) each.
        quats: (N, 4) wxyz, not normalised.
        opacity_logits: (N,).
        pixel: (N - learned,) index of each Gaussian's cell in the flattened (head, view, row, column) grid,
            whose last rows are the margin's, and whose last view is that from above if there is a crown.
        distance: (N - learned,) along its unit ray, world units.
        learned: how many Gaussians belong to no pixel.
        head: (N,) which of the `heads` each belongs to.
    """

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    sh0: Tensor
    pixel: Tensor
    distance: Tensor
    learned: int
    head: Tensor
    heads: int

    def activated(self, clamp: bool = False) -> Gaussians:
        """Gaussians ready to render; `clamp` keeps centres in [-1, 1]^3, as in training."""
        return Gaussians(
            means=self.means.clamp(-1, 1) if clamp else self.means,
            quats=F.normalize(self.quats, dim=-1),
            scales=self.log_scales.exp(),
            opacities=self.opacity_logits.sigmoid(),
            sh0=self.sh0,
        )

    def each(self, clamp: bool = False) -> list[Gaussians]:
        """The heads one by one, as `activated` has them all."""
        together = self.activated(clamp)
        return [together[self.head == i] for i in range(self.heads)]


class _People:
    """Which tokens belong to which head, for heads of unequal numbers of tokens in one row."""

    def __init__(self, owner: Tensor, heads: int, silent: Tensor) -> None:
        """
        Args:
            owner: (T,) the head of each token, 0 to heads - 1 in any order.
            silent: (T,) tokens that see the others and are seen by none.
        """
        counts = F.one_hot(owner, heads).cumsum(dim=0)
        self.heads, self.most = heads, int(counts[-1].max())
        self.places = owner * self.most + counts[torch.arange(len(owner), device=owner.device), owner] - 1
        heard = torch.zeros(heads * self.most, dtype=torch.bool, device=owner.device)
        heard[self.places] = ~silent
        self.mask = heard.view(heads, 1, 1, self.most)

    def apart(self, x: Tensor) -> Tensor:
        """(T, C) -> (heads, most, C), zeros where a head has fewer tokens."""
        spread = x.new_zeros(self.heads * self.most, x.shape[-1])
        return spread.index_copy(0, self.places, x).unflatten(0, (self.heads, self.most))

    def together(self, x: Tensor) -> Tensor:
        """The inverse of `apart`."""
        return x.flatten(0, 1)[self.places]


class Attention(nn.Module):
    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, people: _People | None = None) -> Tensor:
        """(T, width) tokens see all others, or only those of their own head."""
        qkv = self.qkv(x)
        qkv = qkv[None] if people is None else people.apart(qkv)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, None if people is None else people.mask)
        seen = seen.transpose(1, 2).flatten(2)
        return self.out(seen[0] if people is None else people.together(seen))


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

    def forward(self, x: Tensor, people: _People | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x), people)
        return x + self.mlp(self.norm2(x))


class GSLRM(nn.Module):
    """Six posed views in, Gaussians out (GS-LRM section 3; FaceLift section 3.3)."""

    exact = ("pixel_head", "learned_head", "detail")  # computed in float32 whatever the rest is in

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
        self.detail: Detail | None = None
        if config.detail:
            self.detail = Detail(sum(RAW_CHANNELS), 3 * config.cell**2 + 1, config.detail)
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
        if self.detail is not None:
            self.detail.init_weights()

    def forward(self, images: Tensor, cameras: Cameras, heads: int = 1) -> GaussianBatch:
        """Reconstruct one head, or several that are seen from as many cameras each.

        Args:
            images: (heads * V, 3, H, W) RGB in [0, 1] on white, the views of a head side by side.
            cameras: of these images.

        Returns:
            For each head V * (H * W / patch_size^2) * grid^2 Gaussians and the learned ones; fewer with
            `skip_background`, more with a `crown`, which heads of a single view do not get.
        """
        config = self.config
        if images.shape[-2:] != (cameras.height, cameras.width):
            raise ValueError(
                f"images are {tuple(images.shape[-2:])}, cameras {(cameras.height, cameras.width)}"
            )
        above = config.crown is not None and len(images) > heads
        if above:
            images, cameras = _from_above(images, cameras, heads)
        views = len(images) // heads
        images = F.pad(images, (0, 0, 0, config.margin), mode="replicate")
        cameras = replace(cameras, height=cameras.height + config.margin)
        mask = self._kept(images, views)
        kept, patches = mask.flatten().nonzero()[:, 0], mask[0].numel()
        parts = (self._by_patch(x, config.patch_size)[kept] for x in (images * 2 - 1, _ray_channels(cameras)))
        tokens = self.patch_embed(torch.cat([*parts], dim=-1).flatten(1))  # by row, column, channel
        head, view = kept // (views * patches), kept // patches % views
        owner = torch.arange(heads, device=head.device).repeat_interleave(config.learned_tokens)
        x = torch.cat([self.learned_tokens.repeat(heads, 1), tokens])
        apart = None
        if heads > 1 or above:
            silent = F.pad(above & (view == views - 1), (len(owner), 0))
            apart = _People(torch.cat([owner, head]), heads, silent)
        x = self.norm_in(x)
        for block in self.blocks:
            x = block(x, apart)
        learned, seen = x.split([len(owner), len(kept)])
        with torch.autocast(images.device.type, enabled=False):  # positions want more than bfloat16's 8 bits
            pixel = self._pixel(images, kept)
            raw = self.pixel_head(self.pixel_norm(seen.float())).view(-1, sum(RAW_CHANNELS))
            if self.detail is not None:
                raw = raw + self._detailed(raw, images, pixel)
            return self._to_gaussians(
                self.learned_head(self.learned_norm(learned.float())),
                raw,
                images,
                cameras,
                pixel,
                torch.cat([owner, head.repeat_interleave(config.gaussians_per_side**2)]),
                heads,
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
        predicted, side = self(image[None], camera), self.config.cell
        rows, columns = (image.shape[1] + self.config.margin) // side, image.shape[2] // side
        cells = torch.zeros(2, rows * columns, device=image.device)
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
        if self.config.crown and views > 1:
            high, wide = self.config.crown
            top, left = (columns - high) // 2, (columns - wide) // 2  # views are square, but for the margin
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

    def _detailed(self, raw: Tensor, images: Tensor, pixel: Tensor) -> Tensor:
        """What `detail` adds to raw Gaussians (N, C) in these cells."""
        assert self.detail is not None
        pixels = F.pixel_unshuffle(images * 2 - 1, self.config.cell)
        views, _, rows, columns = pixels.shape
        spread = raw.new_zeros(views * rows * columns, raw.shape[-1] + 1)
        spread[pixel] = F.pad(raw, (0, 1), value=1.0)  # and where they are
        said, there = spread.view(views, rows, columns, -1).movedim(-1, 1).split([raw.shape[-1], 1], dim=1)
        added = self.detail(said, torch.cat([pixels, there], dim=1))
        return added.movedim(1, -1).flatten(0, 2)[pixel]

    def _to_gaussians(
        self,
        learned: Tensor,
        raw: Tensor,
        images: Tensor,
        cameras: Cameras,
        pixel: Tensor,
        head: Tensor,
        heads: int,
    ) -> GaussianBatch:
        cells = cameras.resized(cameras.width // self.config.cell)
        origins, directions = (rays.flatten(0, 2)[pixel] for rays in cells.rays())
        xyz, sh, scale, rotation, opacity = raw.split(RAW_CHANNELS, -1)
        nearest = -(origins * directions).sum(-1)
        distance = (2 * xyz.mean(-1).sigmoid() - 1) * DEPTH_RANGE + nearest
        means = origins + distance[:, None] * directions
        if self.config.residual_color:
            colors = F.avg_pool2d(images, self.config.cell).movedim(1, -1).flatten(0, 2)[pixel]
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
            head=head,
            heads=heads,
        )

    @staticmethod
    def _by_patch(x: Tensor, grid: int) -> Tensor:
        """(V, C, H, W) -> (V * patches, grid * grid, C): the cells of each patch, row by row."""
        x = x.unflatten(2, (-1, grid)).unflatten(4, (-1, grid)).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(-1, grid * grid, x.shape[-1])


def _from_above(images: Tensor, cameras: Cameras, heads: int) -> tuple[Tensor, Cameras]:
    """Give every head one more view, which is grey, by a camera above it."""
    grey = torch.full_like(images[:heads, None], 0.5)
    images = torch.cat([images.unflatten(0, (heads, -1)), grey], dim=1).flatten(0, 1)
    above = overhead(cameras.width).to(images.device)
    views = len(cameras) // heads
    rigs = [joined(cameras[slice(i * views, (i + 1) * views)], above) for i in range(heads)]
    return images, joined(*rigs)


def _log_scales(raw: Tensor) -> Tensor:
    return (raw - 2.3).clamp_max(-1.2)


def _ray_channels(cameras: Cameras) -> Tensor:
    """(V, 6, H, W): unit direction of each pixel's ray, and the ray's point nearest the origin."""
    origins, directions = cameras.rays()
    nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
    return torch.cat([directions, nearest], dim=-1).movedim(-1, 1)

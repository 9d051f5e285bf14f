"""What a portrait shows: one network for matte, parts, depth, normals, landmarks and attributes.

A vision transformer at a sixteenth of the resolution (Dosovitskiy et al., ICLR 2021), with a few
convolutions before it and a light decoder after it, as in dense prediction transformers (Ranftl, Bochkovskiy,
Koltun, ICCV 2021). Beside the colours its input has the prior of where a person is around the face that was
found, so that it describes that person. Each landmark has a heat map whose mean position it is (Sun et al.,
"Integral Human Pose Regression", ECCV 2018).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelift.data.parts import PARTS
from facelift.portrait.landmarks import POINTS, LandmarkFraming
from facelift.transformer import Block

PATCH_SIZE = 16  # pixels along a token
MAP_STRIDE = 4  # pixels along a cell of a landmark's map
GROUP_SIZE = 16  # channels that are normalised together
DEPTH_SPREAD = 0.2  # world units of depth that one unit of the network's output stands for


@dataclass(frozen=True)
class PortraitNetworkConfig:
    """The size of a `PortraitNetwork`.

    Attributes:
        widths: channels at a half, a quarter and an eighth of the resolution; multiples of GROUP_SIZE.
        width: of the transformer; a multiple of head_dim.
        layers: of the transformer.
        head_dim: of its attention.
        attributes: what is asked of the person, and the answers that there are.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    width: int = 256
    layers: int = 8
    head_dim: int = 64
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.widths) != 3 or any(width % GROUP_SIZE for width in self.widths):
            raise ValueError(f"widths are three multiples of {GROUP_SIZE}, not {self.widths}")
        if self.width % self.head_dim:
            raise ValueError(f"a width of {self.width} cannot be divided into heads of {self.head_dim}")

    def to_dict(self) -> dict[str, object]:
        """What its JSON file holds."""
        return asdict(self)


@dataclass(frozen=True)
class PortraitPrediction:
    """What the network sees in B pictures.

    Attributes:
        logits: (B, 1, H, W) log odds that a pixel is the person's.
        parts: (B, len(PARTS), H, W) logits of the part that a pixel shows.
        depth: (B, 1, H, W) how far the surface is behind the head's centre along the camera's z, world
            units; negative before it.
        normals: (B, 3, H, W) of length one, in the camera's axes.
        maps: (B, 68, H / MAP_STRIDE, W / MAP_STRIDE) logits of where each landmark is.
        attributes: (B, answers) logits, by what was asked.
    """

    logits: Tensor
    parts: Tensor
    depth: Tensor
    normals: Tensor
    maps: Tensor
    attributes: dict[str, Tensor]

    @property
    def points(self) -> Tensor:
        """(B, 68, 2) x and y of the landmarks in pixels."""
        likely = self.maps.flatten(2).softmax(-1).view_as(self.maps)
        axes = (torch.arange(n, device=likely.device, dtype=likely.dtype) + 0.5 for n in likely.shape[-2:])
        y, x = (axis * MAP_STRIDE for axis in axes)
        return torch.stack([(likely.sum(2) * x).sum(-1), (likely.sum(3) * y).sum(-1)], dim=-1)

    @property
    def entropy(self) -> Tensor:
        """(B, 68) of the distribution of each landmark's place, nats; high where it is hidden."""
        likely = self.maps.flatten(2).log_softmax(-1)
        return -(likely.exp() * likely).sum(-1)


class PortraitNetwork(nn.Module):
    """Colours and the prior logits of a person, (B, 4, H, W), become a `PortraitPrediction`."""

    def __init__(self, config: PortraitNetworkConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth = config.widths
        self.stem_blocks = nn.ModuleList(
            [
                _conv(16, half),
                _conv(half, quarter, 2),
                _conv(quarter, eighth, 2),
                _conv(eighth, config.width, 2),
            ]
        )
        self.attribute_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.head_dim) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.up_blocks = nn.ModuleList(
            [UpBlock(config.width, eighth), UpBlock(eighth, quarter), UpBlock(quarter, half)]
        )
        self.map_head = nn.Conv2d(quarter, POINTS, 1)
        self.pixel_head = nn.Conv2d(half, 4 * (1 + len(PARTS) + 1 + 3), 1)
        self.attribute_heads = nn.ModuleDict(
            {name: nn.Linear(config.width, len(answers)) for name, answers in config.attributes.items()}
        )
        self.framing = LandmarkFraming()

    def forward(self, layers: Tensor) -> PortraitPrediction:
        """H and W are multiples of PATCH_SIZE."""
        x = F.pixel_unshuffle(layers, 2)
        skips: list[Tensor] = []
        for block in self.stem_blocks:
            x = block(x)
            skips.append(x)
        rows, columns = x.shape[-2:]
        tokens = x.flatten(2).mT + position_embedding(rows, columns, self.config.width).to(x)
        tokens = torch.cat([self.attribute_token.expand(len(x), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        x = tokens[:, 1:].mT.unflatten(2, (rows, columns)).contiguous(memory_format=torch.channels_last)
        coarse_to_fine = []
        for up, skip in zip(self.up_blocks, skips[-2::-1], strict=True):
            x = up(x, skip)
            coarse_to_fine.append(x)
        pixels = F.pixel_shuffle(self.pixel_head(x), 2)
        logits, parts, depth, normals = pixels.split([1, len(PARTS), 1, 3], dim=1)
        return PortraitPrediction(
            logits,
            parts,
            DEPTH_SPREAD * depth,
            F.normalize(normals, dim=1),
            self.map_head(coarse_to_fine[-2]),
            {name: head(tokens[:, 0]) for name, head in self.attribute_heads.items()},
        )

    @torch.no_grad()
    def predict(self, rgb: Tensor, prior: Tensor) -> PortraitPrediction:
        """What one picture of any size shows, as a batch of one.

        Args:
            rgb: (3, H, W) in [0, 1]; about 256 pixels a portrait is what it was trained at.
            prior: (H, W) log odds, see `facelift.portrait.matte.prior`.
        """
        h, w = prior.shape
        rim = (0, -w % PATCH_SIZE, 0, -h % PATCH_SIZE)
        found = self(F.pad(stack_inputs(rgb[None], prior[None, None]), rim, mode="replicate"))
        logits, parts, depth, normals = (
            x[..., :h, :w] for x in (found.logits, found.parts, found.depth, found.normals)
        )
        return PortraitPrediction(logits, parts, depth, normals, found.maps, found.attributes)


def position_embedding(rows: int, columns: int, width: int) -> Tensor:
    """(rows * columns, width) sines and cosines of the row and of the column, a quarter of the width each."""
    frequencies = 1000 ** -torch.linspace(0, 1, width // 4, dtype=torch.float32)
    y, x = (torch.arange(n, dtype=torch.float32)[:, None] * frequencies for n in (rows, columns))
    axes = [torch.cat([axis.sin(), axis.cos()], dim=-1) for axis in (y, x)]
    y, x = axes[0][:, None].expand(-1, columns, -1), axes[1][None].expand(rows, -1, -1)
    return torch.cat([y, x], dim=-1).flatten(0, 1)


def stack_inputs(rgb: Tensor, prior: Tensor) -> Tensor:
    """(B, 3, H, W) colours in [0, 1] and (B, 1, H, W) logits of the prior become its input."""
    return torch.cat([rgb * 2 - 1, prior / 6], dim=1)


class UpBlock(nn.Module):
    """(B, C, h, w) and what there was at twice the resolution become (B, width, 2 h, 2 w)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(inputs, width, 1)
        self.merge = _conv(2 * width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """`skip` is (B, width, 2 h, 2 w)."""
        x = F.interpolate(self.project(x), scale_factor=2, mode="bilinear", align_corners=False)
        return self.merge(torch.cat([skip, x], dim=1))


def _conv(inputs: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(width // GROUP_SIZE, width),
        nn.SiLU(),
    )

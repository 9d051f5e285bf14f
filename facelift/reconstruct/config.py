"""The configuration of a GS-LRM."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from facelift import old_names
from facelift.old_names import renamed


@dataclass(frozen=True)
class GSLRMConfig:
    """The size of a GS-LRM, and where `mini` departs from the paper; the defaults are the paper's.

    Attributes:
        image_size: side of the square views in pixels.
        patch_size: side of a patch in pixels.
        width, layers, head_dim: of the transformer.
        learned_tokens: tokens that belong to no pixel; each becomes one Gaussian.
        grid: Gaussians along the side of a patch; None, the paper's, is one a pixel.
        residual_color: colour is the input pixel plus what the network adds.
        footprint_scale: scale is the pixel's footprint at its depth times what the network predicts.
        refinement_unet: channels of a convolutional network that refines the Gaussians of each cell, see
            `facelift.reconstruct.refinement_unet`; None, the paper's, takes them as the tokens predict them.
        bottom_padding: pixels by which the views are continued at the bottom, repeating their last row: the
            bust goes on below the frame, where a camera from above sees it.
        overhead_tokens: rows and columns of patches in the middle of what a camera above the head would see.
            No view shows them: their pixels are grey, and the model predicts what their rays meet. They
            attend to the views' tokens and are not attended to, so that the others do not depend on them.
            None, the paper's, has no such tokens.
        max_aspect_ratio: no Gaussian is longer than so many times its middle axis; None sets no bound.
        half_width, min_z: the box that finished heads are cut to, see `Gaussians.filtered`.
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
    overhead_tokens: tuple[int, int] | None = None
    refinement_unet: tuple[int, int] | None = None
    bottom_padding: int = 0
    max_aspect_ratio: float | None = None
    half_width: float = 0.91
    min_z: float = -1.0

    def __post_init__(self) -> None:
        if self.overhead_tokens and max(self.overhead_tokens) > self.image_size // self.patch_size:
            raise ValueError(f"overhead_tokens {self.overhead_tokens} are more patches than a view has")
        if self.refinement_unet and (
            self.image_size // self.cell % 2 or self.bottom_padding // self.cell % 2
        ):
            raise ValueError("a refinement_unet needs an even number of cells along views and bottom_padding")

    @classmethod
    def from_dict(cls, **values: Any) -> GSLRMConfig:
        """A configuration as `config.json` holds it; the names of version 0.1 are still read."""
        return cls(**renamed(values, old_names.RECONSTRUCTOR))

    def to_dict(self) -> dict[str, object]:
        """Plain values, as JSON holds them."""
        return asdict(self)

    @property
    def gaussians_per_side(self) -> int:
        """Along the side of a patch."""
        return self.grid or self.patch_size

    @property
    def cell(self) -> int:
        """Pixels along the side of a Gaussian's cell."""
        return self.patch_size // self.gaussians_per_side

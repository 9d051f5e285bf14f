"""The fit: Gaussians become one surface and are fitted to the views that they came from."""

from facelift.refine.config import RefineConfig
from facelift.refine.detail import add_detail
from facelift.refine.fit import refine

__all__ = ["RefineConfig", "add_detail", "refine"]

"""Stage 1: one portrait becomes six views."""

from facelift.views.generator import ViewGenerator, ViewGeneratorConfig

__all__ = ["ViewGenerator", "ViewGeneratorConfig"]

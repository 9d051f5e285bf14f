"""One photo of a face in, a complete 3D head out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facelift.head import Head
    from facelift.pipeline import FaceLift

__all__ = ["FaceLift", "Head"]


def __getattr__(name: str) -> object:
    """The pipeline, loaded when it is first asked for: the command line answers faster without torch."""
    if name in __all__:
        from facelift import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

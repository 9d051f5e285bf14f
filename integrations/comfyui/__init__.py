"""FaceLift in ComfyUI: a photo becomes a 3D head. ComfyUI finds the nodes by the two names below."""

try:
    import facelift.pipeline  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"FaceLift is not installed in ComfyUI's Python ({error}): see the README of this folder. "
        "The package that PyPI calls facelift is another project."
    ) from error

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

"""A photo becomes a centred square portrait on white."""

from facelift.portrait.align import Portrait, prepare_portrait
from facelift.portrait.framing import Framing
from facelift.portrait.load import load_photo

__all__ = ["Framing", "Portrait", "load_photo", "prepare_portrait"]

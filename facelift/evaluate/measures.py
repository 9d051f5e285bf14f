"""All measures that can be made on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from facelift.errors import UserError
from facelift.evaluate.consistency import NEIGHBOR_CONSISTENCY
from facelift.evaluate.identity import arcface_measure, dlib_measure
from facelift.evaluate.learned import dreamsim_measure, lpips_measure
from facelift.evaluate.metrics import IMAGE_MEASURES, Measure


def available_measures(fetch: bool, vgg: bool = False) -> tuple[list[Measure], dict[str, str]]:
    """The measures, in the order of the tables, and why the others cannot be made.

    Args:
        fetch: whether their weights may be downloaded.
        vgg: LPIPS by VGG as well, as FaceLift's own code has it.
    """
    measures, missing = list(IMAGE_MEASURES), {}
    loads: dict[str, Callable[[], Measure]] = {
        "LPIPS": partial(lpips_measure, fetch),
        "LPIPS (VGG)": partial(lpips_measure, fetch, "vgg"),
        "DreamSim": partial(dreamsim_measure, fetch),
        "identity (dlib)": dlib_measure,
        "identity (ArcFace)": partial(arcface_measure, fetch),
    }
    if not vgg:
        del loads["LPIPS (VGG)"]
    for label, load in loads.items():
        try:
            measures.append(load())
        except UserError as reason:
            missing[label] = str(reason)
    return [*measures, NEIGHBOR_CONSISTENCY], missing

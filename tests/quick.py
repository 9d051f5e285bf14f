"""The packaged model, loaded once for all tests that only want to see code run, with a fit of two steps."""

from dataclasses import replace
from functools import cache, partialmethod

from facelift import FaceLift, Head
from facelift.refine import RefineConfig


@cache
def quick_model() -> FaceLift:
    model = FaceLift.from_pretrained(device="cpu")
    model.settings = replace(model.settings, refinement=RefineConfig(steps=2))
    return model


def be_quick(monkeypatch) -> None:
    """Whoever loads the packaged model gets the quick one; a turntable has four frames if none are named."""
    model = quick_model()
    monkeypatch.setattr(FaceLift, "from_pretrained", lambda *args, **kwargs: model)
    monkeypatch.setattr(Head, "turntable", partialmethod(Head.turntable, frames=4))

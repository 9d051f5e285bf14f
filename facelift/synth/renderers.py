"""The renderers of a scene, by name."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, get_args

from numpy import uint8
from numpy.typing import NDArray

from facelift.cameras import Cameras
from facelift.choices import RendererName
from facelift.data.schema import CYCLES_SAMPLES
from facelift.errors import UserError
from facelift.synth.scene import Floats, Scene


class SceneRenderer(AbstractContextManager["SceneRenderer"], Protocol):
    """What draws scenes: `opengl.Renderer`, fast, or `cycles.Renderer`, true to how light goes."""

    def render(self, scene: Scene, cameras: Cameras) -> tuple[NDArray[uint8], Floats]:
        """Draw one scene from N cameras: rgba (N, H, W, 4) uint8, z-depth (N, H, W) in world units."""
        ...


def open_renderer(name: RendererName, samples: int = CYCLES_SAMPLES) -> SceneRenderer:
    """The renderer of that name; `samples` is for Cycles, OpenGL draws four to a pixel.

    Raises:
        UserError: for another name or no samples, or if what the renderer needs is not installed.
    """
    if samples < 1:
        raise UserError(f"--samples must be at least 1, not {samples}.")
    if name == "opengl":
        from facelift.synth import opengl

        return opengl.Renderer()
    if name == "cycles":
        from facelift.synth import cycles

        return cycles.Renderer(samples)
    raise UserError(f"--renderer must be {' or '.join(get_args(RendererName))}, not {name!r}.")

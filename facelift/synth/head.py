"""One synthetic head, from a seed to arrays: `draw_head(seed, assets, renderer, cameras)`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from facelift.cameras import Cameras
from facelift.synth.assets import Assets
from facelift.synth.build import build_scene
from facelift.synth.landmarks import Landmarks, locate, see
from facelift.synth.opengl import Renderer
from facelift.synth.person import Person
from facelift.synth.renderers import Renderer as AnyRenderer
from facelift.synth.sampling import sample_person
from facelift.synth.scene import Drawing, Scene


@dataclass(frozen=True)
class Head:
    """A person, and what N cameras see of it.

    Attributes:
        landmarks: None for what is no person of MakeHuman's.
    """

    person: Person
    cameras: Cameras
    drawing: Drawing
    landmarks: Landmarks | None


@dataclass(frozen=True)
class Sitter:
    """A person, built to be drawn."""

    person: Person
    scene: Scene


def draw_head(
    seed: int, assets: Assets, renderer: Renderer, cameras: Cameras, artist: AnyRenderer | None = None
) -> Head:
    """The person of that seed from every camera; the same seed gives the same head; see `draw_sitter`."""
    return draw_sitter(seat(seed, assets), renderer, cameras, artist)


def draw_person(
    person: Person, assets: Assets, renderer: Renderer, cameras: Cameras, artist: AnyRenderer | None = None
) -> Head:
    """One person, built and drawn from every camera; see `draw_sitter`."""
    return draw_sitter(Sitter(person, build_scene(person, assets)), renderer, cameras, artist)


def seat(seed: int, assets: Assets) -> Sitter:
    """Sample a person and build it.

    Raises:
        UserError: if an asset that the person uses is not there, or cannot be read.
    """
    person = sample_person(seed, assets)
    return Sitter(person, build_scene(person, assets))


def draw_sitter(
    sitter: Sitter, renderer: Renderer, cameras: Cameras, artist: AnyRenderer | None = None
) -> Head:
    """One person, drawn from every camera.

    Args:
        renderer: OpenGL's, which knows all ground truth to the pixel.
        artist: another renderer, for the pictures; by default they are OpenGL's as well.
    """
    scene = sitter.scene
    drawing = renderer.draw(scene, cameras)
    if artist is not None:
        drawing = replace(drawing, rgba=artist.render(scene, cameras)[0])
    seen = None if scene.base is None else see(locate(scene.base), cameras, drawing.depth)
    return Head(sitter.person, cameras, drawing, seen)

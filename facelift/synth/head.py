"""One synthetic head, from a seed to arrays: `draw_head(seed, assets, renderer, cameras)`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from facelift.cameras import Cameras
from facelift.synth.assets import Assets
from facelift.synth.build import build_scene
from facelift.synth.landmarks import Landmarks, locate, see
from facelift.synth.opengl import Renderer
from facelift.synth.person import Person
from facelift.synth.recipes import sample_by_recipe
from facelift.synth.renderers import SceneRenderer
from facelift.synth.scene import Drawing, Scene


@dataclass(frozen=True)
class SyntheticHead:
    """A person, and what N cameras see of it.

    Attributes:
        landmarks: None for what is no person of MakeHuman's.
    """

    person: Person
    cameras: Cameras
    drawing: Drawing
    landmarks: Landmarks | None


@dataclass(frozen=True)
class BuiltPerson:
    """A person, built to be drawn."""

    person: Person
    scene: Scene


def draw_head(
    seed: int,
    assets: Assets,
    renderer: Renderer,
    cameras: Cameras,
    picture_renderer: SceneRenderer | None = None,
    recipe: int | None = None,
) -> SyntheticHead:
    """The person of that seed; the same seed and recipe give the same head; see `draw_built_person`."""
    return draw_built_person(build_person(seed, assets, recipe), renderer, cameras, picture_renderer)


def draw_person(
    person: Person,
    assets: Assets,
    renderer: Renderer,
    cameras: Cameras,
    picture_renderer: SceneRenderer | None = None,
) -> SyntheticHead:
    """One person, built and drawn; see `draw_built_person`."""
    built = BuiltPerson(person, build_scene(person, assets))
    return draw_built_person(built, renderer, cameras, picture_renderer)


def build_person(seed: int, assets: Assets, recipe: int | None = None) -> BuiltPerson:
    """Sample a person, see `facelift.synth.recipes`, and build it.

    Raises:
        UserError: if an asset that the person uses is not there, or cannot be read.
    """
    person = sample_by_recipe(seed, assets, recipe)
    return BuiltPerson(person, build_scene(person, assets))


def draw_built_person(
    built: BuiltPerson,
    renderer: Renderer,
    cameras: Cameras,
    picture_renderer: SceneRenderer | None = None,
) -> SyntheticHead:
    """A person as every camera sees it.

    Args:
        built: the person and its scene.
        renderer: OpenGL's, which knows all ground truth to the pixel.
        cameras: N of them.
        picture_renderer: another renderer for the pictures; None takes them from `renderer` as well.
    """
    scene = built.scene
    drawing = renderer.draw(scene, cameras)
    if picture_renderer is not None:
        drawing = replace(drawing, rgba=picture_renderer.render(scene, cameras)[0])
    landmarks = None if scene.base is None else see(locate(scene.base), cameras, drawing.depth)
    return SyntheticHead(built.person, cameras, drawing, landmarks)

"""One synthetic head, from a seed to arrays: `draw_head(seed, assets, renderer, cameras)`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facelift.cameras import Cameras
from facelift.errors import UserError
from facelift.synth.assets import Assets
from facelift.synth.build import build_scene
from facelift.synth.landmarks import Landmarks, locate, see
from facelift.synth.opengl import Renderer
from facelift.synth.person import Person
from facelift.synth.photo import background, photo_camera
from facelift.synth.recipes import sample_by_recipe
from facelift.synth.renderers import SceneRenderer
from facelift.synth.scene import Drawing, Scene


@dataclass(frozen=True)
class SyntheticHead:
    """A person, and what N cameras see of it.

    Attributes:
        landmarks: None for what is no person of MakeHuman's.
        background: (N, H, W, 3) uint8 sRGB, what is behind the person in a photo; None for other views.
    """

    person: Person
    cameras: Cameras
    drawing: Drawing
    landmarks: Landmarks | None
    background: NDArray[np.uint8] | None = None


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


def draw_photo(
    built: BuiltPerson,
    assets: Assets,
    renderer: Renderer,
    size: int,
    picture_renderer: SceneRenderer | None = None,
) -> SyntheticHead:
    """A person as the camera of their own photo sees them, and what is behind; see `draw_built_person`.

    Raises:
        UserError: the person is of recipe 1, which has no photos.
    """
    photo, base = built.person.photo, built.scene.base
    if photo is None or base is None:
        raise UserError("Only people of recipe 2 have photos: leave out --recipe 1, or take another --rig.")
    camera = photo_camera(photo, base, assets, size)
    head = draw_built_person(built, renderer, camera, picture_renderer)
    return replace(head, background=background(photo, camera, assets)[None])

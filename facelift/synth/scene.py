"""What the two halves of the generator share: people are built into a scene, renderers draw a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """One textured triangle mesh of a person, in world units (z up, the face looks along -y).

    Attributes:
        name: skin, eyes, brows, lashes, teeth, tongue, hair, beard, clothes, glasses or hat; several parts
            of a person may share one.
        vertices: (V, 3) float32, split where the texture seams are, so that one index serves all.
        normals: (V, 3) float32, unit and smooth across seams.
        uvs: (V, 2) float32; v grows upwards, the texture's first row is v = 1.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        texture: (H, W, 4) uint8, sRGB with straight alpha.
        alpha: whether the texture's alpha cuts the surface (hair, brows and lashes are such cards).
        roughness: 0 mirror to 1 matte.
        specular: strength of the specular layer, 0 to 1.
    """

    name: str
    vertices: Floats
    normals: Floats
    uvs: Floats
    faces: NDArray[np.int32]
    texture: NDArray[np.uint8]
    alpha: bool = False
    roughness: float = 0.6
    specular: float = 0.2


@dataclass(frozen=True)
class Light:
    """What surrounds a person, and a few lamps; colours are linear RGB, about 1 when bright.

    A white matte surface has the colour 1 under an environment that is 1 all round, and so it has where it
    faces one lamp of colour 1.

    Attributes:
        environment: (H, W, 3) float32 radiance from afar, equirectangular. Pixel (i, j) lies in direction
            (sin t cos p, sin t sin p, cos t) with t = (i + 0.5) / H * pi from +z (up) and
            p = (j + 0.5) / W * 2 pi about z from +x, world axes.
        directions: (L, 3) float32, unit vectors from the head towards each lamp, world axes.
        colors: (L, 3) float32 of each lamp.
        spreads: (L,) float32, each lamp's angular radius in radians: the larger, the softer its shadows.
        exposure: factor on linear light before it is encoded as sRGB.
    """

    environment: Floats
    directions: Floats
    colors: Floats
    spreads: Floats
    exposure: float = 1.0


@dataclass(frozen=True)
class Scene:
    """What is drawn.

    Attributes:
        base: (19158, 3) float32 world points, MakeHuman's base mesh as this person wears and holds it, of
            which the landmarks are vertices; None where there is no person.
    """

    parts: tuple[Part, ...]
    light: Light
    base: Floats | None = None


@dataclass(frozen=True)
class Drawing:
    """What N cameras see of a scene, pixel by pixel.

    Attributes:
        rgba: (N, H, W, 4) uint8, sRGB with straight alpha; zero where nothing is.
        depth: (N, H, W) float32, distance along the camera's z axis to the nearest surface at the pixel's
            centre, in world units; 0 where nothing is.
        normals: (N, H, W, 3) uint8, of that surface, towards the camera's side, in world axes: 0 to 255 is
            -1 to 1, and zero where nothing is.
        parts: (N, H, W) uint8, which part it is: see `facelift.data.parts`.
    """

    rgba: NDArray[np.uint8]
    depth: Floats
    normals: NDArray[np.uint8]
    parts: NDArray[np.uint8]

"""Hats: MakeHuman's fedora, and a beanie and a cap made to measure from the skin of the head.

What hair would come through a hat is cut where the hat sits. Places are those of the base mesh (decimetres,
y up, the face along +z), carried to the person's own head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facelift.synth.assets import Assets
from facelift.synth.groom import to_base
from facelift.synth.meshes import smooth_normals, triangles
from facelift.synth.scene import Floats, Ints
from facelift.synth.values import Triple

# Where each kind sits: height above the ears (z = 0.3), and its rise from there per decimetre ahead.
HAT_HEIGHTS = {"fedora": (7.66, 0.05), "beanie": (7.5, 0.19), "cap": (7.52, 0.16)}

FEDORAS = ("clothes/fedora01/fedora.mhclo", "clothes/fedora01/fedora_cocked.mhclo")

# How far a knitted or sewn hat stands off the skin, decimetres; its edge is rolled.
HAT_THICKNESS, ROLL, EDGE = 0.09, 0.05, 0.16
# Hair reaches this far up under a hat; thick hair would come through higher up.
HAIR_LINE = 0.0


@dataclass(frozen=True)
class Hat:
    """A hat.

    Attributes:
        kind: fedora, beanie or cap.
        proxy: the fedora's, None for the others.
        color: sRGB.
    """

    kind: str
    proxy: str | None
    color: Triple


def sample_hat(rng: np.random.Generator, assets: Assets) -> Hat:
    """A random hat; the fedora only where the assets have one."""
    fedoras = [name for name in FEDORAS if name in assets.names("clothes/*/*.mhclo")]
    kind = str(rng.choice(["beanie", "cap", "fedora"], p=[0.4, 0.35, 0.25]))
    if kind == "fedora" and not fedoras:
        kind = "beanie"
    dark = rng.uniform(0.04, 0.3) * np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.6, 1.0)])
    color = dark if kind == "fedora" or rng.random() < 0.5 else rng.uniform(0.05, 0.85, 3)
    red, green, blue = (round(float(c), 3) for c in color)
    proxy = fedoras[int(rng.integers(len(fedoras)))] if kind == "fedora" else None
    return Hat(kind, proxy, (red, green, blue))


def brim_plane(body: Floats, assets: Assets, hat: Hat, higher: float = 0.0) -> Floats:
    """(4,) the plane a x + b y + c z + d = 0 that the hat sits on, or one `higher`; positive below."""
    height, rise = HAT_HEIGHTS[hat.kind]
    height += higher
    from_base = to_base(body, assets)
    middle, ahead, aside = (
        np.array([*place, 1.0]) @ from_base
        for place in ((0, height, 0.3), (0, height + rise, 1.3), (1, height, 0.3))
    )
    down = np.cross(aside - middle, ahead - middle)
    down *= np.sign(down @ from_base[1]) * -1 / np.linalg.norm(down)
    return np.array([*down, -down @ middle], np.float32)


def crown(body: Floats, assets: Assets, hat: Hat) -> tuple[Floats, Ints]:
    """Vertices (V, 3) and triangles (F, 3) of a beanie or a cap, which still reach below its brim."""
    used, corners, lift = assets.cached(("crown", hat.kind), lambda: _lifted(assets, hat.kind))
    skin = body[used]
    return skin + lift[:, None] * smooth_normals(skin, corners), corners


def _lifted(assets: Assets, kind: str) -> tuple[Ints, Ints, Floats]:
    """Skin vertices (V,) of a hat, triangles (F, 3) among them, and how far (V,) each is lifted."""
    mesh = assets.base
    height, rise = HAT_HEIGHTS[kind]
    above = mesh.vertices[:, 1] - height - rise * (mesh.vertices[:, 2] - 0.3)
    quads = mesh.faces[mesh.groups["body"]]
    quads = quads[(above[quads] > -0.3).all(axis=1) & (above[quads] > -0.05).any(axis=1)]
    used, index = np.unique(triangles(quads), return_inverse=True)
    rolled = ROLL * (above < EDGE) if kind == "beanie" else 0.04 * (above / 0.5).clip(0, 1)
    lift = (HAT_THICKNESS + rolled).astype(np.float32)[used]
    return used.astype(np.int32), index.reshape(-1, 3).astype(np.int32), lift


def visor(body: Floats, assets: Assets) -> tuple[Floats, Ints]:
    """A bowed sheet ahead of the forehead, drawn from above and from below."""
    height, rise = HAT_HEIGHTS["cap"]
    angles = np.radians(np.linspace(-68, 68, 25))
    rings = []
    for reach in (0.0, 0.33, 0.66, 1.0):
        ahead = reach * 0.75 * np.cos(angles) ** 0.6
        x = (0.74 + 0.1 * reach) * np.sin(angles)
        z = 0.62 + 0.98 * np.cos(angles) + ahead
        y = height + 0.02 + rise * (z - ahead - 0.3) - 0.16 * ahead - 0.08 * x**2
        rings.append(np.stack([x, y, z], axis=1))
    sheet = np.concatenate(rings)
    vertices = np.concatenate([sheet, sheet - [0, 0.025, 0]])
    i, j = np.meshgrid(np.arange(3), np.arange(24), indexing="ij")
    a, b, c, d = (x.ravel() for x in (i * 25 + j, i * 25 + j + 1, (i + 1) * 25 + j + 1, (i + 1) * 25 + j))
    top = np.concatenate([np.stack([a, c, b], 1), np.stack([a, d, c], 1)])
    from_base = to_base(body, assets)
    placed = vertices @ from_base[:3] + from_base[3]
    return placed.astype(np.float32), np.concatenate([top, top[:, ::-1] + len(sheet)]).astype(np.int32)

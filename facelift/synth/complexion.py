"""What people of recipe 2 have on their skin besides: pores, and shade between the hairs of the brows."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.person import Person
from facelift.synth.scene import Floats

# Standard deviations of the grain of skin, in texels of a skin of 1024, and how dark each makes it.
PORES = ((0.6, 0.026), (1.2, 0.015), (4.0, 0.004))

BROW_REACH = 0.035
"""How far from a brow's hairs the skin is shaded, decimetres on the base mesh."""

BROW_SHADE = 0.55
"""How much of the brows' colour the skin takes between them."""

ACROSS = 6  # points along a side of a brow's triangle at which its texture is read


def paint(skin: Floats, size: int, person: Person, assets: Assets) -> None:
    """Paint the head's part of a skin texture of that size, (h, w, 3), 0 to 255, in place."""
    rng = np.random.Generator(np.random.PCG64([person.seed, 33]))
    skin *= 1 + pores(rng, skin.shape[:2])[..., None]
    shade = BROW_SHADE * brow_shade(assets, size, person.brows)[..., None]
    skin += shade * (255 * np.array(person.brow_color, np.float32) - skin)


def pores(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """(h, w) how much lighter or darker each texel is, about zero."""
    grain = np.zeros(shape[:2], np.float32)
    for spread, strength in PORES:
        noise = cv2.GaussianBlur(rng.standard_normal(shape[:2], np.float32), (0, 0), spread)
        grain += strength * noise * (2 * np.sqrt(np.pi) * spread)
    return grain


def brow_shade(assets: Assets, size: int, brows: str) -> Floats:
    """(h, w) from 0 to 1, how densely the hairs of brows grow at each texel of the head."""

    def make() -> Floats:
        hairs = _hairs(assets, brows)
        places = regions.texel_positions(assets, size)
        out = np.zeros(places.shape[:2], np.float32)
        low, high = hairs.min(axis=0) - BROW_REACH, hairs.max(axis=0) + BROW_REACH
        near = ((places > low) & (places < high)).all(axis=-1)  # never true of NaN
        distances, _ = cKDTree(hairs).query(places[near], k=6)
        out[near] = np.exp(-((distances / (BROW_REACH / 2)) ** 2)).mean(axis=1)
        return np.asarray(cv2.GaussianBlur(out, (0, 0), 1.0), np.float32)

    return assets.cached(("brow shade", brows, size), make)


def _hairs(assets: Assets, brows: str) -> Floats:
    """(N, 3) points on the base mesh where the texture of brows has hair."""
    proxy = assets.proxy(brows)
    corners, uvs = proxy.fit(assets.base.vertices)[proxy.mesh.faces], proxy.mesh.uvs[proxy.mesh.face_uvs]
    steps = (np.arange(ACROSS, dtype=np.float32) + 0.5) / ACROSS
    x, y = (axis.ravel()[:, None, None] for axis in np.meshgrid(steps, steps))

    def spread(values: Floats) -> Floats:
        """Points evenly within each quad, (F, 4, C) to (N, C)."""
        a, b, c, d = np.moveaxis(values, 1, 0)
        return ((1 - y) * ((1 - x) * a + x * b) + y * ((1 - x) * d + x * c)).reshape(-1, values.shape[-1])

    path = assets.diffuse(proxy.material)
    points, at = spread(corners), spread(uvs)
    if path is None:
        return points
    texture = assets.texture(path, 512)
    rows, columns = texture.shape[:2]
    alpha = texture[
        ((1 - at[:, 1]) * rows).astype(int).clip(0, rows - 1),
        (at[:, 0] * columns).astype(int).clip(0, columns - 1),
        3,
    ]
    return points[alpha > 100]

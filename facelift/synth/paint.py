"""Textures of one person: the asset's own, in that person's colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelift.synth.assets import Assets, Mesh, Pixels
from facelift.synth.light import Triple
from facelift.synth.person import Person

SKIN_SIZE, HAIR_SIZE, CLOTHES_SIZE, EYES_SIZE = 1024, 1024, 512, 512


def plain(assets: Assets, material: str | Path, size: int) -> Pixels:
    """A material's texture as it is, white where there is none."""
    path = assets.diffuse(material)
    return np.full((4, 4, 4), 255, np.uint8) if path is None else assets.texture(path, size)


def skin(person: Person, assets: Assets) -> Pixels:
    """Two skins blended, as all share one layout, and their tone shifted."""
    images = [Image.fromarray(plain(assets, name, SKIN_SIZE)) for name in (person.skin, person.skin2)]
    size = max(image.size for image in images)
    first, second = (image if image.size == size else image.resize(size) for image in images)
    mixed = Image.blend(first, second, person.skin_mix) if person.skin_mix > 0.02 else first
    return _curve(mixed, np.arange(256)[None] * np.array(person.skin_gain)[:, None])


def eyes(person: Person, assets: Assets) -> Pixels:
    """Two irises blended: the assets' own are few, and more vivid than most people's."""
    images = [Image.fromarray(plain(assets, name, EYES_SIZE)) for name in (person.eyes, person.eyes2)]
    return np.asarray(Image.blend(images[0], images[1], person.eyes_mix))


def teeth(person: Person, assets: Assets) -> Pixels:
    """The teeth, whiter: their texture is half dark already, and so is a mouth."""
    material = assets.proxy(person.teeth).material

    def make() -> Pixels:
        powers = np.array([0.52, 0.55, 0.62])[:, None]
        return _curve(Image.fromarray(plain(assets, material, 512)), 255 * (np.arange(256) / 255) ** powers)

    return assets.cached(("teeth", material), make)


def hair(proxy: str, person: Person, assets: Assets) -> Pixels:
    return _dyed(assets, proxy, HAIR_SIZE, person.hair_color)


def brows(person: Person, assets: Assets) -> Pixels:
    return _dyed(assets, person.brows, 512, person.brow_color)


def lashes(person: Person, assets: Assets) -> Pixels:
    """The lashes, thinned: as they come, all are made up."""
    pixels = plain(assets, assets.proxy(person.lashes).material, 512).copy()
    pixels[..., 3] = (pixels[..., 3] * person.lash_strength).astype(np.uint8)
    return pixels


def clothes(person: Person, assets: Assets) -> Pixels:
    """The clothes with another hue, saturation and brightness, or plain where they have no texture."""
    path = assets.diffuse(assets.proxy(person.clothes).material)
    if path is None:
        color = (*(round(255 * c) for c in person.clothes_color), 255)
        return np.full((4, 4, 4), color, np.uint8)
    hue, saturation, value = person.clothes_shift
    levels = np.arange(256)
    tables = np.stack([(levels + 256 * hue) % 256, levels * saturation, levels * value]).clip(0, 255)
    hsv = Image.fromarray(assets.texture(path, CLOTHES_SIZE)).convert("RGB").convert("HSV")
    rgb = hsv.point(tables.astype(np.uint8).reshape(-1).tolist()).convert("RGBA")
    return np.asarray(rgb)


def _curve(image: Image.Image, tables: NDArray[np.float64]) -> Pixels:
    """Each of RGB through its own table (3, 256) of values 0 to 255; alpha stays."""
    full = np.concatenate([tables.clip(0, 255).round(), np.arange(256)[None]])
    return np.asarray(image.point(full.astype(int).reshape(-1).tolist()))


def _dyed(assets: Assets, proxy: str, size: int, color: Triple) -> Pixels:
    """A proxy's texture, its light and dark in another colour, as bright on the mean as that colour."""
    pixels = plain(assets, assets.proxy(proxy).material, size)
    grey = Image.fromarray(pixels).convert("L")
    mean = assets.cached(("mean", proxy), lambda: _mean_seen(assets.proxy(proxy).mesh, np.asarray(grey)))
    # Textures of black hair are a few grey levels; the exponent keeps their noise from becoming salt.
    ratio = ((np.arange(256) + 2) / (mean + 2)) ** 0.7
    tables = 255 * np.array(color)[:, None] * ratio.clip(0.2, 2.2)[None]
    bands = [grey.point(table.clip(0, 255).round().astype(int).tolist()) for table in tables]
    return np.asarray(Image.merge("RGBA", [*bands, Image.fromarray(pixels[..., 3])]))


def _mean_seen(mesh: Mesh, grey: Pixels) -> float:
    """Mean grey level (H, W) of what the mesh shows, sampled in the middle of its faces."""
    rows, columns = grey.shape
    middle = mesh.uvs[mesh.face_uvs].mean(axis=1)
    row = ((1 - middle[:, 1]) * rows).astype(int).clip(0, rows - 1)
    column = (middle[:, 0] * columns).astype(int).clip(0, columns - 1)
    return float(grey[row, column].mean())

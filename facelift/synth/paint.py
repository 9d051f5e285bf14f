"""Textures of one person: the asset's own, in that person's colours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from facelift.synth import complexion, groom, regions
from facelift.synth.assets import Assets
from facelift.synth.haircuts import growth
from facelift.synth.makehuman import Mesh
from facelift.synth.patterns import Pattern, draw_pattern
from facelift.synth.person import Person
from facelift.synth.scene import Floats, Pixels
from facelift.synth.values import Triple, triple

# Where a cheek is in a skin's texture: rows and columns, as shares of its side.
CHEEK_UV = (0.459, 0.485, 0.85, 0.88)

# Above this height (decimetres, on the base mesh) clothes are seen.
CLOTHES_SEEN_ABOVE = 4.5

# Half the side of what a mole darkens, texels.
MOLE_RADIUS = 6

SKIN_SIZE, HAIR_SIZE, CLOTHES_SIZE, EYES_SIZE = 1024, 1024, 512, 512


def plain(assets: Assets, material: str | Path, size: int) -> Pixels:
    """A material's texture as it is, white where there is none."""
    path = assets.diffuse(material)
    return np.full((4, 4, 4), 255, np.uint8) if path is None else assets.texture(path, size)


def skin(person: Person, assets: Assets) -> Pixels:
    """Two skins blended, as all share one layout, their tone shifted, and the head painted."""
    images = [Image.fromarray(plain(assets, name, SKIN_SIZE)) for name in (person.skin, person.skin2)]
    size = (SKIN_SIZE, SKIN_SIZE)
    first, second = (image if image.size == size else image.resize(size) for image in images)
    mixed = Image.blend(first, second, person.skin_mix) if person.skin_mix > 0.02 else first
    gain = (np.array(person.skin_tone) / _cheek(np.asarray(mixed))).clip(0.5, 2.5)
    pixels = _curve(mixed, np.arange(256)[None] * gain[:, None]).copy()
    head = regions.crop(SKIN_SIZE)
    pixels[head][..., :3] = _painted(pixels[head][..., :3], person, assets).clip(0, 255).round()
    return pixels


def _cheek(pixels: Pixels) -> NDArray[np.float64]:
    """Mean sRGB (3,) of a skin texture where a cheek is."""
    top, bottom, left, right = (round(share * len(pixels)) for share in CHEEK_UV)
    return np.asarray(pixels[top:bottom, left:right, :3].mean(axis=(0, 1)) / 255).clip(0.02)


def _painted(rgb: Pixels, person: Person, assets: Assets) -> Floats:
    """The head's part of the skin (h, w, 3), 0 to 255, with its freckles, stubble, make-up."""
    rng = np.random.Generator(np.random.PCG64([person.seed, 2]))
    out = rgb.astype(np.float32)
    shape = out.shape[0], out.shape[1]

    def mask(region: regions.Region) -> Floats:
        return regions.on_texels(assets, SKIN_SIZE, region)[..., None]

    def tint(region: regions.Region, color: ArrayLike, amount: float | Floats) -> None:
        """Bring the region nearer to a colour; `amount` is of all texels, or a number."""
        here = regions.extent(assets, SKIN_SIZE, region)
        share = mask(region)[here] * (amount if isinstance(amount, float) else amount[here])
        out[here] += share.clip(0, 1) * (255 * np.asarray(color, np.float32) - out[here])

    def darken(here: tuple[slice, slice], factors: Triple, share: Floats) -> None:
        out[here] *= 1 - share.clip(0, 1) * (1 - np.asarray(factors, np.float32))

    def shade(region: regions.Region, factors: Triple, amount: float | Floats) -> None:
        """Multiply the region by a colour, as `tint`."""
        here = regions.extent(assets, SKIN_SIZE, region)
        darken(here, factors, mask(region)[here] * (amount if isinstance(amount, float) else amount[here]))

    # Shaved hair that the textures show on every head: gone from the bald; below hair nearly as dark as that,
    # lest skin show through its gaps.
    tone = np.median(out[mask(regions.cheeks)[..., 0] > 0.3], axis=0) / 255
    grown = 0.75 if person.hair is not None else 0.0 if person.on_scalp is not None else 0.5 * person.scalp
    bare = 0.75 if person.on_scalp is None else 0.92
    tint(regions.scalp, grown * np.array(person.hair_color) + (1 - grown) * tone, bare)
    if person.on_scalp is not None:
        cut = person.on_scalp
        here = regions.extent(assets, SKIN_SIZE, regions.scalp)
        places = regions.texel_positions(assets, SKIN_SIZE)[here]
        known = ~np.isnan(places[..., 0])
        cover = 0.8 * growth(cut, places[known]) * cut.density
        below = out[here]
        below[known] += cover[:, None] * (255 * np.array(person.hair_color, np.float32) - below[known])

    if person.blemishes > 0.05:
        blotches = _noise(rng, shape, 18)[..., None]
        shade(regions.face, (0.97, 0.86, 0.86), 0.9 * person.blemishes * blotches)
    for blood in (regions.cheeks, regions.nose):
        shade(blood, (1.0, 0.8, 0.8), 0.55 * person.redness)
    if person.freckles > 0:
        here = regions.extent(assets, SKIN_SIZE, regions.freckled)
        spots = (_noise(rng, shape, 2) * mask(regions.freckled)[..., 0] > 1 - 0.5 * person.freckles)[here]
        darken(here, (0.86, 0.75, 0.67), _soft(spots[..., None].astype(np.float32)))
    on_face = np.argwhere(mask(regions.face)[..., 0] > 0.5)
    for row, column in on_face[rng.integers(len(on_face), size=person.moles)]:
        here = (
            slice(max(row - MOLE_RADIUS, 0), row + MOLE_RADIUS),
            slice(max(column - MOLE_RADIUS, 0), column + MOLE_RADIUS),
        )
        y, x = np.ogrid[here]
        dot = np.exp(-((y - row) ** 2 + (x - column) ** 2) / rng.uniform(0.5, 1.8))
        darken(here, (0.45, 0.36, 0.33), dot[..., None].astype(np.float32))
    if person.makeup is not None:
        tint(regions.lips, person.makeup.lips, person.makeup.lip_strength)
        tint(regions.lids, person.makeup.lids, person.makeup.lid_strength)
        shade(regions.cheeks, (1.0, 0.75, 0.78), person.makeup.blush)
    if person.beard is not None and person.beard.shadow > 0:
        # Below hair that covers it the skin is dark all over, or light would shine through as specks.
        grain = 0.0 if person.beard.length > 0 else rng.random(shape, np.float32)[..., None] - 0.5
        tint(
            regions.BEARDS[person.beard.style],
            0.6 * beard_color(person),
            person.beard.shadow * (0.6 + 0.55 * grain),
        )
    if person.recipe > 1:
        complexion.paint(out, SKIN_SIZE, person, assets)
    return out


def _noise(rng: np.random.Generator, shape: tuple[int, int], step: int) -> Floats:
    """(h, w) smooth noise in 0 to 1, of blobs about `step` pixels wide."""
    coarse = rng.random((shape[0] // step + 2, shape[1] // step + 2), np.float32)
    image = Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.asarray(image).clip(0, 1)


def _soft(mask: Floats) -> Floats:
    """(h, w, 1) blurred a little."""
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.8)[..., None], np.float32)


def beard_color(person: Person) -> Floats:
    """A beard is of the brows' colour, whatever the hair was dyed, but a little redder."""
    return (np.array(person.brow_color) * [1.08, 0.95, 0.85]).astype(np.float32)


def beard(person: Person, assets: Assets) -> Pixels:
    """The atlas of the beard's shells."""
    assert person.beard is not None
    color = triple(beard_color(person))
    return groom.beard_texture(assets, person.beard.style, color, person.beard.density, person.seed)


def flat(color: Triple) -> Pixels:
    """One opaque colour."""
    return np.full((4, 4, 4), (*(round(255 * c) for c in color), 255), np.uint8)


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
    """The hair's texture in the person's colour."""
    return _dyed(assets, proxy, HAIR_SIZE, person.hair_color)


def brows(person: Person, assets: Assets) -> Pixels:
    """The brows' texture in the person's colour."""
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
        dyed = flat(person.clothes_color)
    else:
        hue, saturation, value = person.clothes_shift
        levels = np.arange(256)
        tables = np.stack([(levels + 256 * hue) % 256, levels * saturation, levels * value]).clip(0, 255)
        hsv = Image.fromarray(assets.texture(path, CLOTHES_SIZE)).convert("RGB").convert("HSV")
        dyed = np.asarray(hsv.point(tables.astype(np.uint8).reshape(-1).tolist()).convert("RGBA"))
    return (
        dyed if person.clothes_pattern is None else _patterned(dyed, person.clothes_pattern, person, assets)
    )


def _patterned(dyed: Pixels, pattern: Pattern, person: Person, assets: Assets) -> Pixels:
    """The pattern on the main cloth alone: collars and ties stay as they are, and so do folds."""
    main, folds, scale = assets.cached(("cloth", person.clothes), lambda: _cloth(assets, person.clothes))
    size = (CLOTHES_SIZE, CLOTHES_SIZE)
    amount = (draw_pattern(pattern, CLOTHES_SIZE, scale) * main)[..., None]
    out = np.asarray(Image.fromarray(dyed).resize(size)).astype(np.float32)
    out[..., :3] += amount * (255 * np.array(pattern.color, np.float32) * folds[..., None] - out[..., :3])
    return out.clip(0, 255).astype(np.uint8)


def _cloth(assets: Assets, name: str) -> tuple[Floats, Floats, float]:
    """Of clothes: where the main cloth is, the light and dark of its folds, and texels per decimetre.

    The first is from 0 to 1, the second about 1, both (CLOTHES_SIZE, CLOTHES_SIZE).
    """
    proxy = assets.proxy(name)
    mesh, places = proxy.mesh, proxy.fit(assets.base.vertices)
    upper = (places[mesh.faces, 1] > CLOTHES_SEEN_ABOVE).all(axis=1)
    corners, uvs = places[mesh.faces[upper, :2]], mesh.uvs[mesh.face_uvs[upper, :2]]
    sides, spans = (np.linalg.norm(x[:, 0] - x[:, 1], axis=1) for x in (corners, uvs))
    scale = CLOTHES_SIZE * float(np.median(spans / sides.clip(1e-6)))
    image = Image.fromarray(plain(assets, proxy.material, CLOTHES_SIZE)).convert("RGB")
    pixels = np.asarray(image.resize((CLOTHES_SIZE, CLOTHES_SIZE)), np.float32)
    middle = (uvs.mean(axis=1) * [1, -1] + [0, 1]) * CLOTHES_SIZE
    column, row = middle.astype(int).clip(0, CLOTHES_SIZE - 1).T
    color = np.median(pixels[row, column], axis=0)
    away = np.linalg.norm(pixels - color, axis=2)
    folds = (pixels.mean(axis=2) + 20) / (color.mean() + 20)
    return ((70 - away) / 30).clip(0, 1), folds, scale


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

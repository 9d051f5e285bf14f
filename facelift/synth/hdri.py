"""Light from photographed surroundings: equirectangular maps of radiance (.exr, .hdr).

A map is turned about the head by chance, balanced and exposed as a camera does for the face. What is small
and bright in it, such as the sun, becomes a lamp with soft shadows; all else stays an environment, so that
both renderers draw it as any other `scene.Light`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from facelift.errors import UserError
from facelift.synth.light import (
    METERING_NORMALS,
    Lamp,
    directions_of,
    irradiance,
    metered,
    missing_fill,
    solid_angles,
)
from facelift.synth.scene import Floats, Light
from facelift.synth.values import Triple, triple

SUFFIXES = (".exr", ".hdr")

MAP_SHAPE, LIGHT_SHAPE = (256, 512), (64, 128)
"""Rows and columns that a map is shrunk to, and those of the environment that is made of it."""

MAX_RADIANCE = 65504.0  # the largest half float
KEPT_BITS = np.uint16(0xFFF0)  # of half floats: to a hundredth, which packs twice as small

# A lamp is brighter than this many times the mean of the map, sends this share of all its light, and has at
# most this radius; others stay in the environment.
LAMP_BRIGHTNESS, LAMP_SHARE, LAMP_RADIUS, LAMPS = 6.0, 0.05, math.radians(20), 2

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


@dataclass(frozen=True)
class Hdri:
    """How a map lights a person.

    Attributes:
        name: of the map, without its suffix.
        turn: how far it is turned about the head, degrees, counter-clockwise seen from above.
        balance: factors on red, green and blue, a camera's white balance.
        fill: light that is added all round, so that the darker side of the face has some; as bright as in
            the map.
        exposure: as in `scene.Light`.
    """

    name: str
    turn: float
    balance: Triple
    fill: float
    exposure: float

    def surroundings(self, radiance: Floats) -> Floats:
        """The map (H, W, 3), turned and balanced; without fill and exposure."""
        columns = round(self.turn / 360 * radiance.shape[1])
        return np.roll(radiance, columns, axis=1) * np.array(self.balance, np.float32)

    def light(self, radiance: Floats) -> Light:
        """The light that renderers draw with; `radiance` is the map of that name."""
        environment, lamps = split_lamps(shrunk(self.surroundings(radiance), LIGHT_SHAPE))
        directions, colors, spreads = zip(*lamps, strict=True) if lamps else ((), (), ())
        return Light(
            environment + np.float32(self.fill),
            np.array(directions, np.float32).reshape(-1, 3),
            np.array(colors, np.float32).reshape(-1, 3),
            np.array(spreads, np.float32),
            self.exposure,
        )


def sample_hdri(rng: np.random.Generator, name: str, radiance: Floats, albedo_factor: float = 1.0) -> Hdri:
    """A map as it may light a face: turned by chance, balanced and exposed for the face.

    Args:
        rng: source of chance.
        name: of the map.
        radiance: (H, W, 3), the map.
        albedo_factor: factor on the exposure, which a camera sets by the skin as well.
    """
    # Of two places to stand, people take the one where the light is in their face.
    turns = [round(float(turn), 1) for turn in rng.uniform(0, 360, 2)]
    strength, level = rng.uniform(0.5, 1.0), rng.uniform(0.8, 1.1)
    facing = [_metered(Hdri(name, turn, (1.0, 1.0, 1.0), 0.0, 1.0).light(radiance)) for turn in turns]
    turn, (face, fill) = max(zip(turns, facing, strict=True), key=lambda way: way[1][0].sum())
    seen = face.mean(axis=0) + fill
    balance = (seen.mean() / seen) ** strength
    balance /= (balance * seen) @ LUMINANCE / (seen @ LUMINANCE)
    exposure = albedo_factor * level / float(((face + fill) * balance).mean())
    return Hdri(name, turn, triple(balance), _rounded(fill), _rounded(exposure))


def _rounded(value: float) -> float:
    """To four digits: maps may be bright or dim by any factor."""
    return float(f"{value:.4g}")


def _metered(light: Light) -> tuple[Floats, float]:
    """Light (5, 3) at the metered normals, and what must be added for the darker side of the face."""
    lamps = list(zip(light.directions, light.colors, light.spreads.tolist(), strict=True))
    around = irradiance(light.environment, METERING_NORMALS)
    return metered(around, lamps), missing_fill(around, lamps)


def split_lamps(radiance: Floats) -> tuple[Floats, list[Lamp]]:
    """A map (H, W, 3) without what is small and bright in it, and that as lamps, the strongest first."""
    rows, columns = radiance.shape[:2]
    towards, weight = directions_of(rows, columns), solid_angles(rows, columns)
    bright = radiance @ LUMINANCE
    total = float((bright * weight).sum())
    limit = LAMP_BRIGHTNESS * total / (4 * math.pi)
    labels = _connected(bright > limit)
    above = (1 - limit / np.maximum(bright, limit)) * weight
    found = ndimage.sum_labels(bright * above, labels, np.arange(labels.max() + 1))
    rest, lamps = radiance.copy(), list[Lamp]()
    for label in np.argsort(found)[::-1][:LAMPS]:
        inside = labels == label
        if label == 0 or found[label] < LAMP_SHARE * total:
            continue
        flux = above[inside] * bright[inside]
        direction = flux @ towards[inside]
        direction /= np.linalg.norm(direction)
        angle = np.arccos((towards[inside] @ direction).clip(-1, 1))
        radius = math.sqrt(2 * float(flux @ angle**2) / float(flux.sum()))  # of a disc with such a spread
        if radius > LAMP_RADIUS:
            continue
        color = above[inside] @ radiance[inside] / math.pi
        lamps.append((direction.astype(np.float32), color.astype(np.float32), max(radius, 0.02)))
        rest[inside] *= (limit / bright[inside])[:, None]
    return rest, lamps


def _connected(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(H, W) numbers of the connected regions of a map, which is round; 0 elsewhere."""
    labels: NDArray[Any]
    labels, _ = ndimage.label(mask)
    for left, right in set(zip(labels[:, 0].tolist(), labels[:, -1].tolist(), strict=True)):
        if left and right and left != right:
            labels[labels == right] = left
    return labels.astype(np.int64)


def read_hdri(path: Path) -> Floats:
    """The map in a file, shrunk to MAP_SHAPE: (H, W, 3) float32 of half floats, laid out as `scene.Light` is.

    Raises:
        UserError: for a file that cannot be read, is not twice as wide as high, or shows no light.
    """
    radiance = _read_exr(path) if path.suffix.lower() == ".exr" else _read_hdr(path)
    rows, columns = radiance.shape[:2]
    if rows < 16 or abs(columns - 2 * rows) > 2:
        raise UserError(
            f"{path} has {columns} x {rows} pixels: an equirectangular map is twice as wide as it is high."
        )
    radiance = np.nan_to_num(radiance.astype(np.float32), nan=0.0, posinf=MAX_RADIANCE).clip(0)
    if rows > MAP_SHAPE[0]:
        radiance = shrunk(radiance, MAP_SHAPE)
    # Seen from within, a picture's columns run clockwise; our azimuth runs the other way.
    halves = np.ascontiguousarray(radiance[:, ::-1].clip(0, MAX_RADIANCE).astype(np.float16))
    radiance = (halves.view(np.uint16) & KEPT_BITS).view(np.float16).astype(np.float32)
    if not radiance.any():
        raise UserError(f"{path} is black: a map of light must show some.")
    return radiance


def _read_hdr(path: Path) -> Floats:
    image: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.dtype != np.float32:
        raise UserError(f"{path} cannot be read as a .hdr file: give maps in Radiance's or OpenEXR's format.")
    return np.asarray(image[..., 2::-1])


def _read_exr(path: Path) -> Floats:
    try:
        import OpenEXR
    except ImportError as error:
        raise UserError(
            'Reading .exr files needs OpenEXR; install it with: pip install "facelift[synth]"'
        ) from error
    try:
        channels = OpenEXR.File(str(path), separate_channels=True).channels()
        return np.stack([np.asarray(channels[name].pixels, np.float32) for name in "RGB"], axis=-1)
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an OpenEXR file ({error}).") from error
    except KeyError as error:
        raise UserError(f"{path} has no channels R, G and B, as an HDRI has.") from error


def shrunk(radiance: Floats, shape: tuple[int, int]) -> Floats:
    """A map (H, W, 3) with that many rows and columns; each pixel is the mean of what it covers."""
    return np.asarray(cv2.resize(radiance, shape[::-1], interpolation=cv2.INTER_AREA), np.float32)


def files_in(folder: Path) -> dict[str, Path]:
    """The maps in a folder, by their names without suffix.

    Raises:
        UserError: there are none, or two of one name.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{folder} has no .exr or .hdr files: give a folder of equirectangular HDRIs.")
    found = {path.stem: path for path in paths}
    if len(found) < len(paths):
        raise UserError(f"{folder} has two maps of one name: rename one of them.")
    return found

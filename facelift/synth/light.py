"""Lights of a synthetic portrait: sky, studio, rooms and plain ambient light, always a well exposed face.

Surroundings are a few numbers, a gradient and some bright panels, and become a small picture of radiance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from facelift.synth.scene import Floats, Light
from facelift.synth.values import Triple, triple

Lamp = tuple[Floats, Floats, float]
"""Direction, colour and angular radius, see `scene.Light`."""

ENVIRONMENT_SHAPE = (16, 32)
"""Rows and columns of the environment map."""

# Face normals that the exposure is set for: straight ahead, half to both sides, a little up and down.
METERING_NORMALS = np.array(
    [[0, -1, 0], [-0.6, -0.8, 0], [0.6, -0.8, 0], [0, -0.9, 0.43], [0, -0.9, -0.43]], np.float32
)
METERING_NORMALS /= np.linalg.norm(METERING_NORMALS, axis=1, keepdims=True)

# The darker side of a face keeps at least this share of the light of the brighter one.
MIN_FILL = 0.22


@dataclass(frozen=True)
class Panel:
    """A bright rectangle with soft edges, far away: a window, a soft box, the glow about a low sun.

    Attributes:
        direction: unit vector from the head to its middle.
        size: half its width and height, radians.
        edge: width of its edge, radians.
        color: linear RGB, added to what is behind.
    """

    direction: Triple
    size: tuple[float, float]
    edge: float
    color: Triple


@dataclass(frozen=True)
class Lighting:
    """The numbers behind a `scene.Light`, as plain values, so that a person can be written as JSON.

    Attributes:
        kind: which sampler made it.
        zenith, horizon, ground: linear RGB of what surrounds the head, above, level with it, and below.
        panels: bright places in it.
        directions, colors, spreads, exposure: as in `scene.Light`.
    """

    kind: str
    zenith: Triple
    horizon: Triple
    ground: Triple
    panels: tuple[Panel, ...]
    directions: tuple[Triple, ...]
    colors: tuple[Triple, ...]
    spreads: tuple[float, ...]
    exposure: float

    def light(self) -> Light:
        """The light that renderers draw with."""
        return Light(
            _environment(self.zenith, self.horizon, self.ground, self.panels),
            np.array(self.directions, np.float32).reshape(-1, 3),
            np.array(self.colors, np.float32).reshape(-1, 3),
            np.array(self.spreads, np.float32),
            self.exposure,
        )


def white(warmth: float) -> Floats:
    """Linear RGB of a white with luminance one; `warmth` about -1 (blue sky) to 1 (tungsten)."""
    color = np.array([1 + 0.28 * warmth, 1.0, 1 - 0.38 * warmth], np.float32).clip(0.1)
    return np.asarray(color / (color @ np.array([0.2126, 0.7152, 0.0722])), np.float32)


def directions_of(rows: int, columns: int) -> Floats:
    """(rows, columns, 3) unit directions of the pixels of an equirectangular picture, as `Light` has it."""
    polar = (np.arange(rows) + 0.5)[:, None] / rows * math.pi
    azimuth = (np.arange(columns) + 0.5)[None] / columns * 2 * math.pi
    flat = np.sin(polar)
    return np.stack(
        [flat * np.cos(azimuth), flat * np.sin(azimuth), np.cos(polar) + 0 * azimuth], axis=-1
    ).astype(np.float32)


def solid_angles(rows: int, columns: int) -> Floats:
    """(rows, columns) steradians of the pixels of an equirectangular picture; they sum to 4 pi."""
    edges = np.cos(np.arange(rows + 1) / rows * math.pi)
    return np.repeat((edges[:-1] - edges[1:])[:, None] * 2 * math.pi / columns, columns, 1).astype(np.float32)


def irradiance(environment: Floats, normals: Floats) -> Floats:
    """Light of an environment (H, W, 3) on white matte surfaces with these unit normals (N, 3): (N, 3)."""
    rows, columns = environment.shape[:2]
    cosine = np.maximum(normals @ directions_of(rows, columns).reshape(-1, 3).T, 0)
    weight = cosine * solid_angles(rows, columns).reshape(-1) / math.pi
    return weight @ environment.reshape(-1, 3)


def _environment(zenith: Triple, horizon: Triple, ground: Triple, panels: tuple[Panel, ...]) -> Floats:
    """The picture (H, W, 3) of the surroundings: a gradient from pole to pole, and panels."""
    towards = directions_of(*ENVIRONMENT_SHAPE)
    height = towards[..., 2:]
    pole = np.where(height > 0, _rgb(zenith), _rgb(ground))
    picture = _rgb(horizon) + (pole - _rgb(horizon)) * np.abs(height) ** 0.6
    for panel in panels:
        middle = np.array(panel.direction)
        right = np.cross(middle, [0, 0, 1] if abs(middle[2]) < 0.95 else [0, 1, 0])
        right /= np.linalg.norm(right)
        up = np.cross(right, middle)
        ahead = towards @ middle
        inside = (ahead > 0).astype(float)
        for axis, half in zip((right, up), panel.size, strict=True):
            beyond = np.abs(np.arctan2(towards @ axis, np.maximum(ahead, 1e-6))) - half
            inside = inside * (0.5 - beyond / max(panel.edge, 0.1)).clip(0, 1)
        picture = picture + inside[..., None] * _rgb(panel.color)
    return picture.astype(np.float32)


@dataclass
class _Setting:
    """A light while it is being put together."""

    zenith: Floats
    horizon: Floats
    ground: Floats
    panels: list[Panel] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)

    def panel(self, azimuth: float, height: float, size: tuple[float, float], color: Floats) -> None:
        """Add a panel; angles in degrees, azimuth from straight ahead to the subject's left."""
        width, tall = (round(math.radians(s) / 2, 4) for s in size)
        edge = round(0.5 * min(width, tall) + 0.1, 4)
        direction = triple(_direction(azimuth, height))
        self.panels.append(Panel(direction, (width, tall), edge, triple(color)))

    def lamp(self, azimuth: float, height: float, spread: float, color: Floats) -> None:
        """Add a lamp; angles in degrees, `spread` its angular radius."""
        self.lamps.append((_direction(azimuth, height), color, math.radians(spread)))


def _direction(azimuth: float, height: float) -> Floats:
    a, h = math.radians(azimuth), math.radians(height)
    return np.array([math.sin(a) * math.cos(h), -math.cos(a) * math.cos(h), math.sin(h)], np.float32)


def _ambient(rng: np.random.Generator) -> _Setting:
    """Nearly the same from everywhere: what FaceLift renders its heads under."""
    warmth = rng.normal(0, 0.15)
    level = white(warmth)
    return _Setting(level * rng.uniform(0.95, 1.25), level, level * rng.uniform(0.6, 1.0))


def _sky(rng: np.random.Generator) -> _Setting:
    """Outdoors: from an overcast sky to the sun, high enough to be white."""
    sun = rng.uniform(0, 1) ** 1.5
    blue = white(-0.2 - 0.8 * sun + rng.normal(0, 0.1))
    soil = white(rng.normal(0.25, 0.2)) * rng.uniform(0.25, 0.6)
    setting = _Setting(blue * rng.uniform(0.8, 1.1), white(-0.2 * sun) * rng.uniform(0.8, 1.1), soil)
    if sun > 0.25:
        color = white(rng.normal(0.25, 0.12)) * 1.3 * sun
        setting.lamp(rng.normal(0, 55), rng.uniform(25, 60), rng.uniform(2, 7), color)
    return setting


def _studio(rng: np.random.Generator) -> _Setting:
    """A dim room with a key, often a fill across, sometimes rims from behind, all soft boxes."""
    level, warmth = rng.uniform(0.12, 0.4), rng.normal(0, 0.12)
    dim = white(warmth) * level
    setting = _Setting(dim, dim, dim * rng.uniform(0.5, 1.0))
    side = rng.choice([-1, 1])
    key, height = side * rng.uniform(5, 60), rng.uniform(5, 45)
    color = white(warmth + rng.normal(0, 0.1))
    setting.lamp(key, height, rng.uniform(8, 18), color * rng.uniform(0.6, 1.0))
    setting.panel(key, height, (rng.uniform(30, 60), rng.uniform(30, 60)), color * rng.uniform(1.0, 2.5))
    if rng.random() < 0.7:
        fill = white(warmth + rng.normal(0, 0.15)) * rng.uniform(0.8, 2.0)
        setting.panel(-side * rng.uniform(30, 80), rng.uniform(-10, 30), (60, 70), fill)
    if rng.random() < 0.4:
        for edge in (-1, 1) if rng.random() < 0.4 else (rng.choice([-1, 1]),):
            rim = white(warmth + rng.normal(0, 0.4)) * rng.uniform(0.4, 0.9)
            setting.lamp(edge * rng.uniform(115, 160), rng.uniform(0, 45), 8.0, rim)
    return setting


def _indoor(rng: np.random.Generator) -> _Setting:
    """A room: pale walls, a bright ceiling, lamps on it, a darker floor."""
    warmth = rng.normal(0.35, 0.25)
    wall, ceiling, floor = rng.uniform(0.45, 0.75), rng.uniform(0.7, 1.2), rng.uniform(0.15, 0.4)
    setting = _Setting(
        white(warmth) * ceiling,
        white(warmth + rng.normal(0, 0.1)) * wall,
        white(warmth + 0.3) * floor,
        [],
        [],
    )
    for _ in range(rng.integers(1, 4)):
        azimuth, height = rng.normal(0, 70), rng.uniform(35, 70)
        setting.panel(azimuth, height, (30, 25), white(warmth + rng.normal(0.1, 0.1)) * rng.uniform(2, 5))
    if rng.random() < 0.6:
        color = white(warmth + rng.normal(0.1, 0.15)) * rng.uniform(0.2, 0.5)
        setting.lamp(rng.normal(0, 50), rng.uniform(10, 50), rng.uniform(6, 14), color)
    return setting


def _window(rng: np.random.Generator) -> _Setting:
    """A dim room and one large window somewhere to the side."""
    room = white(rng.normal(0.2, 0.2)) * rng.uniform(0.15, 0.4)
    setting = _Setting(room, room * rng.uniform(0.8, 1.2), room * rng.uniform(0.5, 0.9))
    side = rng.choice([-1, 1])
    azimuth, height = side * rng.uniform(15, 80), rng.uniform(0, 25)
    size = (rng.uniform(40, 80), rng.uniform(50, 90))
    day = white(rng.normal(-0.15, 0.25))
    setting.panel(azimuth, height, size, day * rng.uniform(2.5, 5.0))
    setting.lamp(azimuth, height + 8, rng.uniform(10, 18), day * rng.uniform(0.2, 0.5))
    return setting


def _sunset(rng: np.random.Generator) -> _Setting:
    """A low, warm sun and its glow, against a darker, bluer sky."""
    side = rng.choice([-1, 1])
    azimuth, height = side * rng.uniform(10, 85), rng.uniform(4, 18)
    sky = white(rng.normal(-0.35, 0.2)) * rng.uniform(0.35, 0.6)
    setting = _Setting(
        sky,
        white(rng.normal(0.5, 0.2)) * rng.uniform(0.45, 0.7),
        white(0.5) * rng.uniform(0.15, 0.35),
        [],
        [],
    )
    glow = white(rng.uniform(0.7, 1.3))
    setting.panel(azimuth, height, (110, 25), glow * rng.uniform(0.5, 1.2))
    setting.lamp(azimuth, height, rng.uniform(2, 6), glow * rng.uniform(0.5, 1.0))
    if rng.random() < 0.4:
        setting.lamp(-side * rng.uniform(120, 160), rng.uniform(10, 30), 6.0, glow * rng.uniform(0.3, 0.8))
    return setting


LIGHTING_KINDS: dict[str, tuple[float, Callable[[np.random.Generator], _Setting]]] = {
    "ambient": (0.22, _ambient),
    "sky": (0.2, _sky),
    "studio": (0.22, _studio),
    "indoor": (0.16, _indoor),
    "window": (0.12, _window),
    "sunset": (0.08, _sunset),
}
"""Each kind of light: its share of all people, and what samples it."""


def sample_lighting(rng: np.random.Generator) -> Lighting:
    """Random light of a random kind, with the exposure that a camera would set for the face."""
    names = list(LIGHTING_KINDS)
    kind = names[int(rng.choice(len(names), p=[LIGHTING_KINDS[name][0] for name in names]))]
    setting = LIGHTING_KINDS[kind][1](rng)
    zenith, horizon, ground = (triple(c) for c in (setting.zenith, setting.horizon, setting.ground))
    panels = tuple(setting.panels)
    surroundings = irradiance(_environment(zenith, horizon, ground, panels), METERING_NORMALS)
    fill = missing_fill(surroundings, setting.lamps)
    zenith, horizon, ground = (triple(_rgb(c) + fill) for c in (zenith, horizon, ground))
    face = metered(surroundings + fill, setting.lamps)
    return Lighting(
        kind,
        zenith,
        horizon,
        ground,
        panels,
        tuple(triple(direction) for direction, _, _ in setting.lamps),
        tuple(triple(color) for _, color, _ in setting.lamps),
        tuple(round(spread, 4) for _, _, spread in setting.lamps),
        round(float(rng.uniform(0.8, 1.1) / face.mean()), 4),
    )


def metered(surroundings: Floats, lamps: list[Lamp]) -> Floats:
    """Light (5, 3) at the metered normals from the surroundings and the lamps, without shadows."""
    total = surroundings
    for direction, color, _ in lamps:
        total = total + np.maximum(METERING_NORMALS @ direction, 0)[:, None] * color
    return total


def missing_fill(surroundings: Floats, lamps: list[Lamp]) -> float:
    """What must be added all round, for the darker side of the face to have its share of light."""
    sides = metered(surroundings, lamps).mean(axis=1)[1:3]
    dark, bright = float(sides.min()), float(sides.max())
    return max((MIN_FILL * bright - dark) / (1 - MIN_FILL), 0.0)


def _rgb(color: Triple) -> Floats:
    return np.array(color, np.float32)

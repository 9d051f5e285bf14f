"""Cloth around the head: hijabs, headscarves, turbans, keffiyehs and hoods.

A covering is a surface around the middle of the head, as far out everywhere as what it covers, with folds.
Its texture is clear where the face looks out and beyond its hem.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.groom import to_base
from facelift.synth.meshes import smooth_normals
from facelift.synth.patterns import Pattern, draw_pattern, sample_pattern
from facelift.synth.scene import Floats, Ints, Pixels
from facelift.synth.strands import Grown
from facelift.synth.values import Triple, triple

CENTRE = np.array([0, 6.9, 0.7], np.float32)
"""What a covering lies around, on the base mesh (decimetres, y up, the face along +z)."""

LOWEST = 3.8
"""Height on the base mesh below which nothing is covered."""

BESIDE = 1.25
"""Decimetres from the middle within which cloth spans the shoulders; it falls between what is farther out."""

NAPE = -0.35
"""Depth on the base mesh beyond which a hem runs level."""

LOOSER = 0.14
"""Decimetres more that it stands off the shoulders."""

FARTHEST = -0.8
"""Depth on the base mesh behind which no cloth hangs: heads are cut to a bust there."""

ROWS, COLUMNS, DOWN = 68, 96, 176.0
"""Of the surface: from the top of the head down by so many degrees, and around."""

SIZE = 512
"""Side of the texture."""

AROUND = (0, 45, 90, 120, 150, 180)
"""Where an opening is given, degrees around the face from the forehead over a cheek to the chin."""


@dataclass(frozen=True)
class Kind:
    """What all coverings of one kind have in common.

    Attributes:
        opening: degrees from straight ahead to the edge of the cloth, at AROUND.
        thickness: least and most distance from what is below, decimetres.
        hem: height on the base mesh above the ears (z = 0.3) where it ends, and its rise per decimetre.
        folds: their height, decimetres.
        shares: of the women and of the men who wear a covering.
    """

    opening: tuple[float, float, float, float, float, float]
    thickness: tuple[float, float]
    hem: tuple[float, float]
    folds: float
    shares: tuple[float, float]

    @property
    def drapes(self) -> bool:
        """Whether it comes down on the shoulders, with a level hem."""
        return self.hem[1] == 0


KINDS = {
    "hijab": Kind((60, 77, 93, 76, 53, 48), (0.07, 0.13), (4.9, 0.0), 0.02, (0.55, 0.0)),
    "headscarf": Kind((55, 70, 104, 132, 160, 175), (0.07, 0.14), (7.0, 0.65), 0.025, (0.31, 0.0)),
    "turban": Kind((51, 64, 98, 132, 160, 175), (0.16, 0.32), (7.15, 0.45), 0.06, (0.04, 0.35)),
    "keffiyeh": Kind((60, 78, 98, 104, 100, 92), (0.07, 0.14), (4.8, 0.0), 0.03, (0.0, 0.4)),
    "hood": Kind((68, 85, 100, 82, 58, 53), (0.14, 0.26), (5.1, 0.0), 0.02, (0.1, 0.25)),
}
SHARES = (0.1, 0.06)
"""How many women and men wear one."""

SHOWS_HAIR = ("headscarf", "turban")
"""Kinds below which short hair is seen, at the nape and before the ears."""


@dataclass(frozen=True)
class Covering:
    """A cloth around the head.

    Attributes:
        kind: one of KINDS.
        color: sRGB.
        pattern: None for plain cloth.
        thickness: decimetres that it stands off.
        wider: degrees by which the face is seen more.
        low: decimetres by which its hem is lower.
        seed: of its folds.
    """

    kind: str
    color: Triple
    pattern: Pattern | None
    thickness: float
    wider: float
    low: float
    seed: int


def sample_covering(rng: np.random.Generator, is_male: bool) -> Covering:
    """A random covering for a woman or a man."""
    shares = np.array([kind.shares[is_male] for kind in KINDS.values()])
    name = list(KINDS)[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
    kind = KINDS[name]
    grey = rng.choice([rng.uniform(0.03, 0.2), rng.uniform(0.2, 0.6), rng.uniform(0.75, 0.95)])
    color = np.full(3, grey) + rng.choice([0.05, 0.5]) * (rng.uniform(0.05, 0.85, 3) - grey)
    if name == "keffiyeh" and rng.random() < 0.7:
        color = np.array([0.93, 0.92, 0.9])
    return Covering(
        kind=name,
        color=triple(color),
        pattern=None if name == "hood" or rng.random() < 0.6 else sample_pattern(rng),
        thickness=round(float(rng.uniform(*kind.thickness)), 3),
        wider=round(float(rng.uniform(-2, 2)), 2),
        low=round(float(rng.uniform(-0.12, 0.12)), 3),
        seed=int(rng.integers(1 << 30)),
    )


def cover(body: Floats, clothes: Floats, assets: Assets, covering: Covering) -> tuple[Grown, Pixels]:
    """The cloth's mesh, in the body's units and axes, and its texture.

    Args:
        body: (19158, 3) the base mesh as the person holds it.
        clothes: (V, 3) what lies over the shoulders.
        assets: MakeHuman's.
        covering: what is worn.
    """
    kind = KINDS[covering.kind]
    from_base = to_base(body, assets)
    centre = np.append(CENTRE, 1) @ from_base
    out, inward = _directions(), np.linalg.inv(from_base[:3])
    facing = _turned(out, inward)
    ahead, edge = _from_edge(facing, kind, covering)
    radius = _radius(body, clothes, assets, centre, out, inward, covering)
    hem, rise = kind.hem[0] - covering.low, kind.hem[1]
    if kind.drapes:
        # It ends where it comes down to its hem, among the clothes.
        radius = np.minimum(radius, (CENTRE[1] - hem) / (-facing[..., 1]).clip(0.05))
    # An edge is rolled, and lies on the skin; so does the hem of what is wound round the head.
    brim = edge
    if not kind.drapes:
        around = radius[..., None] * facing / np.linalg.norm(facing, axis=-1, keepdims=True) + CENTRE
        brim = np.minimum(edge, _above_hem(around, hem, rise))
    radius += covering.thickness * (0.3 + 0.7 * regions.step(0, 0.3, brim))
    rng = np.random.Generator(np.random.PCG64([covering.seed, 7]))
    radius += kind.folds * _folds(rng, facing, ahead, covering.kind)
    points = centre + out * radius[..., None]
    rest = _turned(points - centre, inward) + CENTRE
    # Shoulders and back are seen from the middle of the head at a slant: from them it stands off sideways.
    aside = out * np.array([1, 0, 1], np.float32)
    aside /= np.linalg.norm(aside, axis=-1, keepdims=True).clip(0.05)
    points += LOOSER * regions.step(6.4, 5.7, rest[..., 1])[..., None] * aside
    points += (FARTHEST - _turned(points - centre, inward)[..., 2:] - CENTRE[2]).clip(0) * from_base[2]
    if not kind.drapes:
        edge = np.minimum(edge, _above_hem(rest, hem, rise))
    band = np.zeros_like(radius)
    if covering.kind == "keffiyeh":
        # The cord that holds it.
        band = np.exp(-(((rest[..., 1] - 7.93 - 0.12 * (rest[..., 2] - 0.3)) / 0.07) ** 2))
        points += out * (0.07 * band)[..., None]
    return _mesh(points.astype(np.float32)), _texture(covering, edge, band, rng)


def _above_hem(places: Floats, hem: float, rise: float) -> Floats:
    """(ROWS, COLUMNS) how far places on the base mesh are above a hem that rises to the front."""
    return np.asarray(places[..., 1] - hem - rise * (places[..., 2].clip(NAPE) - 0.3), np.float32)


def _directions() -> Floats:
    """(ROWS, COLUMNS, 3) unit directions; the first column is behind, where the texture has its seam."""
    down, around = np.meshgrid(
        np.radians(np.linspace(0, DOWN, ROWS)), 2 * np.pi * np.arange(COLUMNS) / COLUMNS, indexing="ij"
    )
    flat = np.sin(down)
    return np.stack([-flat * np.sin(around), np.cos(down), -flat * np.cos(around)], axis=2).astype(np.float32)


def _turned(vectors: Floats, inward: Floats) -> Floats:
    """Vectors of the body as they are on the base mesh."""
    return np.asarray(vectors @ inward, np.float32)


def _from_edge(facing: Floats, kind: Kind, covering: Covering) -> tuple[Floats, Floats]:
    """How far directions on the base mesh are from ahead (degrees) and beyond the opening (radians)."""
    x, y, z = np.moveaxis(facing / np.linalg.norm(facing, axis=-1, keepdims=True), -1, 0)
    ahead = np.degrees(np.arctan2(np.hypot(x, y), z))
    around = np.degrees(np.arctan2(np.abs(x), y))
    edge = ahead - np.interp(around, AROUND, kind.opening) - covering.wider
    return ahead, np.asarray(np.radians(edge), np.float32)


def _radius(
    body: Floats,
    clothes: Floats,
    assets: Assets,
    centre: Floats,
    out: Floats,
    inward: Floats,
    covering: Covering,
) -> Floats:
    """(ROWS, COLUMNS) how far out head, neck, shoulders and clothes are; evened, as cloth spans hollows."""

    def covered() -> Ints:
        members = assets.base.members("body")
        p = assets.base.vertices[members]
        return members[(p[:, 1] > LOWEST) & (np.abs(p[:, 0]) < BESIDE) & ~regions.inside(p)]

    members = assets.cached("covered", covered)
    points = np.concatenate([body[members], clothes[clothes[:, 1] > body[members, 1].min()]])
    away = points - centre
    _, edge = _from_edge(_turned(away, inward), KINDS[covering.kind], covering)
    away = away[(edge > -0.12) & (np.abs(away[:, 0]) < BESIDE)]  # nose and cheeks look out
    far = np.linalg.norm(away, axis=1)
    _, nearest = cKDTree(away / far[:, None]).query(out.reshape(-1, 3), k=14)
    radius = far[nearest].max(axis=1).reshape(ROWS, COLUMNS)
    return np.asarray(gaussian_filter(radius, 1.2, mode=("nearest", "wrap")), np.float32)


def _folds(rng: np.random.Generator, facing: Floats, ahead: Floats, kind: str) -> Floats:
    """(ROWS, COLUMNS) -1 to 1: cloth that is wound round the head, or hangs from it."""
    x, y, z = np.moveaxis(facing, -1, 0)
    bend = gaussian_filter(rng.normal(0, 1, (ROWS, COLUMNS)), 7, mode=("nearest", "wrap")) * 20
    if kind == "turban":
        # Wound from both sides, crossing in front.
        phase = 11 * (y + 0.35 * np.abs(x)) + 3 * z + 0.6 * bend
    else:
        phase = np.radians(ahead) * rng.uniform(7, 11) + rng.uniform(-2, 2) * x + bend
    return np.asarray(np.sin(phase), np.float32)


def _mesh(points: Floats) -> Grown:
    """The grid of points (ROWS, COLUMNS, 3), closed behind, where the texture's two sides meet."""
    row, column = np.meshgrid(np.arange(ROWS - 1), np.arange(COLUMNS), indexing="ij")

    def faces(columns: int) -> list[Ints]:
        a, c = (r * columns + column % columns for r in (row, row + 1))
        b, d = (r * columns + (column + 1) % columns for r in (row, row + 1))
        return [np.stack(each, axis=2).reshape(-1, 3) for each in ((a, c, d), (a, d, b))]

    flat = points.reshape(-1, 3)
    normals = smooth_normals(flat, np.concatenate(faces(COLUMNS)).astype(np.int32))
    normals = normals.reshape(points.shape)
    normals[0] = normals[1].mean(axis=0)
    normals[0] /= np.linalg.norm(normals[0], axis=1, keepdims=True)
    closed, bent = (np.concatenate([each, each[:, :1]], axis=1).reshape(-1, 3) for each in (points, normals))
    u, v = np.meshgrid(np.linspace(0, 1, COLUMNS + 1), np.linspace(1, 0, ROWS))
    uvs = np.stack([u, v], axis=2).reshape(-1, 2).astype(np.float32)
    return Grown(closed, bent, uvs, np.concatenate(faces(COLUMNS + 1)).astype(np.int32))


def _texture(covering: Covering, inside: Floats, band: Floats, rng: np.random.Generator) -> Pixels:
    """The cloth's colours, clear where `inside` (ROWS, COLUMNS) is below 0; it is about decimetres."""

    def spread(values: Floats) -> Floats:
        closed = np.concatenate([values, values[:, :1]], axis=1).astype(np.float32)
        # Texels' centres among vertices, the first and last of which are the texture's edges.
        at = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
        x, y = np.meshgrid(at * COLUMNS, at * (ROWS - 1))
        return np.asarray(cv2.remap(closed, x, y, cv2.INTER_LINEAR), np.float32)

    weave = 0.94 + 0.12 * rng.random((SIZE, SIZE, 1), np.float32)
    rgb = np.array(covering.color, np.float32) * weave
    if covering.pattern is not None:
        # Texels per decimetre around the head.
        amount = draw_pattern(covering.pattern, SIZE, SIZE / (2 * np.pi))[..., None]
        rgb = rgb + amount * (np.array(covering.pattern.color, np.float32) * weave - rgb)
    rgb = rgb + (spread(band)[..., None] > 0.5) * (np.float32(0.04) - rgb)
    alpha = (spread(inside) * 60 + 0.5).clip(0, 1)
    return (255 * np.concatenate([rgb.clip(0, 1), alpha[..., None]], axis=2)).astype(np.uint8)

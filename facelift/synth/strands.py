"""Hair grown from the scalp: strands that follow the skull, drawn as ribbons over a cap of undergrowth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.groom import to_base
from facelift.synth.haircuts import Haircut, direction, growth, hairy, lengths
from facelift.synth.meshes import smooth_normals, triangles
from facelift.synth.priors import GREY
from facelift.synth.scene import Floats, Ints, Pixels
from facelift.synth.values import Triple

ROOTS = 1200
"""Places on the scalp that a ribbon may grow from."""

POINTS = 4
"""Of a ribbon, from its root to its tip."""

WIDTH = 0.12
"""Of a ribbon, decimetres."""

CENTRE = np.array([0, 7.45, 0.4], np.float32)
"""The middle of the skull on the base mesh."""

ABOVE = 6.55
"""Lowest height on the base mesh that counts as skull and nape."""

SHAVED = 0.08
"""Decimetres below which hair is no ribbons, undergrowth alone."""

COILY = 0.6
"""Curl from which hair stands by itself: ribbons grow out of the undergrowth, which reaches nearly as far."""

CAP_SIZE, CAP_ANGLE = 256, 150.0
"""The undergrowth's texture: its side, and how many degrees from the top of the head it reaches."""

COLUMNS, SIDE = 8, 128
"""Different ribbons in a texture, and the texels that each is wide; all are twice as long."""


@dataclass(frozen=True)
class Grown:
    """A mesh of hair, in the body's units and axes: vertices, normals, texture coordinates, triangles."""

    vertices: Floats
    normals: Floats
    uvs: Floats
    faces: Ints


def hair(
    body: Floats, assets: Assets, cut: Haircut, color: Triple, seed: int
) -> tuple[tuple[Grown, Pixels], ...]:
    """The layers that a cut is drawn in, with their textures: undergrowth, and ribbons if it has any."""
    under, top = undergrowth(body, assets, cut), grow(body, assets, cut, seed)
    layers = (under, undergrowth_texture(assets, cut, color, seed)), (top, strand_texture(cut, color, seed))
    return tuple(layer for layer in layers if len(layer[0].faces))


class Skull:
    """How far a person's skin is from the middle of the skull, in every direction."""

    def __init__(self, body: Floats, assets: Assets) -> None:
        self.centre = np.array([*CENTRE, 1.0], np.float32) @ to_base(body, assets)
        away = body[assets.cached("skull", lambda: _skull(assets))] - self.centre
        self._radii = np.linalg.norm(away, axis=1)
        self._tree = cKDTree(away / self._radii[:, None])

    def radius(self, directions: Floats) -> Floats:
        """(N,) distance to the skin in unit directions (N, 3)."""
        apart, nearest = self._tree.query(directions, k=4)
        weight = 1 / (apart + 0.02) ** 2
        return np.asarray((weight * self._radii[nearest]).sum(axis=1) / weight.sum(axis=1), np.float32)


def _skull(assets: Assets) -> Ints:
    """Vertices of skull, face and nape, without the ears."""
    members = assets.base.members("body")
    p = assets.base.vertices[members]
    kept = (p[:, 1] > ABOVE) & ~regions.inside(p) & (regions.ear(p) == 0)
    return np.asarray(members[kept], np.int32)


@dataclass(frozen=True)
class _Scalp:
    """Where hair can grow on the base mesh: triangles (T, 3), and random roots on them."""

    quads: Ints
    corners: Ints
    weights: Floats
    places: Floats


def _scalp(assets: Assets) -> _Scalp:
    def make() -> _Scalp:
        mesh = assets.base
        body = mesh.groups["body"]
        places = mesh.vertices
        quads = body[(hairy(places) > 0.01)[mesh.faces[body]].all(axis=1)]
        corners = triangles(mesh.faces[quads])
        a, b, c = (places[corners[:, k]] for k in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        rng = np.random.Generator(np.random.PCG64(4))
        chosen = corners[rng.choice(len(corners), ROOTS, p=area / area.sum())]
        weights = rng.dirichlet([1, 1, 1], ROOTS).astype(np.float32)
        return _Scalp(quads, chosen, weights, (weights[..., None] * places[chosen]).sum(axis=1))

    return assets.cached("scalp roots", make)


def grow(body: Floats, assets: Assets, cut: Haircut, seed: int) -> Grown:
    """The ribbons of a cut on a body."""
    scalp = _scalp(assets)
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    alive = growth(cut, scalp.places) * (0.5 + 0.5 * cut.density) > rng.random(ROOTS)
    alive &= lengths(cut, scalp.places) > SHAVED
    base, corners, weights = scalp.places[alive], scalp.corners[alive], scalp.weights[alive]
    roots = (weights[..., None] * body[corners]).sum(axis=1)
    count, coily = len(roots), cut.curl > COILY
    length = lengths(cut, base) * rng.uniform(0.75, 1.1, count)
    lift = _lifts(cut, base) * rng.uniform(0.7, 1.2, count)
    thick = rng.random(count) * np.minimum(0.05 + 0.25 * length, 0.2)
    way = direction(cut, base) + 0.16 * rng.normal(0, 1, (count, 3))
    start = np.full(count, -0.03)
    if coily:
        start = rng.uniform(0.5, 0.95, count) * _cap_height(cut, base)
        length = np.minimum(length, rng.uniform(0.12, 0.3, count))
        lift, thick, way = rng.uniform(0.0, 0.5, count), 0 * thick, rng.normal(0, 1, (count, 3))
    skull = Skull(body, assets)
    points, normals = np.empty((count, POINTS, 3), np.float32), np.empty((count, POINTS, 3), np.float32)
    place, step = roots, length * np.sqrt(1 - lift.clip(0, 0.98) ** 2) / (POINTS - 1)
    for k in range(POINTS):
        away = place - skull.centre
        out = away / np.linalg.norm(away, axis=1, keepdims=True)
        share = k / (POINTS - 1)
        height = start * (1 if coily else k == 0) + length * lift * share + thick * share**0.5
        # Short hair is a ribbon nonetheless, which must not lie in the undergrowth.
        points[:, k] = skull.centre + out * (skull.radius(out) + height + 0.015)[:, None]
        normals[:, k] = out
        along = way - (way * out).sum(axis=1, keepdims=True) * out
        along /= np.linalg.norm(along, axis=1, keepdims=True).clip(1e-6)
        place = points[:, k] + np.maximum(step, 0.02)[:, None] * along
        way = along + np.array([0, -0.12, 0])  # it falls
    return ribbons(points, normals, np.full(count, WIDTH * (1.6 if coily else 1.0)), rng)


def _lifts(cut: Haircut, p: Floats) -> Floats:
    """(N,) how far hair at places (N, 3) stands up: a quiff does so in front, and sides lie flatter."""
    lift = cut.lift * (0.45 + 0.55 * regions.step(7.5, 8.0, p[:, 1]))
    if cut.curl > COILY:
        return np.full(len(p), max(cut.lift, 0.5), np.float32)
    if cut.comb == "back":
        lift = lift * (0.25 + 0.75 * regions.step(0.3, 0.9, p[:, 2]))
    return np.asarray(lift, np.float32)


def ribbons(points: Floats, normals: Floats, widths: Floats, rng: np.random.Generator) -> Grown:
    """Strands (S, P, 3) as flat bands that lie along `normals`, each with a column of the texture."""
    count, length = points.shape[:2]
    tangents = np.gradient(points, axis=1)
    aside = np.cross(tangents, normals)
    aside /= np.linalg.norm(aside, axis=2, keepdims=True).clip(1e-6)
    half = widths[:, None, None] / 2
    # A band is shaded as if it were bowed, so that neighbours do not blend into one sheet.
    vertices = np.stack([points - half * aside, points + half * aside], axis=2)
    bent = np.stack([normals - 0.35 * aside, normals + 0.35 * aside], axis=2)
    bent /= np.linalg.norm(bent, axis=3, keepdims=True)
    column = rng.integers(0, COLUMNS, (count, 1)) + np.array([0.04, 0.96])
    u = np.broadcast_to((column / COLUMNS)[:, None], (count, length, 2))
    v = np.broadcast_to(np.linspace(0.02, 0.98, length)[None, :, None], (count, length, 2))
    first = (np.arange(count)[:, None] * length + np.arange(length - 1)).reshape(-1, 1) * 2
    faces = np.concatenate([first + np.array(corners) for corners in ((0, 1, 3), (0, 3, 2))])
    return Grown(
        vertices.reshape(-1, 3).astype(np.float32),
        bent.reshape(-1, 3).astype(np.float32),
        np.stack([u, v], axis=3).reshape(-1, 2).astype(np.float32),
        faces.astype(np.int32),
    )


def undergrowth(body: Floats, assets: Assets, cut: Haircut) -> Grown:
    """The cap that lies below the ribbons: the scalp, lifted; its texture is `undergrowth_texture`."""
    mesh, scalp = assets.base, _scalp(assets)

    def make() -> tuple[Ints, Floats, Ints]:
        used, faces = np.unique(triangles(mesh.faces[scalp.quads]), return_inverse=True)
        return used.astype(np.int32), _on_cap(mesh.vertices[used]), faces.reshape(-1, 3).astype(np.int32)

    source, uvs, faces = assets.cached("undergrowth", make)
    places = mesh.vertices[source]
    here = growth(cut, places)
    # Near its edge the cap comes down to the skin.
    height = 0.012 + _cap_height(cut, places) * regions.step(0.2, 1.0, here)
    normals = smooth_normals(body, triangles(mesh.faces[mesh.groups["body"]]))[source]
    used = here[faces].max(axis=1) > 0.01
    return Grown(body[source] + height[:, None] * normals, normals, uvs, faces[used])


def _cap_height(cut: Haircut, p: Floats) -> Floats:
    share = 0.85 if cut.curl > COILY else 0.35
    return share * lengths(cut, p) * _lifts(cut, p)


def _on_cap(p: Floats) -> Floats:
    """(N, 2) texture coordinates of places on the base mesh: seen from above, evenly down to CAP_ANGLE."""
    away = p - CENTRE
    angle = np.degrees(np.arctan2(np.hypot(away[:, 0], away[:, 2]), away[:, 1])) / CAP_ANGLE
    around = np.arctan2(away[:, 2], away[:, 0])
    return (0.5 + 0.5 * angle[:, None] * np.stack([np.cos(around), np.sin(around)], axis=1)).astype(
        np.float32
    )


def _cap_places(assets: Assets) -> Floats:
    """(CAP_SIZE, CAP_SIZE, 3) place on the base mesh of every texel of the undergrowth, as `_on_cap` says."""

    def make() -> Floats:
        across = (np.arange(CAP_SIZE) + 0.5) / CAP_SIZE * 2 - 1
        x, z = np.meshgrid(across, -across)
        angle = np.radians(CAP_ANGLE * np.hypot(x, z)).clip(0, np.pi)
        around = np.arctan2(z, x)
        flat = np.sin(angle)
        out = np.stack([flat * np.cos(around), np.cos(angle), flat * np.sin(around)], axis=2).reshape(-1, 3)
        places = CENTRE + out * Skull(assets.base.vertices, assets).radius(out)[:, None]
        return places.reshape(CAP_SIZE, CAP_SIZE, 3).astype(np.float32)

    return assets.cached("cap places", make)


def _tones(color: Triple, grey: float) -> tuple[Floats, Floats]:
    """The hair's colour, and that of its greyer share."""
    plain = np.array(color, np.float32)
    return plain, plain + grey * (np.array(GREY, np.float32) - plain)


def undergrowth_texture(assets: Assets, cut: Haircut, color: Triple, seed: int) -> Pixels:
    """The cap's texture, seen from above: clear where no hair grows."""
    p = _cap_places(assets).reshape(-1, 3)
    shape = CAP_SIZE, CAP_SIZE
    # Thin hair lies in strands that show the scalp between them, but not where it is shaved.
    density = np.maximum(cut.density, regions.step(SHAVED, 0.75 * SHAVED, lengths(cut, p)))
    alive = (growth(cut, p) * density).reshape(shape)
    temple = regions.step(7.9, 7.4, p[:, 1]).reshape(shape)
    rng = np.random.Generator(np.random.PCG64([seed, 5]))
    grain = 0.5 + 2.2 * (gaussian_filter(rng.random(shape, np.float32), 0.6) - 0.5)
    alpha = ((1.35 * alive - grain) * 2 + 0.5).clip(0, 1)
    plain, greyer = _tones(color, cut.grey)
    share = (temple * 0.8 + 0.2 * rng.random(shape))[..., None]
    soft = gaussian_filter(rng.random(shape, np.float32), 1)
    tone = 0.8 + 1.2 * (soft - 0.5) + 0.25 * (grain - 0.5)
    rgb = 255 * (plain + share * (greyer - plain)) * tone[..., None]
    return np.concatenate([rgb.clip(0, 255), 255 * alpha[..., None]], axis=2).astype(np.uint8)


def strand_texture(cut: Haircut, color: Triple, seed: int) -> Pixels:
    """COLUMNS bands of single hairs, roots below; curly ones wind from side to side."""
    alpha, tone, greys = _bands(round(4 * cut.curl), seed % 3)
    plain, greyer = _tones(color, cut.grey)
    out = np.empty((*alpha.shape, 4), np.uint8)
    for k in range(3):
        levels = np.array([plain[k], greyer[k]], np.float32) * 255
        out[..., k] = (levels[greys] * tone).clip(0, 255)
    out[..., 3] = alpha
    return out


@cache
def _bands(quarters: int, variant: int) -> tuple[Pixels, Floats, Pixels]:
    """Alpha, light and which hairs are grey, of strands with so many quarters of a whole curl."""
    rng = np.random.Generator(np.random.PCG64([variant, 6]))
    curl = quarters / 4
    rows, columns = 2 * SIDE, COLUMNS * SIDE
    v = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
    alpha, tone = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    greys = np.zeros((rows, columns), np.uint8)
    x = np.arange(SIDE, dtype=np.float32)
    for band in range(COLUMNS):
        here = slice(band * SIDE, (band + 1) * SIDE)
        for _ in range(30):
            end, shade, thick = rng.uniform(0.55, 1.05), rng.uniform(0.6, 1.35), rng.uniform(1.8, 3.6)
            turns = v * (1 + 2.5 * curl) + rng.random()
            wave = SIDE * (0.02 + 0.12 * curl) * np.sin(2 * np.pi * turns)
            middle = rng.uniform(0.12, 0.88) * SIDE + wave * v**0.3 + SIDE * rng.normal(0, 0.08) * v
            thinner = thick * np.minimum(((end - v) / 0.3).clip(0, 1) ** 0.5, 1)
            line = (thinner + 0.5 - np.abs(x - middle)).clip(0, 1)
            over = line > alpha[:, here]
            alpha[:, here] = np.maximum(alpha[:, here], line)
            tone[:, here] = np.where(over, shade, tone[:, here])
            greys[:, here] = np.where(over, rng.random() < 0.35, greys[:, here])
    tone *= 1 - 0.25 * (1 - v) ** 2  # less light reaches the roots
    return (255 * alpha).astype(np.uint8), tone, greys

"""Hair grown from the scalp: strands that follow the skull, drawn as ribbons over a cap of undergrowth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.hair_textures import (
    COLUMNS,
    SHAVED,
    on_cap,
    strand_texture,
    undergrowth_texture,
)
from facelift.synth.haircuts import Haircut, direction, growth, hairy, lengths
from facelift.synth.meshes import smooth_normals, triangles
from facelift.synth.scene import Floats, Ints, Pixels
from facelift.synth.skull import Skull
from facelift.synth.values import Triple

ROOTS = 1200
"""Places on the scalp that a ribbon may grow from."""

POINTS = 4
"""Of a ribbon, from its root to its tip."""

WIDTH = 0.12
"""Of a ribbon, decimetres."""

COILY = 0.6
"""Curl from which hair stands by itself: ribbons grow out of the undergrowth, which reaches nearly as far."""


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
    layers = (
        (under, undergrowth_texture(assets, cut, color, seed)),
        (top, strand_texture(cut, color, seed, long=cut.top > 0.3)),
    )
    return tuple(layer for layer in layers if len(layer[0].faces))


@dataclass(frozen=True)
class Scalp:
    """Where hair can grow on the base mesh.

    Attributes:
        quads: faces of the base mesh.
        corners, weights: of ROOTS random roots, three vertices (ROOTS, 3) each, and their shares.
        places: (ROOTS, 3) of the roots.
    """

    quads: Ints
    corners: Ints
    weights: Floats
    places: Floats


def scalp(assets: Assets) -> Scalp:
    """Where hair can grow on the base mesh."""

    def make() -> Scalp:
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
        return Scalp(quads, chosen, weights, (weights[..., None] * places[chosen]).sum(axis=1))

    return assets.cached("scalp roots", make)


def grow(body: Floats, assets: Assets, cut: Haircut, seed: int) -> Grown:
    """The ribbons of a cut on a body."""
    ground = scalp(assets)
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    alive = growth(cut, ground.places) * (0.5 + 0.5 * cut.density) > rng.random(ROOTS)
    alive &= lengths(cut, ground.places) > SHAVED
    base, corners, weights = ground.places[alive], ground.corners[alive], ground.weights[alive]
    roots = (weights[..., None] * body[corners]).sum(axis=1)
    count, coily = len(roots), cut.curl > COILY
    length = lengths(cut, base) * rng.uniform(0.8, 1.05, count)
    lift = _lifts(cut, base) * rng.uniform(0.8, 1.05, count)
    thick = rng.random(count) * np.minimum(0.05 + 0.25 * length, 0.2)
    way = direction(cut, base) + 0.12 * rng.normal(0, 1, (count, 3))
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
        height = start * (1 if coily else k == 0) + length * lift * share**0.6 + thick * share**0.5
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
    """Strands (S, P, 3) as flat bands that lie along `normals`, each with a column of the texture.

    Args:
        points: (S, P, 3).
        normals: (S, P, 3) the way that the bands face.
        widths: (S,) of the bands, or (S, P).
        rng: chooses the columns.
    """
    count, length = points.shape[:2]
    tangents = np.gradient(points, axis=1)
    aside = np.cross(tangents, normals)
    aside /= np.linalg.norm(aside, axis=2, keepdims=True).clip(1e-6)
    half = np.broadcast_to(widths if widths.ndim == 2 else widths[:, None], (count, length))[..., None] / 2
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
    mesh, ground = assets.base, scalp(assets)

    def make() -> tuple[Ints, Floats, Ints]:
        used, faces = np.unique(triangles(mesh.faces[ground.quads]), return_inverse=True)
        return used.astype(np.int32), on_cap(mesh.vertices[used]), faces.reshape(-1, 3).astype(np.int32)

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

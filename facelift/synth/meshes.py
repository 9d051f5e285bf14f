"""Meshes as they are drawn: triangles, split where the texture is, with smooth normals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facelift.synth.assets import Assets
from facelift.synth.makehuman import Mesh
from facelift.synth.scene import Floats, Ints, Part, Pixels

# No camera between -20 and 60 degrees sees what lies below this height (decimetres, on the base mesh).
WAIST_HEIGHT = 1.2


@dataclass(frozen=True)
class Template:
    """What stays the same for all people who wear one mesh.

    Attributes:
        source: (S,) int32, the mesh's vertex of each vertex of the part, which is split along texture seams.
        uvs: (S, 2) float32.
        faces: (F, 3) int32 triangles of the part.
        corners: (T, 3) int32 triangles of the unsplit mesh, for smooth normals; more than are drawn.
    """

    source: Ints
    uvs: Floats
    faces: Ints
    corners: Ints


def make_template(mesh: Mesh, drawn: NDArray[np.bool_], shaded: NDArray[np.bool_] | None = None) -> Template:
    """Triangles of the quads in `drawn` (F,), split where one vertex has two texture coordinates.

    `shaded` (F,) are the quads that smooth normals are made from, by default those that are drawn.
    """
    corners = triangles(mesh.faces[drawn])
    pairs = corners.astype(np.int64) * len(mesh.uvs) + triangles(mesh.face_uvs[drawn])
    unique, inverse = np.unique(pairs, return_inverse=True)
    return Template(
        (unique // len(mesh.uvs)).astype(np.int32),
        mesh.uvs[unique % len(mesh.uvs)],
        inverse.reshape(-1, 3).astype(np.int32),
        corners if shaded is None else triangles(mesh.faces[shaded]),
    )


def triangles(quads: Ints) -> Ints:
    """(F, 4) to (T, 3); a triangle written as a quad gives one."""
    first, second = quads[:, :3], quads[:, [0, 2, 3]]
    return np.concatenate([first, second[second[:, 1] != second[:, 2]]])


def _above_waist(mesh: Mesh, vertices: Floats) -> NDArray[np.bool_]:
    return (vertices[mesh.faces, 1] > WAIST_HEIGHT).all(axis=1)


def skin_template(assets: Assets, clothes: str) -> Template:
    """The body above the waist, without what these clothes cover."""

    def make() -> Template:
        mesh = assets.base
        skin = np.zeros(len(mesh.faces), bool)
        skin[mesh.groups["body"]] = True
        skin &= _above_waist(mesh, mesh.vertices)
        covered = np.zeros(len(mesh.vertices), bool)
        covered[assets.proxy(clothes).hidden] = True
        return make_template(mesh, skin & ~covered[mesh.faces].all(axis=1), skin)

    return assets.cached(("skin template", clothes), make)


def proxy_template(assets: Assets, name: str, flipped: bool = False) -> Template:
    """A proxy above the waist, or its mirror image."""

    def make() -> Template:
        proxy = assets.proxy(name)
        drawn = _above_waist(proxy.mesh, proxy.fit(assets.base.vertices))
        mesh = proxy.mesh
        if flipped:
            mesh = replace(mesh, faces=mesh.faces[:, ::-1], face_uvs=mesh.face_uvs[:, ::-1])
        return make_template(mesh, drawn)

    return assets.cached(("proxy template", name, flipped), make)


def opaque_template(assets: Assets, name: str, texture: Pixels) -> Template:
    """A proxy without its glass: the cornea before an eye has a wholly transparent texture."""

    def make() -> Template:
        mesh = assets.proxy(name).mesh
        rows, columns = texture.shape[:2]
        middle = mesh.uvs[mesh.face_uvs].mean(axis=1)
        row = ((1 - middle[:, 1]) * rows).astype(int).clip(0, rows - 1)
        column = (middle[:, 0] * columns).astype(int).clip(0, columns - 1)
        return make_template(mesh, texture[row, column, 3] > 127)

    return assets.cached(("opaque template", name), make)


def smooth_normals(vertices: Floats, corners: Ints) -> Floats:
    """Unit vertex normals (V, 3): the mean of the triangles around, weighted by area."""
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    index = corners.T.reshape(-1)
    summed = np.stack([np.bincount(index, np.tile(flat[:, k], 3), len(vertices)) for k in range(3)], axis=1)
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    return (summed / np.maximum(length, 1e-12)).astype(np.float32)


def tucked(vertices: Floats, corners: Ints, depth: Floats) -> Floats:
    """The body (V, 3) drawn in by as much as `depth` (V,) says, lest skin come through what it wears."""
    return vertices - depth[:, None] * smooth_normals(vertices, corners)


def fluffed(vertices: Floats, normals: Floats, middle: Floats) -> Floats:
    """Normals of hair, bent away from the middle of the head, or towards it on the inner side.

    Hair is a heap of narrow cards; shaded by their own normals alone it shows every one of them.
    """
    out = vertices - middle
    # Below the middle of the head hair hangs around the neck: away means sideways.
    out[:, 1] = out[:, 1].clip(0)
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
    side = np.where((out * normals).sum(axis=1, keepdims=True) < 0, -1, 1).astype(np.float32)
    bent = normals + 1.2 * side * out
    return bent / np.maximum(np.linalg.norm(bent, axis=1, keepdims=True), 1e-6)


def clip(part: Part, plane: Floats) -> Part:
    """The part on the positive side of a plane (a, b, c, d), where ax + by + cz + d >= 0; the cut is exact.

    A triangle that crosses the plane keeps its one or two inner corners; where it leaves and enters, new
    vertices are interpolated.
    """
    height = part.vertices @ plane[:3] + plane[3]
    inside = height[part.faces] >= 0
    corners = inside.sum(axis=1)
    if (corners == 3).all():
        return part
    crossing = part.faces[(corners == 1) | (corners == 2)]
    lone = np.where((height[crossing] >= 0).sum(axis=1) == 1, 1, -1)  # which side the odd corner is on
    odd = ((height[crossing] >= 0) == (lone == 1)[:, None]).argmax(axis=1)
    a, b, c = (np.take_along_axis(crossing, (odd[:, None] + k) % 3, 1)[:, 0] for k in range(3))

    def between(start: Ints, end: Ints) -> tuple[Floats, Floats, Floats]:
        t = (height[start] / (height[start] - height[end]))[:, None]
        mixed = (x[start] * (1 - t) + x[end] * t for x in (part.vertices, part.normals, part.uvs))
        vertices, normals, uvs = (x.astype(np.float32) for x in mixed)
        return vertices, normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9), uvs

    ab, ac = between(a, b), between(a, c)
    first = len(part.vertices)
    p = np.arange(first, first + len(a), dtype=np.int32)
    q = p + np.int32(len(a))
    one, two = lone == 1, lone == -1
    faces = [
        part.faces[corners == 3],
        np.stack([a, p, q], axis=1)[one],
        np.stack([p, b, c], axis=1)[two],
        np.stack([p, c, q], axis=1)[two],
    ]
    vertices, normals, uvs = (
        np.concatenate(x) for x in zip((part.vertices, part.normals, part.uvs), ab, ac, strict=True)
    )
    return replace(
        part, vertices=vertices, normals=normals, uvs=uvs, faces=np.concatenate(faces).astype(np.int32)
    )


def compact(part: Part) -> Part:
    """The part without the vertices that no face has."""
    used = np.zeros(len(part.vertices), bool)
    used[part.faces] = True
    if used.all():
        return part
    index = (np.cumsum(used) - 1).astype(np.int32)
    vertices, normals, uvs = (x[used] for x in (part.vertices, part.normals, part.uvs))
    return replace(part, vertices=vertices, normals=normals, uvs=uvs, faces=index[part.faces])

"""Vitruvian's strand hair (CC0) on MakeHuman's base mesh: its head is registered, and the hair goes along.

CharMorph-Vitruvian has a body `morphs/L1/Default.npy` in metres, z up, the face along -y, its quads
`faces.npy`, and hairstyles: `cnt` has the number of points of each strand, `data` all of their points.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from facelift.errors import UserError
from facelift.synth.assets import Assets
from facelift.synth.hairstyles import Hairstyles
from facelift.synth.meshes import triangles
from facelift.synth.registration import Array, Indices, register, similarity
from facelift.synth.scene import Floats
from facelift.synth.transfer import Head

WHERE = "give a git clone of github.com/Upliner/CharMorph-Vitruvian"

BODY, FACES, STYLES = "morphs/L1/Default.npy", "faces.npy", "hairstyles"

STRANDS, POINTS = 700, 18
"""Most strands that are kept of a style, and the points of each."""

TORSO = 3.0
"""Decimetres below the crown that count as head and neck."""

FOLLOWED, BLUR = 16, 0.25
"""Vertices that a point of hair follows, and the distance that blurs which of them, decimetres."""


def make_hairstyles(folder: str | Path, assets: Assets) -> Hairstyles:
    """The hairstyles of a clone of CharMorph-Vitruvian, without its eyebrows.

    Raises:
        UserError: for files that are missing or are no such arrays.
    """
    folder = Path(folder).expanduser()
    styles = folder / STYLES if (folder / STYLES).is_dir() else folder
    body = folder / BODY if (folder / BODY).is_file() else folder / Path(BODY).name
    paths = sorted(path for path in styles.glob("*.npz") if "eyebrow" not in path.stem.lower())
    if not paths or not body.is_file() or not (folder / FACES).is_file():
        raise UserError(f"{folder} lacks Vitruvian's body, faces or hairstyles: {WHERE}.")
    try:
        vertices = _axes(np.load(body, allow_pickle=False))
        faces = np.load(folder / FACES, allow_pickle=False).astype(np.int64)
        strands = {path.stem: _strands(path) for path in paths}
        carry = _registered(vertices, faces, Head.of(assets), assets)
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder} holds no hair of Vitruvian's: {WHERE}.") from error
    return {name: carry(points) for name, points in strands.items()}


def _axes(points: Array) -> Array:
    """Metres, z up, the face along -y, become decimetres, y up, the face along z."""
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError("not points")
    return 10 * np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1).astype(np.float64)


def _strands(path: Path) -> Array:
    """(N, POINTS, 3) of some of a style's strands, evenly along each."""
    with np.load(path, allow_pickle=False) as arrays:
        counts, points = arrays["cnt"].astype(np.int64), _axes(arrays["data"])
    if counts.sum() != len(points) or counts.min() < 2:
        raise ValueError("not strands")
    first = np.cumsum(counts) - counts
    rng = np.random.Generator(np.random.PCG64(5))
    chosen = rng.permutation(len(counts))[:STRANDS]
    out = []
    for start, count in zip(first[chosen], counts[chosen], strict=True):
        strand = points[start : start + count]
        along = np.append(0, np.cumsum(np.linalg.norm(np.diff(strand, axis=0), axis=1)))
        even = np.linspace(0, along[-1], POINTS)
        out.append(np.stack([np.interp(even, along, strand[:, k]) for k in range(3)], axis=1))
    return np.stack(out)


def _extremes(vertices: Array) -> Indices:
    """Rows of what sticks out of a head: crown, nose, back of the head, and the two ears."""
    crown = int(vertices[:, 1].argmax())
    upper = np.flatnonzero(vertices[:, 1] > vertices[crown, 1] - 1.9)
    x, _, z = vertices[upper].T
    rows = [crown, *(int(upper[k]) for k in (z.argmax(), z.argmin(), x.argmax(), x.argmin()))]
    return np.array(rows)


def _registered(vertices: Array, faces: Indices, head: Head, assets: Assets) -> Callable[[Array], Floats]:
    """A function that takes points around Vitruvian's head to the base mesh."""
    used, corners = np.unique(triangles(faces.astype(np.int32)), return_inverse=True)
    vertices, corners = vertices[used], corners.reshape(-1, 3)
    near = vertices[:, 1] > vertices[:, 1].max() - TORSO
    corners = corners[near[corners].all(axis=1)]
    rows, theirs = _extremes(head.vertices), _extremes(vertices)
    scale, rotation, shift = similarity(vertices[theirs], head.vertices[rows])

    def aligned(points: Array) -> Array:
        return np.asarray(scale * points @ rotation.T + shift)

    target = aligned(vertices)
    pairs = rows[:3], target[theirs[:3]]
    bent = register(head.vertices, head.corners, target, corners, pairs, head.inside)
    moved = assets.base.vertices[head.members] - bent
    tree = cKDTree(bent)

    def carry(points: Array) -> Floats:
        placed = aligned(points)
        apart, near = tree.query(placed.reshape(-1, 3), k=FOLLOWED)
        weight = 1 / (apart + BLUR) ** 2
        weight /= weight.sum(axis=1, keepdims=True)
        offsets = (weight[..., None] * moved[near]).sum(axis=1).reshape(placed.shape)
        return (placed + offsets).astype(np.float32)

    return carry

"""Where the parts of a face are: masks on the base mesh, for what is painted on the skin or grows from it.

All are functions of a point's place on MakeHuman's unchanged base mesh (decimetres, y up, the face along
+z), so that one mask fits every person: a texel and a vertex keep their place however the face is shaped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelift.synth.assets import Assets
from facelift.synth.scene import Floats, Ints

# The head's share of the skin's texture: columns and rows, top left to bottom right.
HEAD_LEFT, HEAD_RIGHT, HEAD_TOP, HEAD_BOTTOM = 0.62, 1.0, 0.18, 0.85

Field = NDArray[Any]
Region = Callable[[Floats], Field]


def texel_positions(assets: Assets, size: int) -> Floats:
    """(h, w, 3) places on the base mesh of the head's texels in a skin of this size; NaN between them."""
    return assets.cached(("texel positions", size), lambda: _rasterize(assets, size))


def crop(size: int) -> tuple[slice, slice]:
    """Rows and columns of the head in a skin texture of this size."""
    return slice(round(HEAD_TOP * size), round(HEAD_BOTTOM * size)), slice(
        round(HEAD_LEFT * size), round(HEAD_RIGHT * size)
    )


def on_texels(assets: Assets, size: int, region: Region) -> Floats:
    """(h, w) what a region says of every texel of the head, 0 between them."""

    def make() -> Floats:
        places = texel_positions(assets, size)
        known = ~np.isnan(places[..., 0])
        mask = np.zeros(places.shape[:2], np.float32)
        mask[known] = region(places[known])
        return mask

    return assets.cached(("mask", region.__name__, size), make)


def extent(assets: Assets, size: int, region: Region) -> tuple[slice, slice]:
    """Rows and columns of the head's texels beyond which a region is nothing."""

    def look() -> tuple[slice, slice]:
        inside = on_texels(assets, size, region) > 1e-3
        rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    return assets.cached(("extent", region.__name__, size), look)


def _rasterize(assets: Assets, size: int) -> Floats:
    mesh = assets.base
    rows, columns = crop(size)
    out = np.full((size, size, 3), np.nan, np.float32)
    for face in mesh.groups["body"]:
        place, uv = mesh.vertices[mesh.faces[face]], mesh.uvs[mesh.face_uvs[face]]
        if uv[:, 0].min() < HEAD_LEFT or place[:, 1].min() < 5.0:
            continue
        xy = uv * [size, -size] + [0, size] - 0.5
        for corners in ((0, 1, 2), (0, 2, 3)):
            _fill(out, xy[list(corners)], place[list(corners)])
    return out[rows, columns]


def _fill(out: Floats, xy: Floats, values: Floats) -> None:
    """Interpolate values (3, C) over a triangle (3, 2) of pixels, a little beyond its edges."""
    low = np.floor(xy.min(axis=0)).astype(int)
    high = np.ceil(xy.max(axis=0)).astype(int) + 1
    x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    edges = np.array([xy[1] - xy[0], xy[2] - xy[0]]).T
    if abs(np.linalg.det(edges)) < 1e-6:
        return
    b, c = np.linalg.solve(edges, np.stack([x.ravel() - xy[0, 0], y.ravel() - xy[0, 1]]))
    weights = np.stack([1 - b - c, b, c], axis=1)
    inside = (weights > -0.6 / np.ptp(xy, axis=0).max().clip(1)).all(axis=1)
    out[y.ravel()[inside].clip(0, len(out) - 1), x.ravel()[inside].clip(0, len(out) - 1)] = (
        weights[inside] @ values
    )


def step(low: float, high: float, x: Field) -> Field:
    """0 below `low`, 1 above `high`, smooth between; the other way round where `low` is the larger."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def lips(p: Floats) -> Field:
    """The red of the lips."""
    x, y = np.abs(p[:, 0]), p[:, 1]
    open_ = (1 - (x / 0.27) ** 2).clip(0)
    upper, lower = 6.645 + 0.12 * open_**0.8, 6.645 - 0.15 * open_**0.8
    inside = step(-0.02, 0.015, upper - y) * step(-0.02, 0.015, y - lower)
    return inside * (p[:, 2] > 1.2) * step(0.0, 0.1, open_)


def lids(p: Floats) -> Field:
    """The upper lids, up to the fold."""
    x, y = np.abs(p[:, 0]) - 0.32, p[:, 1] - 7.33
    return np.exp(-((x / 0.14) ** 2) - (y / 0.07) ** 2) * (p[:, 2] > 1.0)


def cheeks(p: Floats) -> Field:
    """The apples of the cheeks."""
    x, y = np.abs(p[:, 0]) - 0.46, p[:, 1] - 6.98
    return np.exp(-((x / 0.2) ** 2) - (y / 0.16) ** 2) * (p[:, 2] > 0.6)


def nose(p: Floats) -> Field:
    """The tip and wings of the nose."""
    return np.exp(-((p[:, 0] / 0.16) ** 2) - ((p[:, 1] - 6.95) / 0.14) ** 2) * step(1.4, 1.5, p[:, 2])


def freckled(p: Floats) -> Field:
    """Where the sun falls: nose, cheeks, a little of the forehead."""
    x, y = np.abs(p[:, 0]), p[:, 1]
    band = np.exp(-(((y - 7.03) / 0.2) ** 2) - (x / 0.6) ** 4)
    return np.maximum(band, 0.3 * np.exp(-(((y - 7.7) / 0.25) ** 2))) * (p[:, 2] > 0.5) * (1 - lips(p))


def face(p: Floats) -> Field:
    """All of the front but the lips."""
    return step(0.4, 0.9, p[:, 2]) * (1 - lips(p)) * step(6.0, 6.2, p[:, 1])


def scalp(p: Floats) -> Field:
    """Where hair grows on the head."""
    front = 7.98 - 0.25 * (np.abs(p[:, 0]) / 0.7) ** 2
    side = np.interp(p[:, 2], [-0.3, 0.1, 0.35, 0.6, 0.9], [6.65, 6.75, 7.3, 7.5, 7.9])
    high = np.minimum(side, front)
    return step(-0.12, 0.14, p[:, 1] - high)


def ear(p: Floats) -> Field:
    """The ears."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    return step(0.73, 0.77, x) * step(7.62, 7.54, y) * (z > -0.15) * (z < 0.47)


def beard(p: Floats) -> Field:
    """All of a full beard: moustache, cheeks below a line from the sideburns, chin, jaw and throat."""
    return np.maximum(moustache(p), _jaw(p)) * (1 - lips(p))


def moustache(p: Floats) -> Field:
    """A moustache."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    top = 6.86 - 0.22 * (x / 0.33) ** 2
    band = step(0, 0.04, top - y) * step(-0.02, 0.03, y - 6.62) * step(0.36, 0.3, x) * (z > 1.2)
    return band * (0.75 + 0.25 * step(0.0, 0.05, x)) * (1 - lips(p))


def goatee(p: Floats) -> Field:
    """Chin and moustache, joined round the mouth."""
    x, y = np.abs(p[:, 0]), p[:, 1]
    chin = step(0.36, 0.28, x) * step(6.66, 6.56, y) * (p[:, 2] > 1.0)
    return np.maximum(moustache(p), chin * _jaw(p)) * (1 - lips(p))


def chin_strap(p: Floats) -> Field:
    """A narrow beard along the edge of the jaw."""
    x, y = np.abs(p[:, 0]), p[:, 1]
    top = 6.42 + 0.75 * (((x - 0.15) / 0.62).clip(0, 1)) ** 1.6
    return _jaw(p) * step(0, 0.05, top - y)


def _jaw(p: Floats) -> Field:
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    top = 6.6 + 0.62 * (((x - 0.25) / 0.5).clip(0, 1)) ** 1.5
    # Below the jaw it ends farther ahead: the neck stays bare.
    cheek = step(-0.06, 0.16, top - y) * step(0.28, 0.5, z - 0.25 * step(6.75, 6.45, y))
    throat = step(6.0, 6.2, y + 0.35 * (z - 1.3).clip(-1, 0.2))
    sideburn = step(0.3, 0.38, z) * step(0.62, 0.5, z) * step(7.45, 7.3, y) * step(0.6, 0.66, x)
    # The corner below the lower lip, at either side of the tuft, stays nearly bare.
    bare = np.exp(-(((x - 0.14) / 0.07) ** 2) - ((y - 6.46) / 0.05) ** 2)
    ear = step(0.7, 0.76, x) * step(0.62, 0.52, z) * step(6.78, 6.86, y)
    return np.maximum(cheek * throat, sideburn) * (1 - 0.7 * bare) * (1 - ear)


def inside(p: Floats) -> NDArray[np.bool_]:
    """Whether a point lies where no skin is seen: in the mouth, in an eye's socket, in a nostril."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    lips = np.interp(x, [0, 0.1, 0.2, 0.3, 0.4], [1.505, 1.485, 1.42, 1.26, 1.0])
    mouth = (x < 0.4) & (y > 6.35) & (y < 6.98) & (z < lips)
    eye = ((x - 0.308) ** 2 + (y - 7.284) ** 2 + (z - 1.245) ** 2 < 0.172**2) & (z < 1.305)
    nostril = (x > 0.06) & (x < 0.135) & (y > 6.83) & (y < 6.878) & (z > 1.512) & (z < 1.6)
    return np.asarray(mouth | eye | nostril)


BEARDS: dict[str, Region] = {
    "full": beard,
    "goatee": goatee,
    "moustache": moustache,
    "chin strap": chin_strap,
}


def vertex_mask(assets: Assets, region: Region) -> Floats:
    """(19158,) what a region says of every vertex of the base mesh."""
    return assets.cached(
        ("vertex mask", region.__name__), lambda: region(assets.base.vertices).astype(np.float32)
    )


def mirrored_vertices(assets: Assets) -> Ints:
    """(19158,) the vertex opposite each one of the base mesh, itself where there is none."""

    def make() -> Ints:
        places = np.round(assets.base.vertices * 1000).astype(int)
        index = {tuple(place): i for i, place in enumerate(places.tolist())}
        opposite = [index.get((-x, y, z), i) for i, (x, y, z) in enumerate(places.tolist())]
        return np.array(opposite, np.int32)

    return assets.cached("mirrored vertices", make)

"""Hair as it is worn: the fringe lifted off the eyes, shorter or longer, parted on either side; and beards.

Hair is combed on MakeHuman's unchanged base mesh, once for each mesh and style, and the movement is then
carried over to the person's own head.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.makehuman import Proxy
from facelift.synth.meshes import Template, smooth_normals
from facelift.synth.scene import Floats, Pixels
from facelift.synth.values import Triple

# Vertices of the base mesh that hardly move with an expression: temples, nape side of the skull, brow,
# crown, bridge of the nose.
STABLE_VERTICES = (5399, 11998, 962, 5320, 882, 133, 5243)

# Hair in front of the face: its half width, fading out, and the depth from which it counts.
FACE_WIDTH, FACE_DEPTH = (0.5, 0.72), (0.85, 1.05)
# Lifted hair keeps this share of its height below the fringe.
FRINGE_KEPT = 0.07
# Below this height hair hangs, and can be longer or shorter.
HANGING_BELOW = 6.9
# The middle of the skull, and the thickest that hair on it is taken to be.
SKULL_CENTRE, MAX_THICKNESS = np.array([0, 7.5, 0.4], np.float32), 0.25
# Depth of the nape's skin.
NAPE_DEPTH = -0.45

BEARD_SHELLS = 6
"""Textured shells that make up a beard, from the skin outwards."""

BEARD_STRAND = 8
"""Texels of the skin that a hair of a beard is long, seen from ahead."""


def to_base(body: Floats, assets: Assets) -> Floats:
    """(4, 3) affine map A that takes the base mesh's head to the body's: [x 1] @ A."""
    places = assets.base.vertices[list(STABLE_VERTICES)]
    known = np.concatenate([places, np.ones((len(places), 1), np.float32)], axis=1)
    return np.linalg.lstsq(known, body[list(STABLE_VERTICES)], rcond=None)[0].astype(np.float32)


def comb(
    assets: Assets, name: str, fringe: float, length: float, volume: float, flipped: bool
) -> tuple[Floats, Floats]:
    """How far combing moves each vertex of a hair proxy on the base mesh, with the head and straight up.

    Args:
        assets: with the proxy.
        name: of the proxy.
        fringe: height (dm on the base mesh) that hair before the face is lifted to; eyes are at 7.28.
        length: factor on what hangs below the ears.
        volume: factor on how far hair stands off the skull.
        flipped: whether the proxy is mirrored.

    Returns:
        lifted: (V, 3), which turns with the head.
        cut: (V, 3), which does not, for hair hangs down however the head is turned.
    """

    def fit() -> tuple[Floats, Floats, Floats]:
        proxy = worn_proxy(assets, name, flipped)
        placed = proxy.fit(assets.base.vertices)
        return placed, _forehead(assets, placed), _thickness(assets, placed)

    placed, forehead, thickness = assets.cached(("combed", name, flipped), fit)
    cut = np.zeros_like(placed)
    cut[:, 1] = (1 - length) * np.maximum(HANGING_BELOW - placed[:, 1], 0)
    # Shorter hair does not reach over the back, but lies on the neck.
    behind = np.maximum(NAPE_DEPTH - placed[:, 2], 0)
    cut[:, 2] = np.minimum(0.18 * cut[:, 1].clip(0), behind)
    moved = placed + cut + (volume - 1) * thickness
    before = 1 - _ramp(np.abs(placed[:, 0]), *FACE_WIDTH)
    before *= _ramp(placed[:, 2], *FACE_DEPTH)
    low = np.minimum(moved[:, 1] - fringe, 0)
    moved[:, 1] -= (1 - FRINGE_KEPT) * before * low
    ahead = np.maximum(forehead + 0.05 - moved[:, 2], 0)
    moved[:, 2] += ahead * before * (low < 0)
    return moved - placed - cut, cut


def _thickness(assets: Assets, places: Floats) -> Floats:
    """(V, 3) by how much hair at these places (V, 3) stands off the skull; nothing where it hangs below."""
    skin = assets.base.vertices[assets.base.members("body")]
    skin = skin[skin[:, 1] > HANGING_BELOW]
    apart = np.array([np.linalg.norm(skin - place, axis=1).min() for place in places], np.float32)
    away = places - SKULL_CENTRE
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    away[:, 2] *= 1 - 0.8 * _ramp(places[:, 2], *FACE_DEPTH)  # a fringe is no visor
    return (
        away
        * (np.minimum(apart, MAX_THICKNESS) * _ramp(places[:, 1], HANGING_BELOW, HANGING_BELOW + 0.4))[
            :, None
        ]
    )


def _forehead(assets: Assets, places: Floats) -> Floats:
    """(V,) depth of the base mesh's forehead at each place's x."""
    skin = assets.base.vertices[assets.base.members("body")]
    skin = skin[(skin[:, 1] > 7.4) & (skin[:, 1] < 7.65) & (skin[:, 2] > 0.5)]
    order = np.argsort(np.abs(skin[:, 0]))
    return np.interp(np.abs(places[:, 0]), np.abs(skin[order, 0]), skin[order, 2]).astype(np.float32)


def _ramp(x: Floats, low: float, high: float) -> Floats:
    return ((x - low) / (high - low)).clip(0, 1)


def worn_proxy(assets: Assets, name: str, flipped: bool) -> Proxy:
    """A proxy's fit as it is, or mirrored left to right; `meshes.proxy_template` turns its faces."""
    proxy = assets.proxy(name)
    if not flipped:
        return proxy

    def mirror() -> Proxy:
        offsets = proxy.offsets * np.array([-1, 1, 1], np.float32)
        anchors = regions.mirrored_vertices(assets)[proxy.anchors]
        return replace(proxy, anchors=anchors, offsets=offsets)

    return assets.cached(("mirrored", name), mirror)


def beard_template(assets: Assets, style: str) -> tuple[Template, Floats]:
    """The skin under a beard, BEARD_SHELLS times, with the share (S,) of its full length at each vertex.

    Its texture coordinates run over an atlas of 3 x 2 tiles, one for each layer, in each the head's share
    of the skin's texture.
    """

    def make() -> tuple[Template, Floats]:
        mesh, mask = assets.base, regions.vertex_mask(assets, regions.BEARDS[style])
        body = mesh.groups["body"]
        quads = body[
            (mask[mesh.faces[body]].max(axis=1) > 0.02)
            & (mesh.uvs[mesh.face_uvs[body], 0].min(1) > regions.HEAD_LEFT)
        ]
        corners, corner_uvs = mesh.faces[quads], mesh.face_uvs[quads]
        corners, corner_uvs = (
            np.concatenate([c[:, [0, 1, 2]], c[:, [0, 2, 3]]]) for c in (corners, corner_uvs)
        )
        pairs = corners.astype(np.int64) * len(mesh.uvs) + corner_uvs
        unique, inverse = np.unique(pairs, return_inverse=True)
        source, uv = (unique // len(mesh.uvs)).astype(np.int32), mesh.uvs[unique % len(mesh.uvs)]
        tile = (uv - [regions.HEAD_LEFT, 1 - regions.HEAD_BOTTOM]) / [
            regions.HEAD_RIGHT - regions.HEAD_LEFT,
            regions.HEAD_BOTTOM - regions.HEAD_TOP,
        ]
        faces = inverse.reshape(-1, 3).astype(np.int32)
        uvs = np.concatenate([(tile + np.array([k % 3, 1 - k // 3])) / [3, 2] for k in range(BEARD_SHELLS)])
        template = Template(
            np.tile(source, BEARD_SHELLS),
            uvs.astype(np.float32),
            np.concatenate([faces + k * len(source) for k in range(BEARD_SHELLS)]),
            corners,
        )
        # Whiskers and moustache are shorter than the beard of the chin.
        x, y = np.abs(mesh.vertices[:, 0]), mesh.vertices[:, 1]
        reach = mask * (1 - 0.8 * _ramp(x, 0.3, 0.65)) * (1 - 0.6 * _ramp(y, 6.5, 6.65))
        return template, np.tile(reach[source], BEARD_SHELLS)

    return assets.cached(("beard", style), make)


def grow_beard(body: Floats, assets: Assets, style: str, length: float) -> tuple[Floats, Floats, Template]:
    """Vertices and normals (S, 3) of a beard's shells; lengths in decimetres, the tips hang down."""
    template, share = beard_template(assets, style)
    normals = smooth_normals(body, template.corners)[template.source]
    layer = np.repeat((np.arange(BEARD_SHELLS) + 0.7) / BEARD_SHELLS, len(share) // BEARD_SHELLS)[:, None]
    reach = length * layer * np.sqrt(share)[:, None]
    down = np.array([0, -1, 0], np.float32)
    vertices = body[template.source] + reach * (normals + 0.8 * layer * down)
    return vertices.astype(np.float32), normals, template


def beard_texture(assets: Assets, style: str, color: Triple, density: float, seed: int) -> Pixels:
    """The atlas of a beard's shells: the farther from the skin, the fewer hairs reach there."""
    size = 1024
    mask = regions.on_texels(assets, size, regions.BEARDS[style])
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    grain, shade = _strands(rng, *mask.shape), 0.75 + 0.5 * _strands(rng, *mask.shape)
    tiles = []
    for layer in range(BEARD_SHELLS):
        depth = (layer + 0.5) / BEARD_SHELLS
        # Near the skin a dense beard covers all of it; of its tips one in eight is seen.
        alive = density * mask * (1.3 - 1.15 * depth)
        alpha = ((alive - grain) * 4 + 0.5).clip(0, 1)
        tone = shade * (0.65 + 0.45 * depth)
        rgb = (255 * np.array(color) * tone[..., None]).clip(0, 255)
        tiles.append(np.concatenate([rgb, 255 * alpha[..., None]], axis=2).astype(np.uint8))
    return np.concatenate([np.concatenate(tiles[:3], axis=1), np.concatenate(tiles[3:], axis=1)], axis=0)


def _strands(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """(rows, columns) noise, about even over 0 to 1, in strands a texel wide.

    They run along the rows, for in a skin's texture a face lies on its side.
    """
    coarse = Image.fromarray(rng.random((rows, columns // BEARD_STRAND + 1), np.float32))
    grown = coarse.resize((columns, rows), Image.Resampling.BICUBIC, box=(0, 0, columns / BEARD_STRAND, rows))
    return _ranked(np.asarray(grown))


def _ranked(values: Floats) -> Floats:
    """The values stretched to be about even over 0 to 1."""
    low, high = np.percentile(values[::4, ::4], [1, 99])
    t = ((values - low) / (high - low)).clip(0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)

"""A person becomes a scene: shape the base mesh, pose it, hang the proxies on it, frame it, paint it.

Lengths are MakeHuman's (decimetres, y up, the face along +z) until the very end, the world's from there on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facelift.synth import coverings, glasses, groom, hats, long_hair, meshes, paint, regions, strands
from facelift.synth.assets import Assets
from facelift.synth.eyelids import fit_lids
from facelift.synth.framing import face_size, frame
from facelift.synth.haircuts import pressed
from facelift.synth.mouth import drop_tongue, jaw, set_teeth
from facelift.synth.person import Person
from facelift.synth.pose import joint, lower_arms, turn_eyes, turn_head
from facelift.synth.scene import Floats, Ints, Light, Part, Pixels, Scene
from facelift.synth.surface import Surface
from facelift.synth.values import Triple

EYES_PROXY = "eyes/high-poly/high-poly.mhclo"
TONGUE_PROXY = "tongue/tongue01/tongue01.mhclo"

# Roughness and specular of each part; the skin's specular is the person's own.
MATERIALS = {
    "skin": (0.55, 0.2),
    "eyes": (0.08, 0.6),
    "brows": (0.7, 0.05),
    "lashes": (0.7, 0.05),
    "teeth": (0.6, 0.15),
    "tongue": (0.6, 0.2),
    "clothes": (0.9, 0.03),
    "hair": (0.6, 0.12),
    "beard": (0.7, 0.05),
    "hat": (0.9, 0.03),
}
CORNEA = (0.05, 0.35)  # of recipe 2: black pupils, and a window's light on them
# How far skin is moved inwards under clothes and hair, so that it does not show through, decimetres.
INSET_UNDER_CLOTHES, INSET_UNDER_HAIR = 0.1, 0.06

ALPHA_CARDS = ("brows", "lashes", "hair", "beard")

# Heads are cut to a bust, world units: no canonical view sees more, so no reconstruction can know it.
BUST_MIN_Z, BUST_MAX_X, BUST_MAX_Y = -1.4, 1.3, 0.9


def build_scene(person: Person, assets: Assets) -> Scene:
    """The person's meshes in world units (z up, the face along -y), framed as FaceLift frames portraits.

    Raises:
        UserError: if an asset that the person uses is not there, or cannot be read.
    """
    body = shape(person, assets)
    size = face_size(body, assets)
    body = turn_head(lower_arms(body, assets, person.arms), assets, person.turn)
    body = turn_eyes(body, assets, person.gaze)
    scale, origin = frame(body, size, assets)
    look = {"skin": (person.skin_roughness, person.skin_specular)}
    if person.recipe > 1:
        look["eyes"] = CORNEA
    if person.glasses is not None:
        look["glasses"] = (person.glasses.gloss, 0.6)

    def part(name: str, vertices: Floats, template: meshes.Template, texture: Pixels) -> Part:
        normals = meshes.smooth_normals(vertices, template.corners)
        if name == "hair":
            normals = meshes.fluffed(vertices, normals, joint(body, assets, "head"))
        source = template.source
        return drawn(name, vertices[source], normals[source], template.uvs, template.faces, texture)

    def drawn(
        name: str, vertices: Floats, normals: Floats, uvs: Floats, faces: Ints, texture: Pixels
    ) -> Part:
        roughness, specular = look.get(name) or MATERIALS[name]
        placed = _to_world((vertices - origin) * scale)
        return Part(
            name, placed, _to_world(normals), uvs, faces, texture, name in ALPHA_CARDS, roughness, specular
        )

    def worn(name: str, proxy: str, texture: Pixels) -> Part:
        return part(name, assets.proxy(proxy).fit(body), meshes.proxy_template(assets, proxy), texture)

    def below(plane: Floats, part: Part) -> Part:
        """What of a part is on the positive side of a plane that is given in the body's units and axes."""
        offset = scale * (plane[:3] @ origin + plane[3])
        return meshes.clip(part, np.array([*_to_world(plane[None, :3])[0], offset], np.float32))

    def solid(name: str, vertices: Floats, faces: Ints, color: Triple) -> Part:
        normals = meshes.smooth_normals(vertices, faces)
        return drawn(
            name, vertices, normals, np.zeros((len(vertices), 2), np.float32), faces, paint.flat(color)
        )

    skin = meshes.skin_template(assets, person.clothes)
    depth = np.zeros(len(body), np.float32)
    depth[assets.proxy(person.clothes).hidden] = INSET_UNDER_CLOTHES
    if person.hair is not None:
        depth += INSET_UNDER_HAIR * regions.vertex_mask(assets, regions.scalp) ** 2
    eyes = paint.eyes(person, assets)
    parts = [
        part("skin", meshes.tucked(body, skin.corners, depth), skin, paint.skin(person, assets)),
        part(
            "eyes", assets.proxy(EYES_PROXY).fit(body), meshes.opaque_template(assets, EYES_PROXY, eyes), eyes
        ),
        worn("brows", person.brows, paint.brows(person, assets)),
        worn("lashes", person.lashes, paint.lashes(person, assets)),
        worn("teeth", person.teeth, paint.teeth(person, assets)),
        worn("tongue", TONGUE_PROXY, paint.plain(assets, assets.proxy(TONGUE_PROXY).material, 256)),
        worn("clothes", person.clothes, paint.clothes(person, assets)),
    ]
    if person.hair is not None:
        proxy = groom.worn_proxy(assets, person.hair, person.hair_flipped)
        fringe, length = person.hair_fringe, person.hair_length
        volume = person.hair_volume if person.hat is None else min(person.hair_volume, 1.0)
        lifted, cut = groom.comb(assets, person.hair, fringe, length, volume, person.hair_flipped)
        hair = proxy.fit(body) + cut + lifted @ groom.to_base(body, assets)[:3]
        template = meshes.proxy_template(assets, person.hair, person.hair_flipped)
        grown = part("hair", hair, template, paint.hair(person.hair, person, assets))
        if person.hat is not None:
            grown = below(hats.brim_plane(body, assets, person.hat, hats.HAIR_LINE), grown)
        parts.append(grown)
    layers: list[tuple[strands.Grown, Pixels]] = []
    if person.haircut is not None:
        haircut = person.haircut
        if person.hat is not None or person.covering is not None:
            haircut = pressed(haircut, 0.3 if person.covering is None else 0.06)
        layers += strands.hair(body, assets, haircut, person.hair_color, person.seed)
    if person.hairdo is not None:
        corners = meshes.proxy_template(assets, person.clothes).corners
        around = Surface(body, assets.proxy(person.clothes).fit(body), corners, assets)
        layers += long_hair.hair(body, around, assets, person.hairdo, person.hair_color, person.seed)
    for mesh, texture in layers:
        layer = drawn("hair", mesh.vertices, mesh.normals, mesh.uvs, mesh.faces, texture)
        if person.hat is not None:
            layer = below(hats.brim_plane(body, assets, person.hat, hats.HAIR_LINE), layer)
        parts.append(layer)
    if person.beard is not None and person.beard.length > 0:
        vertices, normals, template = groom.grow_beard(body, assets, person.beard.style, person.beard.length)
        texture = paint.beard(person, assets)
        parts.append(drawn("beard", vertices, normals, template.uvs, template.faces, texture))
    if person.glasses is not None:
        parts.append(solid("glasses", *glasses.frame(body, assets, person.glasses), person.glasses.color))
        if person.glasses.shades is not None:
            parts.append(
                solid("glasses", *glasses.lenses(body, assets, person.glasses), person.glasses.shades)
            )
    if person.hat is not None and person.hat.proxy is not None:
        parts.append(worn("hat", person.hat.proxy, paint.flat(person.hat.color)))
    elif person.hat is not None:
        crown = solid("hat", *hats.crown(body, assets, person.hat), person.hat.color)
        parts.append(below(-hats.brim_plane(body, assets, person.hat), crown))
        if person.hat.kind == "cap":
            parts.append(solid("hat", *hats.visor(body, assets), person.hat.color))
    if person.covering is not None:
        clothes = assets.proxy(person.clothes).fit(body)
        mesh, texture = coverings.cover(body, clothes, assets, person.covering)
        cloth = drawn("hat", mesh.vertices, mesh.normals, mesh.uvs, mesh.faces, texture)
        parts.append(replace(cloth, alpha=True))
    base = _to_world((body - origin) * scale)
    shown = (bust(part) for part in parts)  # a hat may hide all of the hair
    return Scene(tuple(part for part in shown if len(part.faces)), light(person, assets), base)


def light(person: Person, assets: Assets) -> Light:
    """The light of a person: a map's, or what was sampled."""
    hdri = person.hdri
    return person.lighting.light() if hdri is None else hdri.light(assets.hdri(hdri.name))


def bust(part: Part) -> Part:
    """The part within BUST_MIN_Z (z), BUST_MAX_X (x) and BUST_MAX_Y (y) of the origin."""
    planes = np.array(
        [
            [0, 0, 1, -BUST_MIN_Z],
            [1, 0, 0, BUST_MAX_X],
            [-1, 0, 0, BUST_MAX_X],
            [0, 1, 0, BUST_MAX_Y],
            [0, -1, 0, BUST_MAX_Y],
        ],
        np.float32,
    )
    for plane in planes:
        part = meshes.clip(part, plane)
    return meshes.compact(part)


def shape(person: Person, assets: Assets) -> Floats:
    """The base mesh with the person's targets applied: (19158, 3), decimetres.

    Faces are shaped at rest first: their lips move over the teeth, and the teeth do not move with them.
    """
    body = assets.base.vertices.copy()

    def apply(expression: bool) -> None:
        for name, weight in person.targets.items():
            if name.startswith("expression/") == expression:
                target = assets.target(name)
                body[target.indices] += np.float32(weight) * target.offsets

    apply(expression=False)
    if person.modes:
        body[assets.scans.vertices] += assets.scans.shape(person.modes)
    set_teeth(body, assets)
    rest = jaw(body, assets)
    apply(expression=True)
    drop_tongue(body, assets, jaw(body, assets) - rest)
    if person.expression:
        body[assets.scans.vertices] += assets.scans.expression(person.expression)
    if person.recipe > 1:
        fit_lids(body, assets)
    return body


def _to_world(vectors: Floats) -> Floats:
    """MakeHuman's axes (x, y up, z ahead) to the world's (x, -y ahead, z up), (N, 3)."""
    return vectors[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32)

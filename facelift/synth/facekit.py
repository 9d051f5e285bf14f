"""ICT-FaceKit becomes `Scans`: its head and MakeHuman's are registered once, and its offsets are taken over.

ICT-FaceKit (MIT, github.com/ICT-VGL/ICT-FaceKit; Li et al., CVPR 2020) has 100 principal components of scans
and ARKit's expressions as OBJ files of 26,719 vertices: centimetres, y up, facing +z.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelift.errors import UserError
from facelift.synth.assets import Assets
from facelift.synth.landmarks import VERTICES
from facelift.synth.makehuman import Mesh, read_obj
from facelift.synth.meshes import triangles
from facelift.synth.registration import Array, closest, normals, register, similarity
from facelift.synth.scans import STEP, Scans
from facelift.synth.transfer import Head, Transfer

# fmt: off
LANDMARKS = np.array(
    [
        268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509,
        978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
        1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
        5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841,
        5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
    ]
)
# fmt: on
"""FaceKit's vertices of the points 17 to 67 of iBUG 300-W, as its documentation names them."""
CHIN = 966
"""FaceKit's vertex of point 8. The other points of the jaw lie elsewhere on MakeHuman's, before the ears."""

COUNT, SKIN = 26719, 11248
"""How many vertices FaceKit has; the first are the skin of face, head and neck."""

REACH = 0.1
"""Decimetres between MakeHuman's skin, once it is bent, and its place on FaceKit's."""

WHERE = "give a git clone of github.com/ICT-VGL/ICT-FaceKit"


@dataclass(frozen=True)
class FaceKit:
    """FaceKit's head.

    Attributes:
        neutral: (26719, 3) centimetres.
        corners: (T, 3) triangles of the skin: face, head and neck.
        identity: (100, 26719, 3) offsets.
        expressions: offsets (26719, 3) by FaceKit's names.
    """

    neutral: Array
    corners: NDArray[Any]
    identity: Array
    expressions: dict[str, Array]

    @classmethod
    def read(cls, folder: str | Path) -> FaceKit:
        """FaceKit from a clone of its repository, or the folder `FaceXModel` of one.

        Raises:
            UserError: for files that are missing or have another number of vertices.
        """
        folder = Path(folder).expanduser()
        models = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
        neutral = models / "generic_neutral_mesh.obj"
        modes = sorted(models.glob("identity[0-9]*.obj"))
        others = sorted(path for path in models.glob("*.obj") if path != neutral and path not in modes)
        if not neutral.is_file() or not modes:
            raise UserError(f"{folder} lacks ICT-FaceKit's head: {WHERE}.")
        mesh = _whole(read_obj(neutral), neutral)

        def offsets(path: Path) -> Array:
            return _whole(read_obj(path), path).vertices.astype(np.float64) - mesh.vertices

        skin = mesh.faces[(mesh.faces < SKIN).all(axis=1)]
        return cls(
            mesh.vertices.astype(np.float64),
            triangles(skin),
            np.stack([offsets(path) for path in modes]),
            {path.stem: offsets(path) for path in others},
        )


def _whole(mesh: Mesh, path: Path) -> Mesh:
    if len(mesh.vertices) != COUNT:
        raise UserError(f"{path} has {len(mesh.vertices)} vertices, ICT-FaceKit's have {COUNT}: {WHERE}.")
    return mesh


HALVED = ("browInnerUp", "cheekPuff")
"""What ARKit has for both sides in one."""
UNKNOWN = ("PupilDilate", "cheekRaiser")
"""What ARKit has no name for."""
SIDES = {"": "", "L": "Left", "R": "Right"}


def arkit_name(name: str) -> str | None:
    """ARKit's name for one of FaceKit's expressions, mouthSmileLeft for mouthSmile_L; None if it has none."""
    stem, _, side = name.partition("_")
    if stem in UNKNOWN:
        return None
    return stem if stem in HALVED else stem + SIDES.get(side, side)


def make_scans(kit: FaceKit, assets: Assets) -> Scans:
    """FaceKit's offsets on MakeHuman's base mesh.

    Raises:
        UserError: if an asset is not there, or cannot be read.
    """
    head = Head.of(assets)
    scale, rotation, shift = similarity(kit.neutral[LANDMARKS], head.vertices[head.row[VERTICES[17:]]])
    target = scale * kit.neutral @ rotation.T + shift
    rows, places = head.row[np.append(VERTICES[17:], VERTICES[8])], target[np.append(LANDMARKS, CHIN)]
    bent = register(head.vertices, head.corners, target, kit.corners, (rows, places), head.inside)
    _, anchors = closest(bent, normals(bent, head.corners), target, kit.corners, REACH)
    transfer = Transfer(head, anchors, target, kit.corners)
    identity = np.stack([transfer.identity(scale * mode @ rotation.T) for mode in kit.identity])
    expressions: dict[str, Array] = {}
    for name, offsets in kit.expressions.items():
        arkit = arkit_name(name)
        if arkit is not None:
            moved = transfer.expression(scale * offsets @ rotation.T)
            expressions[arkit] = moved + expressions.get(arkit, 0)
    moving = np.flatnonzero(np.abs([*identity, *expressions.values()]).max(axis=(0, 2)) >= STEP)
    return Scans(
        moving.astype(np.int32),
        identity[:, moving].astype(np.float32),
        tuple(expressions),
        np.array([moved[moving] for moved in expressions.values()], np.float32).reshape(-1, len(moving), 3),
    )

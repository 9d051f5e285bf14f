"""PLY as 3D Gaussian Splatting writes it (Kerbl et al. 2023), of what every reader takes: 32-bit floats.

One `vertex` per Gaussian: x y z, f_dc_0-2, f_rest (coefficients above degree 0: red's, green's, then blue's),
opacity (logit), scale_0-2 (natural logarithm), rot_0-3 (wxyz, normalised). A comment names the frame, see
`facelift.formats.frames`.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement

from facelift.choices import PlyLayout
from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path
from facelift.formats.frames import Frame, from_frame, to_frame
from facelift.formats.ply_file import KIND, frame_comment, frame_in, higher_coefficients, open_ply
from facelift.formats.reading import reading
from facelift.gaussians import Gaussians
from facelift.isolation import isolated
from facelift.spherical_harmonics import COEFFICIENTS

_NAMES = {"xyz": ("x", "y", "z"), "normal": ("nx", "ny", "nz"), "rgb": ("red", "green", "blue")}
_LEAST_OPACITY = 2.0**-24  # 1 minus this is the largest float32 below 1, so that no logit is infinite
_LEAST_SCALE = float(np.finfo(np.float32).tiny)  # no logarithm is infinite either


@isolated()
def write_ply(path: PathLike, gaussians: Gaussians, layout: PlyLayout = "standard") -> None:
    """Write N Gaussians.

    Args:
        path: where to.
        gaussians: in our world.
        layout: "standard" is upright in the frame of 3D Gaussian Splatting; 56 bytes a Gaussian of degree 0,
            236 of degree 3. "inria" is the same as its first implementation writes it, with normals and 45
            f_rest, zeros if need be, in 248 bytes, for the few tools that expect these. "facelift" is as
            FaceLift's own code writes: in our world, with colours as bytes and 45 f_rest, in 239 bytes.

    Raises:
        UserError: `path` cannot be written, or these are no Gaussians, see `Gaussians.check`.
    """
    gaussians.check()
    if layout not in get_args(PlyLayout):
        raise UserError(f"There is no PLY layout {layout!r}: choose {', '.join(get_args(PlyLayout))}.")
    frame: Frame = "world" if layout == "facelift" else "RDF"
    turned = to_frame(gaussians, frame)
    opacity = array(turned.opacities).clip(_LEAST_OPACITY, 1.0 - _LEAST_OPACITY)
    quats = array(turned.quats)
    values = {
        "xyz": array(turned.means),
        "rgb": (array(turned.colors).clip(0.0, 1.0) * 255.0).round(),
        "f_dc": array(turned.sh0),
        "opacity": np.log(opacity / (1.0 - opacity))[:, None],
        "scale": np.log(array(turned.scales).clip(_LEAST_SCALE)),
        "rot": quats / np.linalg.norm(quats, axis=-1, keepdims=True),
    }
    grouped = _columns(layout, turned.degree)
    vertices = np.zeros(len(turned), grouped)
    for name in values.keys() & set(grouped.names or ()):
        vertices[name] = values[name]
    if turned.shN is not None:
        count = COEFFICIENTS[turned.degree]
        rest = vertices["f_rest"].reshape(len(turned), 3, -1)
        rest[:, :, :count] = array(turned.shN).swapaxes(1, 2)
        vertices["f_rest"] = rest.reshape(len(turned), -1)
    element = PlyElement.describe(vertices.view(_properties(grouped)), "vertex")
    comments = [] if layout == "facelift" else [frame_comment(frame)]
    with atomic_path(path) as aside, open(aside, "wb") as file:
        PlyData([element], byte_order="<", comments=comments).write(file)


@isolated()
def read_ply(path: PathLike, frame: Frame | None = None) -> Gaussians:
    """Read Gaussians from a 3D Gaussian Splatting PLY, ours or another tool's.

    Properties may stand in any order; those that are not needed (normals, vertex colours) are ignored.

    Args:
        path: of the file.
        frame: of the file; None goes by its comment. Where there is none, a file in FaceLift's layout is in
            our world, and any other in 3D Gaussian Splatting's frame, "RDF".

    Returns:
        In our world, as the file says: NaN is not left out.

    Raises:
        UserError: the file cannot be read, is not a PLY, is cut short, or does not hold Gaussians.
    """
    data = open_ply(path)
    with reading(path, KIND):
        if "vertex" not in data:
            raise UserError(f"{path} holds no vertices; give a PLY file of 3D Gaussians.")
        vertex = data["vertex"].data
        names = vertex.dtype.names or ()
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise UserError(f"{path} has no property {missing[0]}; give a PLY file of 3D Gaussians.")

        def stack(*columns: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([np.asarray(vertex[c], np.float32) for c in columns], axis=-1))

        rest = sum(name.startswith("f_rest_") for name in names)
        gaussians = Gaussians(
            means=stack("x", "y", "z"),
            quats=stack("rot_0", "rot_1", "rot_2", "rot_3"),
            scales=stack("scale_0", "scale_1", "scale_2").double().exp().float(),
            opacities=stack("opacity")[:, 0].double().sigmoid().float(),
            sh0=stack("f_dc_0", "f_dc_1", "f_dc_2"),
            shN=higher_coefficients(path, stack(*(f"f_rest_{i}" for i in range(rest)))) if rest else None,
        )
    return from_frame(gaussians, frame or _frame_of(data))


def array(tensor: torch.Tensor) -> NDArray[np.float64]:
    """In double precision, so that logit and logarithm come back exact to a float32."""
    return tensor.detach().cpu().double().numpy()


def _columns(layout: PlyLayout, degree: int) -> np.dtype:
    """The record of a Gaussian, with fields of several columns, to fill at once."""
    groups = [
        ("xyz", "<f4", 3),
        ("normal", "<f4", 3 if layout == "inria" else 0),
        ("rgb", "u1", 3 if layout == "facelift" else 0),
        ("f_dc", "<f4", 3),
        ("f_rest", "<f4", 3 * COEFFICIENTS[degree if layout == "standard" else 3]),
        ("opacity", "<f4", 1),
        ("scale", "<f4", 3),
        ("rot", "<f4", 4),
    ]
    return np.dtype([(name, kind, (count,)) for name, kind, count in groups if count])


def _properties(grouped: np.dtype) -> np.dtype:
    """The same bytes with one property per column, as in the file."""
    columns = []
    for name in grouped.names or ():
        kind, (count,) = grouped[name].base, grouped[name].shape
        names = ("opacity",) if name == "opacity" else [f"{name}_{i}" for i in range(count)]
        columns += [(column, kind) for column in _NAMES.get(name, names)]
    return np.dtype(columns)


_NEEDED = _properties(_columns("standard", 0)).names or ()


def _frame_of(data: PlyData) -> Frame:
    """The frame of a file that its reader was not told."""
    facelift = _properties(_columns("facelift", 0))
    return frame_in(data) or ("world" if data["vertex"].data.dtype.names == facelift.names else "RDF")

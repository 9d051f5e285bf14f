"""PLY as 3D Gaussian Splatting writes it (Kerbl et al. 2023), with FaceLift's extra vertex colours.

Binary little endian, one `vertex` per Gaussian: x y z, red green blue (bytes), f_dc_0-2, f_rest_0-44 (zeros:
every viewer expects degree 3), opacity (logit), scale_0-2 (natural logarithm), rot_0-3 (wxyz, normalised).
"""

from __future__ import annotations

import numpy as np
import torch
from plyfile import PlyData, PlyElement, PlyParseError

from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path, explain
from facelift.gaussians import Gaussians
from facelift.isolation import isolated

# The same bytes twice: fields of several columns, to fill at once, and the file's one property per column.
_GROUPED = np.dtype(
    [
        ("xyz", "<f4", 3),
        ("rgb", "u1", 3),
        ("f_dc", "<f4", 3),
        ("f_rest", "<f4", 45),
        ("opacity", "<f4"),
        ("scale", "<f4", 3),
        ("rot", "<f4", 4),
    ]
)
_PROPERTIES = np.dtype(
    [(name, "<f4") for name in "xyz"]
    + [(name, "u1") for name in ("red", "green", "blue")]
    + [(f"f_dc_{i}", "<f4") for i in range(3)]
    + [(f"f_rest_{i}", "<f4") for i in range(45)]
    + [("opacity", "<f4")]
    + [(f"scale_{i}", "<f4") for i in range(3)]
    + [(f"rot_{i}", "<f4") for i in range(4)]
)

_LEAST_OPACITY = 2.0**-24  # 1 minus this is the largest float32 below 1, so that no logit is infinite
_LEAST_SCALE = float(np.finfo(np.float32).tiny)  # no logarithm is infinite either


@isolated()
def write_ply(path: PathLike, gaussians: Gaussians) -> None:
    """Write N Gaussians; about 239 bytes each.

    Raises:
        UserError: `path` cannot be written, or these are no Gaussians, see `Gaussians.check`.
    """
    gaussians.check()
    quats = _array(gaussians.quats)
    opacity = _array(gaussians.opacities).clip(_LEAST_OPACITY, 1.0 - _LEAST_OPACITY)
    vertices = np.zeros(len(gaussians), _GROUPED)
    vertices["xyz"] = _array(gaussians.means)
    vertices["rgb"] = (_array(gaussians.colors).clip(0.0, 1.0) * 255.0).round()
    vertices["f_dc"] = _array(gaussians.sh0)
    vertices["opacity"] = np.log(opacity / (1.0 - opacity))
    vertices["scale"] = np.log(_array(gaussians.scales).clip(_LEAST_SCALE))
    vertices["rot"] = quats / np.linalg.norm(quats, axis=-1, keepdims=True)
    data = PlyData([PlyElement.describe(vertices.view(_PROPERTIES), "vertex")], byte_order="<")
    with atomic_path(path) as aside, open(aside, "wb") as file:
        data.write(file)


def read_ply(path: PathLike) -> Gaussians:
    """Read Gaussians from a 3D Gaussian Splatting PLY, ours or another tool's.

    Properties may stand in any order; those that are not needed (normals, vertex colours) are ignored, and
    so are spherical harmonics above degree 0.

    Raises:
        UserError: the file cannot be read, is not a PLY, is cut short, or does not hold Gaussians.
    """
    try:
        data = PlyData.read(str(path))  # memory-mapped: only the columns below are read
        if "vertex" not in data:
            raise UserError(f"{path} holds no vertices; give a PLY file of 3D Gaussians.")
        vertex = data["vertex"].data
        missing = [name for name in _NEEDED if name not in (vertex.dtype.names or ())]
        if missing:
            raise UserError(f"{path} has no property {missing[0]}; give a PLY file of 3D Gaussians.")
        columns = {name: np.asarray(vertex[name], np.float32) for name in _NEEDED}
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else explain(error)
        raise UserError(f"Cannot read {path}: {reason}.") from error
    except (PlyParseError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise UserError(f"{path} is not a complete PLY file; write or download it again.") from error

    def stack(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([columns[name] for name in names], axis=-1))

    return Gaussians(
        means=stack("x", "y", "z"),
        quats=stack("rot_0", "rot_1", "rot_2", "rot_3"),
        scales=stack("scale_0", "scale_1", "scale_2").double().exp().float(),
        opacities=stack("opacity")[:, 0].double().sigmoid().float(),
        sh0=stack("f_dc_0", "f_dc_1", "f_dc_2"),
    )


_NEEDED = [
    name for name in _PROPERTIES.names or () if name not in ("red", "green", "blue") and "rest" not in name
]


def _array(tensor: torch.Tensor) -> np.ndarray:
    """In double precision, so that logit and logarithm come back exact to a float32."""
    return tensor.detach().cpu().double().numpy()

"""The .splat of antimatter15's viewer: 32 bytes a Gaussian and nothing else, no header, no name.

Position and scale are 32-bit floats; colour (of degree 0), opacity and rotation (wxyz) are bytes. The frame
is that of 3D Gaussian Splatting.
"""

from __future__ import annotations

import numpy as np
import torch

from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path
from facelift.formats.frames import Frame, from_frame, to_frame
from facelift.formats.ply import array
from facelift.formats.reading import check_count, damaged, read_whole
from facelift.gaussians import Gaussians
from facelift.isolation import isolated
from facelift.spherical_harmonics import C0

_RECORD = np.dtype([("xyz", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rot", "u1", 4)])


@isolated()
def write_splat(path: PathLike, gaussians: Gaussians) -> None:
    """Write Gaussians of our world, without their coefficients above degree 0.

    What covers most comes first, for viewers draw while they load.

    Raises:
        UserError: `path` cannot be written, or these are no Gaussians, see `Gaussians.check`.
    """
    gaussians.check()
    turned = to_frame(gaussians, "RDF")
    opacities, scales, quats = array(turned.opacities), array(turned.scales), array(turned.quats)
    rgba = np.column_stack([0.5 + C0 * array(turned.sh0), opacities])
    quats = quats / np.linalg.norm(quats, axis=-1, keepdims=True)
    records = np.zeros(len(turned), _RECORD)
    records["xyz"] = array(turned.means)
    records["scale"] = scales
    records["rgba"] = (rgba * 255.0).round().clip(0, 255)
    records["rot"] = (quats * 128.0 + 128.0).round().clip(0, 255)
    order = np.argsort(-opacities * scales.prod(axis=-1), kind="stable")
    with atomic_path(path) as aside:
        aside.write_bytes(records[order].tobytes())


@isolated()
def read_splat(path: PathLike, frame: Frame | None = None) -> Gaussians:
    """Read Gaussians into our world.

    Args:
        path: of the file.
        frame: of the file; None is 3D Gaussian Splatting's, "RDF".

    Raises:
        UserError: the file cannot be read, or its bytes are no Gaussians.
    """
    data = read_whole(path)
    if not data or len(data) % _RECORD.itemsize:
        raise damaged(path, ".splat file")
    check_count(path, len(data) // _RECORD.itemsize)
    records = np.frombuffer(data, _RECORD)
    if not np.isfinite(records["xyz"]).all() or not (records["scale"] >= 0).all():
        raise UserError(f"{path} is no .splat file: its bytes are no positions and sizes.")
    rgba = records["rgba"] / 255.0
    quats = (records["rot"].astype(np.float64) - 128.0) / 128.0
    quats[(records["rot"] == 128).all(axis=-1), 0] = 1.0
    gaussians = Gaussians(
        means=_tensor(records["xyz"]),
        quats=_tensor(quats),
        scales=_tensor(records["scale"]),
        opacities=_tensor(rgba[:, 3]),
        sh0=_tensor((rgba[:, :3] - 0.5) / C0),
    )
    return from_frame(gaussians, frame or "RDF")


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))

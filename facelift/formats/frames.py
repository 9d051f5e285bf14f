"""The frames that files of 3D heads are written in, and the turns from ours to theirs and back.

Each ecosystem has axes of its own. A head that is written in its ecosystem's frame stands upright there and
looks at the viewer; the letters say where x, y and z point, as SPZ's specification does.
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from facelift.choices import Frame
from facelift.errors import UserError
from facelift.gaussians import Gaussians

METRES_PER_UNIT = 0.20
"""Length of a world unit in files whose unit is the metre, as glTF's is.

Measured on 40 synthetic people: FaceLift's framing makes a unit 19.9 cm (18.4 to 22.1), and a head of 22.9 cm
from chin to crown 1.15 units high.
"""

_ROTATIONS: dict[str, list[list[float]]] = {
    "world": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "RDF": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "RUB": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
}


def rotation(frame: Frame) -> Tensor:
    """(3, 3) float32, from our world to `frame`: x_frame = rotation @ x_world.

    Raises:
        UserError: there is no such frame.
    """
    if frame not in _ROTATIONS:
        raise UserError(f"There is no frame {frame!r}: choose {', '.join(get_args(Frame))}.")
    return torch.tensor(_ROTATIONS[frame], dtype=torch.float32, device="cpu")


def to_frame(gaussians: Gaussians, frame: Frame) -> Gaussians:
    """Gaussians of our world, turned into `frame`."""
    return _turned(gaussians, rotation(frame))


def from_frame(gaussians: Gaussians, frame: Frame) -> Gaussians:
    """Gaussians of `frame`, turned into our world."""
    return _turned(gaussians, rotation(frame).mT)


def _turned(gaussians: Gaussians, turn: Tensor) -> Gaussians:
    if turn.equal(torch.eye(3)):
        return gaussians  # to the last bit
    turn = turn.to(gaussians.means)
    return gaussians.transformed(turn, turn.new_zeros(3))

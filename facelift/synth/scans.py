"""How scanned faces differ, as offsets of MakeHuman's base mesh: modes of identity, and ARKit's expressions.

`facelift synth scans` makes the file from a clone of ICT-FaceKit (`facekit.py`). A person of recipe 2 has
MakeHuman's shape plus these offsets; lengths are decimetres, as everywhere on that mesh.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from facelift.errors import UserError
from facelift.formats.files import atomic_path
from facelift.synth.scene import Floats, Ints

FILE = "scans.npz"
"""Its name within a folder of assets, and within a pack."""

STEP = 1e-4
"""Decimetres between two numbers in the file: a hundredth of a millimetre."""

VERSION = 1

HOW = "make it with `facelift synth scans`"


@dataclass(frozen=True)
class Scans:
    """Offsets of the vertices that scans say something of.

    Attributes:
        vertices: (N,) int32 rows of the base mesh.
        identity: (M, N, 3) float32, one standard deviation of each mode, the strongest first.
        names: (E,) names of the expressions, ARKit's.
        expressions: (E, N, 3) float32, each of them whole.
    """

    vertices: Ints
    identity: Floats
    names: tuple[str, ...]
    expressions: Floats

    def shape(self, weights: tuple[float, ...]) -> Floats:
        """(N, 3) offsets of a face with these weights of the first modes, in standard deviations."""
        return np.tensordot(np.asarray(weights, np.float32), self.identity[: len(weights)], 1)

    def expression(self, weights: dict[str, float]) -> Floats:
        """(N, 3) offsets of a face that shows these expressions; names that are not here move nothing."""
        known = [weights.get(name, 0.0) for name in self.names]
        return np.tensordot(np.asarray(known, np.float32), self.expressions, 1)

    def write(self, path: str | Path) -> None:
        """Write the file. Raises UserError when it cannot be written."""
        with atomic_path(path) as aside, aside.open("wb") as file:
            np.savez_compressed(
                file,
                header=np.array(json.dumps({"version": VERSION, "step": STEP, "names": self.names})),
                vertices=self.vertices,
                identity=_quantised(self.identity),
                expressions=_quantised(self.expressions),
            )


def load_scans(path: Path) -> Scans:
    """The scans in the file of that path. Raises UserError for any other file, and where there is none."""
    try:
        with path.open("rb") as file:
            return read_scans(file, str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {HOW}.") from error


def read_scans(file: IO[bytes], where: str) -> Scans:
    """The scans in a file that `Scans.write` wrote.

    Args:
        file: open for reading.
        where: what an error calls it.

    Raises:
        UserError: for any other file.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            header = json.loads(str(arrays["header"]))
            if header["version"] != VERSION:
                raise UserError(f"{where} is of another version: {HOW} again.")
            step = np.float32(header["step"])
            return Scans(
                arrays["vertices"],
                arrays["identity"] * step,
                tuple(header["names"]),
                arrays["expressions"] * step,
            )
    except (KeyError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{where} holds no scans: {HOW}.") from error


def _quantised(offsets: Floats) -> Any:
    return np.rint(offsets / STEP).clip(-32767, 32767).astype(np.int16)

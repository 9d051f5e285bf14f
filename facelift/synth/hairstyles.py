"""Hairstyles that somebody has groomed, strand by strand, on MakeHuman's base mesh.

`facelift synth hair` makes the file from a clone of CharMorph-Vitruvian (`vitruvian.py`).
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from facelift.errors import UserError
from facelift.formats.files import atomic_path
from facelift.synth.scene import Floats

FILE = "hairstyles.npz"
"""Its name within a folder of assets, and within a pack."""

STEP = 1e-3
"""Decimetres between two numbers in the file: a tenth of a millimetre."""

VERSION = 1

HOW = "make it with `facelift synth hair`"

Hairstyles = dict[str, Floats]
"""Of each style by its name, (N, P, 3) places along its strands on the base mesh, decimetres."""


def write_hairstyles(path: str | Path, styles: Hairstyles) -> None:
    """Write the file. Raises UserError when it cannot be written."""
    arrays = {
        f"style {k}": np.rint(points / STEP).astype(np.int16) for k, points in enumerate(styles.values())
    }
    header = np.array(json.dumps({"version": VERSION, "step": STEP, "names": list(styles)}))
    with atomic_path(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, header=header, **arrays)


def load_hairstyles(path: Path) -> Hairstyles:
    """The styles in the file of that path. Raises UserError for any other file, and where there is none."""
    try:
        with path.open("rb") as file:
            return read_hairstyles(file, str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {HOW}.") from error


def read_hairstyles(file: IO[bytes], where: str) -> Hairstyles:
    """The styles in a file that `write_hairstyles` wrote.

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
            return {name: arrays[f"style {k}"] * step for k, name in enumerate(header["names"])}
    except (KeyError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{where} holds no hairstyles: {HOW}.") from error

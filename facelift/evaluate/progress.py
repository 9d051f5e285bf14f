"""What a measurement has finished, kept on disk until its report is written."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facelift.errors import UserError
from facelift.evaluate.report import Record
from facelift.formats.files import atomic_path, explain
from facelift.formats.png import write_png


class Progress:
    """A folder with one JSON file a record, and the pictures that came with some.

    Args:
        folder: made if need be.
        run: what is being measured; progress of anything else is not mixed with it.

    Raises:
        UserError: the folder holds the progress of another measurement, or cannot be written.
    """

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        self.folder = folder
        text = json.dumps(run, indent=1)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot write {folder}: {explain(error)}.") from error
        if not (folder / "run.json").exists():
            with atomic_path(folder / "run.json") as path:
                path.write_text(text, encoding="utf-8")
        elif (folder / "run.json").read_text(encoding="utf-8") != text:
            raise UserError(
                f"{folder} holds the progress of another measurement: give another --out, or delete it."
            )

    def load(self, sample: str) -> Record | None:
        """The record of a sample that is finished."""
        path = self._path(sample)
        return Record(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def save(self, sample: str, record: Record, picture: Tensor | None = None) -> None:
        """Save a record, and a picture (3, H, W) of it."""
        path = self._path(sample)
        if picture is not None:
            write_png(path.with_suffix(".png"), picture)
        with atomic_path(path) as aside:
            aside.write_text(json.dumps(asdict(record)), encoding="utf-8")

    def picture(self, sample: str) -> Tensor:
        """The picture (3, H, W) that was kept with a sample's record."""
        with Image.open(self._path(sample).with_suffix(".png")) as image:
            return torch.from_numpy(np.array(image)).movedim(-1, 0).float() / 255

    def delete(self) -> None:
        """Delete the folder, once the report is written."""
        shutil.rmtree(self.folder)

    def _path(self, sample: str) -> Path:
        """One file a sample, whatever characters its name has."""
        return self.folder / f"{hashlib.sha256(sample.encode()).hexdigest()[:16]}.json"

"""Cameras in FaceLift's `opencv_cameras.json`: one record a frame, which other programs write easily.

    {"frames": [{"w": 512, "h": 512, "fx": 549.0, "fy": 549.0, "cx": 256.0, "cy": 256.0,
                 "w2c": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2.7], [0, 0, 0, 1]]}, ...]}

`w2c` takes points of the world to the camera's axes, which are OpenCV's; the rest is in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from facelift.cameras import Cameras
from facelift.errors import UserError

_INTRINSICS = ("fx", "fy", "cx", "cy")
_MOST = 1e9  # pixels or units; JSON has integers of any length
_SLACK = 1e-3  # of a rotation's products, for files that round their numbers


def camera_records(cameras: Cameras, names: Sequence[str]) -> list[dict[str, Any]]:
    """The `frames` of the file; each record has the path of its image as well."""
    views = zip(cameras.w2c.tolist(), cameras.intrinsics.tolist(), names, strict=True)
    return [
        {
            "w": cameras.width,
            "h": cameras.height,
            **dict(zip(_INTRINSICS, intrinsics, strict=True)),
            "w2c": w2c,
            "file_path": name,
        }
        for w2c, intrinsics, name in views
    ]


def cameras_of(records: Sequence[dict[str, Any]]) -> Cameras:
    """The cameras of records that are as they should be. Raises ValueError, KeyError or IndexError if not."""
    return Cameras(
        torch.tensor([record["w2c"] for record in records], dtype=torch.float32),
        torch.tensor([[record[name] for name in _INTRINSICS] for record in records], dtype=torch.float32),
        records[0]["w"],
        records[0]["h"],
    )


def read_cameras(path: str | Path) -> Cameras:
    """The cameras of a file that anybody may have written.

    Raises:
        UserError: it cannot be read; or which record is wrong, and in what.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows marks the start
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a file of cameras ({error}).") from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is no JSON ({error}): give cameras as opencv_cameras.json has them."
        ) from None
    records = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(records, list) or not records:
        raise UserError(f'{path} has no cameras: it needs a list "frames" with at least one record.')
    for number, record in enumerate(records):
        fault = _fault(record)
        if fault is None and (record["w"], record["h"]) != (records[0]["w"], records[0]["h"]):
            fault = "has another w or h than frames[0]: all pictures must have one size"
        if fault is not None:
            raise UserError(f"{path}: frames[{number}] {fault}.")
    return cameras_of(records)


def _fault(record: Any) -> str | None:
    """What is wrong with a record; None if nothing is."""
    if not isinstance(record, dict):
        return "is no record of names and values"
    for name in ("w", "h", *_INTRINSICS, "w2c"):
        if name not in record:
            return f"has no {name}"
    for name in ("w", "h"):
        if not isinstance(record[name], int) or not _is_number(record[name]) or record[name] < 1:
            return f"has {name} = {record[name]!r}, which is no number of pixels"
    for name in _INTRINSICS:
        if not _is_number(record[name]) or (name in ("fx", "fy") and record[name] <= 0):
            return f"has {name} = {record[name]!r}, which is no length in pixels"
    w2c = record["w2c"]
    rows = w2c if isinstance(w2c, list) and len(w2c) == 4 else []
    if not rows or not all(
        isinstance(row, list) and len(row) == 4 and all(map(_is_number, row)) for row in rows
    ):
        return "has a w2c that is not 4 rows of 4 numbers"
    matrix = torch.tensor(rows, dtype=torch.float64)
    rotation = matrix[:3, :3]
    rigid = (rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max() < _SLACK
    if not rigid or torch.linalg.det(rotation) < 0 or rows[3] != [0, 0, 0, 1]:
        return "has a w2c that is not a rotation and a translation, with 0 0 0 1 as its last row"
    return None


def _is_number(value: Any) -> bool:
    """Whether it is one, and neither NaN nor beyond all measure."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST

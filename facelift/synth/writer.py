"""A drawn head becomes the files of its folder or of its part of a shard, see `facelift.data.schema`."""

from __future__ import annotations

import io
import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelift.data.camera_file import camera_records
from facelift.data.parts import COLORS, OTHER, PARTS
from facelift.data.schema import (
    CAMERAS_FILE,
    DEPTH_SCALE,
    LANDMARKS_FILE,
    PERSON_FILE,
    SUMS_FILE,
    Contents,
    Files,
    background_name,
    depth_name,
    digest,
    normal_name,
    part_name,
)
from facelift.synth.head import SyntheticHead
from facelift.synth.landmarks import Landmarks


def encode(contents: Contents, name: str, head: SyntheticHead) -> Files:
    """The files of a head that has this name, each with its path in the head's folder."""
    drawing, files = head.drawing, {}
    scale = contents.layout.depth_scale
    steps = np.minimum(np.rint(drawing.depth * scale), 65535).astype(np.uint16)
    names = [contents.layout.image_name(i) for i in range(len(head.cameras))]
    for i, image_name in enumerate(names):
        files[image_name] = _png(Image.fromarray(drawing.rgba[i]))
        files[depth_name(i)] = _png(Image.fromarray(steps[i]))
        if contents.truth == "all":
            files[normal_name(i)] = _png(Image.fromarray(drawing.normals[i]))
            files[part_name(i)] = _png(_segmentation(drawing.parts[i]))
        if head.background is not None:
            files[background_name(i)] = _png(Image.fromarray(head.background[i]))
    frames = camera_records(head.cameras, names)
    if scale != DEPTH_SCALE:
        frames = [{**frame, "depth_scale": scale} for frame in frames]
    files[CAMERAS_FILE] = _json({"id": name, "renderer": contents.drawn_by, "frames": frames})
    if contents.truth == "all" and head.landmarks is not None:
        files[LANDMARKS_FILE] = _json(_landmark_record(head.landmarks))
    files[PERSON_FILE] = head.person.to_json().encode()
    sums = (f"{digest(data)}  {path}\n" for path, data in files.items())
    return {**files, SUMS_FILE: "".join(sums).encode()}


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()


def _segmentation(parts: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(parts)
    palette = np.full((OTHER + 1, 3), 128, np.uint8)
    palette[: len(PARTS)] = [COLORS[name] for name in PARTS]
    image.putpalette(palette.tobytes())
    return image


def _landmark_record(landmarks: Landmarks) -> dict[str, Any]:
    """The landmarks in the world, and in each view as x, y and whether they are visible."""
    views = [
        [[round(x, 2), round(y, 2), int(seen)] for (x, y), seen in zip(points, visible, strict=True)]
        for points, visible in zip(landmarks.pixels.tolist(), landmarks.visible.tolist(), strict=True)
    ]
    return {"world": np.round(landmarks.world.astype(float), 5).tolist(), "views": views}

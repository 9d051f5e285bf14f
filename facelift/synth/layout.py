"""What the files of a synthetic head are called and how they are encoded, in folders and in shards alike.

    canonical rig (FaceLift's "mvdiffusion")    orbit rig (FaceLift's "gslrm")
    cam_000.png ... cam_005.png                 images/cam_000.png ...       RGBA, straight alpha
    opencv_cameras.json                         opencv_cameras.json          FaceLift's own format
    depth/depth_000.png ...                     the same                     16 bits, DEPTH_SCALE steps a unit
    normals/normal_000.png ...                  the same                     RGB is x, y, z of the world
    parts/part_000.png ...                      the same                     a number for each part
    landmarks.json                              the same
    person.json                                 the same
    SHA256SUMS                                  the same                     of all the others

The one view of the overhead rig is laid out as the canonical ones are.

Depth is z-depth, 0 where nothing is. A normal is `rgb / 127.5 - 1`, and black where nothing is. The numbers
in `parts` are indices into `scene.PARTS`; a palette shows them in colour. Landmarks are in the order of
`landmarks.py`. `sha256sum -c SHA256SUMS` tells whether a folder is whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelift.cameras import Cameras, canonical_rig, orbit_rig, overhead
from facelift.choices import RendererName, Truth
from facelift.errors import UserError
from facelift.synth.head import Head
from facelift.synth.landmarks import Landmarks
from facelift.synth.renderers import SAMPLES
from facelift.synth.scene import OTHER, PARTS

DEPTH_SCALE = 10_000
"""Steps of a depth image per world unit."""

CAMERAS_FILE = "opencv_cameras.json"
LANDMARKS_FILE = "landmarks.json"
PERSON_FILE = "person.json"
SUMS_FILE = "SHA256SUMS"

COLORS = {
    "background": (0, 0, 0),
    "skin": (240, 190, 160),
    "eyes": (60, 120, 255),
    "brows": (130, 80, 40),
    "lashes": (60, 40, 30),
    "teeth": (255, 255, 255),
    "tongue": (230, 70, 90),
    "hair": (250, 200, 40),
    "beard": (200, 120, 0),
    "clothes": (40, 160, 110),
    "glasses": (170, 60, 220),
    "hat": (20, 200, 230),
}
"""How a segmentation shows its parts, sRGB; what is none of them is grey."""

Files = dict[str, bytes]


@dataclass(frozen=True)
class Layout:
    """How a head's images are laid out: FaceLift's two ways, and ours for the one from above.

    Attributes:
        name: as it stands in the lists' names.
        images: folder of the images within the head's folder.
        cameras: from views and size in pixels to the rig.
    """

    name: str
    images: str
    cameras: Callable[[int, int], Cameras]

    def image_name(self, view: int) -> str:
        """Where the image of a view lies within the head's folder."""
        return f"{self.images}cam_{view:03d}.png"


LAYOUTS = {
    "canonical": Layout("mvdiff", "", lambda views, size: canonical_rig(size)),
    "orbit": Layout("gslrm", "images/", orbit_rig),
    "overhead": Layout("overhead", "", lambda views, size: overhead(size)),
}


def depth_name(view: int) -> str:
    return f"depth/depth_{view:03d}.png"


def normal_name(view: int) -> str:
    return f"normals/normal_{view:03d}.png"


def part_name(view: int) -> str:
    return f"parts/part_{view:03d}.png"


@dataclass(frozen=True)
class Contents:
    """What each head of a data set holds.

    Attributes:
        rig: "canonical", "orbit" or "overhead".
        views: how many an orbit has.
        size: side of the images in pixels.
        truth: what is written beside the images.
        renderer, samples: what draws the pictures.
    """

    rig: str
    views: int
    size: int
    truth: Truth = "all"
    renderer: RendererName = "opengl"
    samples: int = SAMPLES

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.rig]

    @property
    def cameras(self) -> Cameras:
        return self.layout.cameras(self.views, self.size)

    def encode(self, name: str, head: Head) -> Files:
        """The files of a head that has this name, each with its path in the head's folder."""
        drawing, files = head.drawing, {}
        steps = np.minimum(np.rint(drawing.depth * DEPTH_SCALE), 65535).astype(np.uint16)
        for i in range(len(head.cameras)):
            files[self.layout.image_name(i)] = _png(Image.fromarray(drawing.rgba[i]))
            files[depth_name(i)] = _png(Image.fromarray(steps[i]))
            if self.truth == "all":
                files[normal_name(i)] = _png(Image.fromarray(drawing.normals[i]))
                files[part_name(i)] = _png(_segmentation(drawing.parts[i]))
        files[CAMERAS_FILE] = _json({"id": name, "renderer": self._drawn_by, "frames": self._frames(head)})
        if self.truth == "all" and head.landmarks is not None:
            files[LANDMARKS_FILE] = _json(_landmark_record(head.landmarks))
        files[PERSON_FILE] = head.person.to_json().encode()
        sums = (f"{_digest(data)}  {path}\n" for path, data in files.items())
        return {**files, SUMS_FILE: "".join(sums).encode()}

    def check(self, where: str, read: Callable[[str], bytes]) -> bool:
        """Whether a head is there, to the last bit; `read` gives a file, or raises OSError or KeyError.

        Raises:
            UserError: if it is whole, but another: `where` says which.
        """
        try:
            sums = [line.split("  ", 1) for line in read(SUMS_FILE).decode().splitlines()]
            whole = bool(sums) and all(_digest(read(path)) == digest for digest, path in sums)
            record = json.loads(read(CAMERAS_FILE)) if whole else {}
        except (OSError, KeyError, ValueError):
            return False
        if not whole:
            return False
        # Number, size and place of the images tell the rigs apart; floats may differ between machines.
        expected = [(self.size, self.layout.image_name(i)) for i in range(len(self.cameras))]
        found = [(frame["w"], frame["file_path"]) for frame in record["frames"]]
        if found != expected or record["renderer"] != self._drawn_by:
            raise UserError(f"{where} holds other views than these; give another folder, or delete it.")
        if self.truth == "all" and part_name(0) not in {path for _, path in sums}:
            raise UserError(
                f"{where} has no normals and parts; give --truth depth or another folder, or delete it."
            )
        return True

    @property
    def _drawn_by(self) -> str:
        return self.renderer if self.renderer == "opengl" else f"{self.renderer}, {self.samples} samples"

    def _frames(self, head: Head) -> list[dict[str, Any]]:
        """The frames of FaceLift's `opencv_cameras.json`: world to camera, intrinsics in pixels."""
        cameras = head.cameras
        return [
            {
                "w": cameras.width,
                "h": cameras.height,
                **dict(zip(("fx", "fy", "cx", "cy"), intrinsics, strict=True)),
                "w2c": w2c,
                "file_path": self.layout.image_name(i),
            }
            for i, (w2c, intrinsics) in enumerate(
                zip(cameras.w2c.tolist(), cameras.intrinsics.tolist(), strict=True)
            )
        ]


def flat(path: str) -> str:
    """The name of a head's file without its folders, as it is called in a shard; it is still the only one."""
    return PurePosixPath(path).name


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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

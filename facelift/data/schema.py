"""The schema of a head on disk: what its files are called and what is in them, in folders and shards alike.

    canonical rig (FaceLift's "mvdiffusion")    orbit rig (FaceLift's "gslrm")
    cam_000.png ... cam_005.png                 images/cam_000.png ...       RGBA, straight alpha
    opencv_cameras.json                         opencv_cameras.json          FaceLift's own format
    depth/depth_000.png ...                     the same                     16 bits, DEPTH_SCALE steps a unit
    normals/normal_000.png ...                  the same                     RGB is x, y, z of the world
    parts/part_000.png ...                      the same                     a number for each part
    landmarks.json                              the same
    person.json                                 the same
    SHA256SUMS                                  the same                     of all the others

The one view of the overhead rig is laid out as the canonical ones are, and so is that of a photo, whose
camera is the person's own. A photo has what is behind the person beside it, in background/background_000.png
(RGB), and its depth has PHOTO_DEPTH_SCALE steps a unit, which the record of its camera tells.

Depth is z-depth, 0 where nothing is. A normal is `rgb / 127.5 - 1`, and black where nothing is. The numbers
in `parts` are indices into `facelift.data.parts.PARTS`; a palette shows them in colour. Landmarks are in the
order of `facelift.synth.landmarks`. `sha256sum -c SHA256SUMS` checks whether a folder is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from facelift.cameras import Cameras, canonical_rig, orbit_rig, overhead_rig
from facelift.choices import RendererName, Truth
from facelift.errors import UserError

DEPTH_SCALE = 10_000
"""Steps of a depth image per world unit, where the camera's record has no `depth_scale`."""

PHOTO_DEPTH_SCALE = 2_000
"""The same of photos, which may be taken from 25 units away: 16 bits hold 32."""

CAMERAS_FILE = "opencv_cameras.json"
LANDMARKS_FILE = "landmarks.json"
PERSON_FILE = "person.json"
SUMS_FILE = "SHA256SUMS"

CYCLES_SAMPLES = 16
"""Paths that Cycles traces through a pixel, if not said otherwise."""

Files = dict[str, bytes]


@dataclass(frozen=True)
class Layout:
    """How a head's images are laid out: FaceLift's two ways, and ours for one from above and a photo.

    Attributes:
        name: as it stands in the lists' names.
        images: folder of the images within the head's folder.
        cameras: from views and size in pixels to the rig; None where each person has a camera of their own.
        depth_scale: steps of depth per world unit.
    """

    name: str
    images: str
    cameras: Callable[[int, int], Cameras] | None
    depth_scale: int = DEPTH_SCALE

    def image_name(self, view: int) -> str:
        """Where the image of a view lies within the head's folder."""
        return f"{self.images}cam_{view:03d}.png"


LAYOUTS = {
    "canonical": Layout("mvdiff", "", lambda views, size: canonical_rig(size)),
    "orbit": Layout("gslrm", "images/", orbit_rig),
    "overhead": Layout("overhead", "", lambda views, size: overhead_rig(size)),
    "photo": Layout("photo", "", None, PHOTO_DEPTH_SCALE),
}


def depth_name(view: int) -> str:
    """Where the depth of a view lies within the head's folder."""
    return f"depth/depth_{view:03d}.png"


def normal_name(view: int) -> str:
    """Where the normals of a view lie within the head's folder."""
    return f"normals/normal_{view:03d}.png"


def part_name(view: int) -> str:
    """Where the parts of a view lie within the head's folder."""
    return f"parts/part_{view:03d}.png"


def background_name(view: int) -> str:
    """Where what is behind the person in a photo lies within the head's folder."""
    return f"background/background_{view:03d}.png"


@dataclass(frozen=True)
class Contents:
    """What each head of a data set holds.

    Attributes:
        rig: "canonical", "orbit", "overhead" or "photo".
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
    samples: int = CYCLES_SAMPLES

    @property
    def layout(self) -> Layout:
        """How the images of this rig are laid out."""
        return LAYOUTS[self.rig]

    @property
    def cameras(self) -> Cameras | None:
        """The rig; None for photos, for which each person has a camera of their own."""
        return self.layout.cameras and self.layout.cameras(self.views, self.size)

    @property
    def count(self) -> int:
        """How many views a head has."""
        return len(self.cameras or (0,))

    def check(self, where: str, read: Callable[[str], bytes]) -> bool:
        """Whether a head is there, to the last bit; `read` gives a file, or raises OSError or KeyError.

        Raises:
            UserError: if it is whole, but another: `where` says which.
        """
        try:
            sums = [line.split("  ", 1) for line in read(SUMS_FILE).decode().splitlines()]
            whole = bool(sums) and all(digest(read(path)) == expected for expected, path in sums)
            record = json.loads(read(CAMERAS_FILE)) if whole else {}
        except (OSError, KeyError, ValueError):
            return False
        if not whole:
            return False
        # Number, size and place of the images tell the rigs apart; floats may differ between machines.
        expected = [(self.size, self.layout.image_name(i)) for i in range(self.count)]
        found = [(frame["w"], frame["file_path"]) for frame in record["frames"]]
        if found != expected or record["renderer"] != self.drawn_by:
            raise UserError(f"{where} holds other views than these; give another folder, or delete it.")
        if self.truth == "all" and part_name(0) not in {path for _, path in sums}:
            raise UserError(
                f"{where} has no normals and parts; give --truth depth or another folder, or delete it."
            )
        return True

    @property
    def drawn_by(self) -> str:
        """The renderer and its quality, as the files name it."""
        return self.renderer if self.renderer == "opengl" else f"{self.renderer}, {self.samples} samples"


def flat(path: str) -> str:
    """The name of a head's file without its folders, as it is called in a shard; it is still the only one."""
    return PurePosixPath(path).name


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal, as `sha256sum` prints it."""
    return hashlib.sha256(data).hexdigest()

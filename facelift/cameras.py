"""Pinhole cameras in OpenCV's convention, the canonical six-view rig, orbits, and rays.

World: z up, the face looks along -y, the head is near the origin. Azimuth 0 is in front of the face and
grows towards the subject's right (-x), so the canonical order is front, front_right, right, back, left,
front_left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facelift.errors import UserError

RADIUS = 2.7
FOV_DEGREES = 50.0
VIEW_NAMES = ("front", "front_right", "right", "back", "left", "front_left")
CANONICAL_AZIMUTHS = (0.0, 45.0, 90.0, 180.0, 270.0, 315.0)


@dataclass(frozen=True)
class Cameras:
    """A batch of N pinhole cameras that share an image size.

    Attributes:
        w2c: (N, 4, 4) float32, world to camera; OpenCV axes (x right, y down, z forward).
        intrinsics: (N, 4) float32, fx, fy, cx, cy in pixels; pixel centres are at +0.5.
        width, height: image size in pixels.
    """

    w2c: Tensor
    intrinsics: Tensor
    width: int
    height: int

    def check(self) -> None:
        """Refuse what is not a batch of cameras.

        Raises:
            UserError: a field has another shape, or a number is not finite.
        """
        for name, shape in (("w2c", (4, 4)), ("intrinsics", (4,))):
            field = getattr(self, name)
            if field.shape != (len(self), *shape):
                wanted = ", ".join(map(str, ("N", *shape)))
                raise UserError(f"The {name} of cameras must be ({wanted}), not {tuple(field.shape)}.")
            if not field.isfinite().all():
                raise UserError(f"The {name} of cameras hold NaN or infinity.")
        if self.width < 1 or self.height < 1:
            raise UserError(f"Cameras of {self.width} x {self.height} pixels see nothing: make them larger.")

    def __len__(self) -> int:
        return self.w2c.shape[0]

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> Cameras:
        if isinstance(index, int):
            index = [index]
        return Cameras(self.w2c[index], self.intrinsics[index], self.width, self.height)

    @property
    def c2w(self) -> Tensor:
        """(N, 4, 4) camera to world: the rigid inverse of `w2c`."""
        rotation = self.w2c[:, :3, :3].transpose(1, 2)
        c2w = torch.zeros_like(self.w2c)
        c2w[:, :3, :3] = rotation
        c2w[:, :3, 3:] = -rotation @ self.w2c[:, :3, 3:]
        c2w[:, 3, 3] = 1.0
        return c2w

    @property
    def positions(self) -> Tensor:
        """(N, 3) camera centres in the world."""
        return self.c2w[:, :3, 3]

    @staticmethod
    def concatenate(parts: Sequence[Cameras]) -> Cameras:
        """Cameras of the same image size as one batch."""
        w2c, intrinsics = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("w2c", "intrinsics")
        )
        return Cameras(w2c, intrinsics, parts[0].width, parts[0].height)

    def resized(self, size: int) -> Cameras:
        """The same cameras with an image of `size` pixels across; the field of view stays."""
        factor = size / self.width
        return Cameras(self.w2c, self.intrinsics * factor, size, round(self.height * factor))

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras on a device."""
        return Cameras(self.w2c.to(device), self.intrinsics.to(device), self.width, self.height)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """World points (..., 3) as each camera sees them: pixels (N, ..., 2) and z-depths (N, ...)."""
        in_camera = points.reshape(-1, 3) @ self.w2c[:, :3, :3].mT + self.w2c[:, None, :3, 3]
        focal, center = self.intrinsics[:, None].split(2, dim=-1)
        pixels = in_camera[..., :2] / in_camera[..., 2:] * focal + center
        shape = points.shape[:-1]
        return pixels.unflatten(1, shape), in_camera[..., 2].unflatten(1, shape)

    def rays(self) -> tuple[Tensor, Tensor]:
        """Ray of every pixel centre: origins and unit directions in the world, each (N, H, W, 3)."""
        c2w = self.c2w
        directions = torch.einsum("nij,nhwj->nhwi", c2w[:, :3, :3], self._directions())
        origins = c2w[:, None, None, :3, 3].expand_as(directions)
        return origins, directions

    def depth_along_rays(self) -> Tensor:
        """(N, H, W) z-depth of one unit along the ray of each pixel: 1 in the middle, less aside."""
        return self._directions()[..., 2]

    def _directions(self) -> Tensor:
        """(N, H, W, 3) unit directions of the rays, as each camera sees them."""
        device, dtype = self.w2c.device, self.w2c.dtype
        x = torch.arange(self.width, device=device, dtype=dtype) + 0.5
        y = torch.arange(self.height, device=device, dtype=dtype) + 0.5
        y, x = torch.meshgrid(y, x, indexing="ij")
        fx, fy, cx, cy = (k[:, None, None] for k in self.intrinsics.unbind(-1))
        in_camera = torch.stack(
            [(x - cx) / fx, (y - cy) / fy, torch.ones_like(x).expand(len(self), -1, -1)], -1
        )
        return in_camera / in_camera.norm(dim=-1, keepdim=True)


def look_at(positions: Tensor) -> Tensor:
    """w2c (N, 4, 4) of cameras at `positions` (N, 3) that look at the origin with z up."""
    forward = -positions / positions.norm(dim=-1, keepdim=True)
    up = positions.new_tensor([0.0, 0.0, 1.0]).expand_as(forward)
    right = torch.linalg.cross(forward, up)
    right = right / right.norm(dim=-1, keepdim=True)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=1)
    w2c = torch.eye(4, dtype=positions.dtype, device=positions.device).repeat(len(positions), 1, 1)
    w2c[:, :3, :3] = rotation
    w2c[:, :3, 3:] = -rotation @ positions[:, :, None]
    return w2c


def orbit(
    azimuths: Sequence[float],
    elevations: Sequence[float],
    size: int | tuple[int, int] = 512,
    radius: float | Sequence[float] = RADIUS,
    fov: float = FOV_DEGREES,
    target: Sequence[float] = (0.0, 0.0, 0.0),
) -> Cameras:
    """Cameras on a sphere around a point, looking at it.

    Args:
        azimuths: of N cameras, degrees.
        elevations: as many, degrees; at 90 and -90 no direction would be up.
        size: of the images in pixels, one side or width and height.
        radius: of the sphere; or one distance a camera.
        fov: field of view across the shorter side of the image, degrees.
        target: the point.
    """
    width, height = (size, size) if isinstance(size, int) else size
    degrees = torch.tensor([azimuths, elevations], dtype=torch.float64, device="cpu")
    azimuth, elevation = torch.deg2rad(degrees)
    positions = torch.stack(
        [-azimuth.sin() * elevation.cos(), -azimuth.cos() * elevation.cos(), elevation.sin()], dim=-1
    )
    positions = torch.as_tensor(radius, dtype=torch.float64, device="cpu").reshape(-1, 1) * positions
    w2c = look_at(positions)
    if any(target):
        w2c[:, :3, 3:] -= w2c[:, :3, :3] @ positions.new_tensor(target)[:, None]
    focal = min(width, height) / 2 / math.tan(math.radians(fov) / 2)
    intrinsics = positions.new_tensor([focal, focal, width / 2, height / 2]).float()
    return Cameras(w2c.float(), intrinsics.repeat(len(positions), 1), width, height)


def canonical_rig(size: int = 512) -> Cameras:
    """FaceLift's six views, in the order of VIEW_NAMES: radius 2.7, field of view 50 degrees, elevation 0."""
    return orbit(CANONICAL_AZIMUTHS, [0.0] * 6, size)


def orbit_rig(
    views: int = 32,
    size: int = 512,
    elevations: tuple[float, float] = (-20.0, 60.0),
    fov: float = FOV_DEGREES,
) -> Cameras:
    """Views spread evenly in azimuth, their elevations spread over a range by the golden ratio.

    The half step in azimuth keeps them off the canonical views.
    """
    low, high = elevations
    golden = (math.sqrt(5) - 1) / 2
    azimuths = [360.0 * (i + 0.5) / views for i in range(views)]
    spread = [low + (high - low) * ((i + 0.5) * golden % 1.0) for i in range(views)]
    return orbit(azimuths, spread, size, fov=fov)


def overhead_rig(size: int = 512) -> Cameras:
    """One camera above the head, the face below in its image: what the canonical views do not show."""
    return orbit([0.0], [89.0], size)  # straight above, no direction would be up


def turntable_rig(frames: int = 150, size: int = 512, elevation: float = 20.0) -> Cameras:
    """One turn around the head at a fixed elevation; the first frame is in front of the face."""
    return orbit([360.0 * i / frames for i in range(frames)], [elevation] * frames, size)

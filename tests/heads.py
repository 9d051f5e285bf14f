"""Folders of "heads" that need no assets: two-coloured balls, ray-traced from their definition."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from facelift.cameras import Cameras, canonical_rig, orbit_rig, overhead_rig


def write_ball(
    folder: Path, cameras: Cameras, radius: float, color: tuple[float, float, float], images: str = ""
):
    """One ball of that radius about the origin; its front half (y < 0) has the colour, its back is dark."""
    origins, directions = cameras.rays()
    along = -(origins * directions).sum(-1)
    gap = radius**2 - ((origins + along[..., None] * directions) ** 2).sum(-1)
    hit = gap > 0
    distance = along - gap.clamp_min(0).sqrt()
    points = origins + distance[..., None] * directions
    depth = (points @ cameras.w2c[:, None, :3, :3].transpose(-1, -2) + cameras.w2c[:, None, None, :3, 3])[
        ..., 2
    ]
    shade = 0.6 + 0.4 * points[..., 2:] / radius
    rgb = torch.where(points[..., 1:2] < 0, torch.tensor(color), torch.tensor([0.2, 0.15, 0.1])) * shade

    (folder / images).mkdir(parents=True, exist_ok=True)
    (folder / "depth").mkdir(exist_ok=True)
    frames = []
    for i in range(len(cameras)):
        rgba = torch.cat([rgb[i].clamp(0, 1), hit[i][..., None].float()], -1).mul(255).round().byte().numpy()
        cv2.imwrite(str(folder / images / f"cam_{i:03d}.png"), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
        integers = (depth[i] * hit[i] * 10000).round().numpy().astype(np.uint16)
        cv2.imwrite(str(folder / "depth" / f"depth_{i:03d}.png"), integers)
        fx, fy, cx, cy = cameras.intrinsics[i].tolist()
        frames.append(
            {
                "w": cameras.width,
                "h": cameras.height,
                "fx": fx,
                "fy": fy,
                "cx": cx,
                "cy": cy,
                "w2c": cameras.w2c[i].tolist(),
                "file_path": f"{images}cam_{i:03d}.png",
            }
        )
    (folder / "opencv_cameras.json").write_text(json.dumps({"frames": frames}))


def write_balls(root: Path, count: int = 3, size: int = 32, first_seed: int = 1000, orbit: int = 4) -> Path:
    """`canonical`, `orbit` and `overhead` of a few balls in `root`, named as the generator does."""
    rng = np.random.default_rng(0)
    for k in range(count):
        radius, color = rng.uniform(0.5, 0.8), tuple(rng.uniform(0.3, 0.9, 3).tolist())
        name = f"head_{first_seed + k:06d}"
        write_ball(root / "canonical" / name, canonical_rig(size), radius, color)
        write_ball(root / "orbit" / name, orbit_rig(orbit, size), radius, color, "images/")
        write_ball(root / "overhead" / name, overhead_rig(size), radius, color)
    return root


def write_config(path: Path, **parts) -> Path:
    """A training's configuration."""
    path.write_text(yaml.safe_dump(parts), encoding="utf-8")
    return path

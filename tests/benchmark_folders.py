"""Folders in the layouts of public benchmarks, of a head whose shape and cameras are known."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from PIL import Image

from facelift.cameras import Cameras, orbit
from facelift.gaussians import SH_C0, Gaussians
from facelift.portrait import prepare_portrait
from facelift.render import render

PORTRAIT = Path(__file__).parents[1] / "examples/portrait.jpg"


@cache
def face_head(side: int = 144) -> Gaussians:
    """The example's face on the front of an egg, in the canonical frame: detectors find it from aside."""
    portrait = prepare_portrait(PORTRAIT, side)
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5,) * 2, indexing="ij")
    unit = 2.518 / side  # of what the portrait shows
    x, z = (x - side / 2) * unit, (side / 2 - y) * unit
    bulge = (1 - (x / 0.62) ** 2 - ((z + 0.05) / 0.8) ** 2).clamp_min(0).sqrt()
    nose = 0.12 * torch.exp(-(x**2 + (z + 0.12) ** 2) / 0.006)
    means = torch.stack([x, -0.5 * bulge - nose, z], dim=-1)[portrait.alpha[0] > 0.5]
    colors = portrait.image.movedim(0, -1)[portrait.alpha[0] > 0.5]
    count = len(means)
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        scales=torch.full((count, 3), 0.6 * unit),
        opacities=torch.full((count,), 0.95),
        sh0=(colors - 0.5) / SH_C0,
    )


@dataclass(frozen=True)
class Place:
    """Where the head is in a benchmark's world: x -> scale * rotation @ x + shift."""

    scale: float
    rotation: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True)
class Seen:
    """A camera of a benchmark, and what it sees.

    Attributes:
        w2c: (4, 4) from the benchmark's world.
        matrix: (3, 3) for the images as they are stored, pixel centres at whole numbers.
        rgb, alpha: (H, W, 3) and (H, W) uint8.
        canonical: the same camera in the head's own frame, without distortion, pixel centres at +0.5.
    """

    w2c: np.ndarray
    matrix: np.ndarray
    rgb: np.ndarray
    alpha: np.ndarray
    canonical: Cameras


METRIC = Place(190.0, cv2.Rodrigues(np.array([0.4, 1.1, -0.7]))[0], np.array([30.0, -1600.0, 250.0]))
AZIMUTHS = {"a": -35.0, "b": -12.0, "c": 3.0, "d": 15.0, "e": 40.0}


def look(
    gaussians: Gaussians,
    place: Place,
    size: tuple[int, int],
    distortion: tuple[float, ...] = (),
    azimuths: dict[str, float] = AZIMUTHS,
) -> dict[str, Seen]:
    """The head from cameras of various distances, focal lengths and principal points, distorted."""
    found = {}
    width, height = size
    for i, (name, azimuth) in enumerate(azimuths.items()):
        distance = 4.2 + 0.4 * (i % 3)
        rig = orbit([azimuth], [6.0 - 4 * i], radius=distance, target=(0.02, 0.0, -0.03 * i))
        focal = 0.36 * width * distance
        matrix = np.array(
            [[focal, 0, width * 0.49 + i], [0, focal * 1.002, height * 0.51 - 2 * i], [0, 0, 1]]
        )
        margin = max(size) // 8  # what distortion brings in from beyond the image
        intrinsics = torch.tensor(
            [[matrix[0, 0], matrix[1, 1], matrix[0, 2] + 0.5 + margin, matrix[1, 2] + 0.5 + margin]]
        ).float()
        wide = Cameras(rig.w2c, intrinsics, width + 2 * margin, height + 2 * margin)
        drawn = render(gaussians, wide)
        rgba = torch.cat([drawn.image, drawn.alpha], 1)[0].clamp(0, 1).movedim(0, -1).numpy()
        rgba = _distorted(rgba, matrix, distortion, size, margin)
        rotation = rig.w2c[0, :3, :3].double().numpy() @ place.rotation.T
        w2c = np.eye(4)
        w2c[:3, :3] = rotation
        w2c[:3, 3] = place.scale * rig.w2c[0, :3, 3].double().numpy() - rotation @ place.shift
        pixels = np.rint(rgba * 255).astype(np.uint8)
        inner = Cameras(rig.w2c, intrinsics - torch.tensor([0, 0, margin, margin]), width, height)
        found[name] = Seen(w2c, matrix, pixels[..., :3], pixels[..., 3], inner)
    return found


def _distorted(
    image: np.ndarray, matrix: np.ndarray, distortion: tuple[float, ...], size: tuple[int, int], margin: int
) -> np.ndarray:
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float64), np.arange(size[1], dtype=np.float64))
    pixels = np.stack([x, y], -1).reshape(-1, 1, 2)
    if distortion:
        pixels = cv2.undistortPoints(pixels, matrix, np.array(distortion), P=matrix)
    places = (pixels.reshape(*x.shape, 2) + margin).astype(np.float32)
    return cv2.remap(image, places, None, cv2.INTER_CUBIC).clip(0, 1)


def _zip(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _encoded(image: np.ndarray, suffix: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, suffix, **({"quality": 100, "speed": 9} if suffix == "avif" else {}))
    return data.getvalue()


def _video(path: Path, frames: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as video:
        height, width = frames[0].shape[:2]
        stream = video.add_stream("libx264", rate=24, options={"crf": "2", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for frame in frames:
            video.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        video.mux(stream.encode())


def write_ava(root: Path, seen: dict[str, Seen], place: Place, distortion: tuple[float, ...]) -> Path:
    """One capture; the neutral frames are 12, which one camera dropped, and 34."""
    folder = root / "20230405--1635--AAN112/decoder"
    folder.mkdir(parents=True)
    cameras, dropped = [], list(seen)[1]
    for name, camera in seen.items():
        height, width = camera.alpha.shape
        matrix = camera.matrix.copy()  # for 2668 x 4096 pixels
        matrix[:2, 2] += 0.5
        matrix[0] *= 2668 / width
        matrix[1] *= 4096 / height
        matrix[:2, 2] -= 0.5
        cameras.append(
            {
                "cameraId": name,
                "K": matrix.T.tolist(),
                "T": camera.w2c.T.tolist(),
                "distortion": list(distortion),
            }
        )
        frames = {f"cam{name}/000034.avif": _encoded(camera.rgb, "avif")}
        if name != dropped:
            frames[f"cam{name}/000012.avif"] = b"never read"
        _zip(folder / f"image/cam{name}.zip", frames)
        parts = np.where(camera.alpha > 127, 2, 0).astype(np.uint8)
        parts[-3:] = 3  # the chair
        _zip(folder / f"segmentation_parts/cam{name}.zip", {f"cam{name}/000034.png": _encoded(parts, "png")})
    (folder / "camera_calibration.json").write_text(json.dumps({"KRT": cameras}))
    with open(folder / "frame_list.csv", "w", newline="") as file:
        rows = [("EXP_jaw", "3"), ("EXP_neutral_peak", "12"), ("EXP_neutral_peak", "34")]
        csv.writer(file).writerows([("seg_id", "frame_id"), *rows])
    pose = io.StringIO()
    np.savetxt(pose, np.hstack([place.rotation, place.shift[:, None]]))
    poses = {f"0000{frame}.txt": pose.getvalue().encode() for frame in (12, 34)}
    _zip(folder / "head_pose/head_pose.zip", poses)
    return root


COLOR_MATRIX = np.array([[0.8, 0.1, 0.1, 0.02], [0.05, 0.9, 0.05, 0.0], [0.0, 0.1, 0.8, 0.01]])
"""Of linear R, G, B and 1."""


def write_nersemble(root: Path, seen: dict[str, Seen]) -> Path:
    """One participant, whose videos' colours become right by COLOR_MATRIX; the second frame is the head."""
    folder = root / "030"
    (folder / "calibration").mkdir(parents=True)
    height, width = next(iter(seen.values())).alpha.shape
    matrix = next(iter(seen.values())).matrix.copy()
    matrix[:2, 2] += 0.5
    matrix[0] *= 2200 / width
    matrix[1] *= 3208 / height
    matrix[:2, 2] -= 0.5
    poses = {name: camera.w2c.tolist() for name, camera in seen.items()}
    (folder / "calibration/camera_params.json").write_text(
        json.dumps({"world_2_cam": poses, "intrinsics": matrix.tolist()})
    )
    (folder / "calibration/color_calibration.json").write_text(
        json.dumps({name: COLOR_MATRIX.tolist() for name in seen})
    )
    for name, camera in seen.items():
        linear = _to_linear(camera.rgb / 255.0)
        raw = (linear - COLOR_MATRIX[:, 3]) @ np.linalg.inv(COLOR_MATRIX[:, :3]).T
        frame = np.rint(_to_srgb(raw.clip(0, 1)) * 255).astype(np.uint8)
        _video(folder / f"sequences/EXP-1-head/images/cam_{name}.mp4", [np.zeros_like(frame), frame])
    return root


def _to_linear(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _to_srgb(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def write_cafca(root: Path, seen: dict[str, Seen]) -> Path:
    """One subject in its folder of a hundred."""
    scene = root / "00000-00099/00007/00000_000"
    for part in ("cameras_json", "color_image", "foreground_mask"):
        (scene / part).mkdir(parents=True)
    for name, camera in seen.items():
        matrix = camera.matrix.copy()
        matrix[:2, 2] += 0.5
        written = {"K": matrix.tolist(), "world2cam": camera.w2c[:3].tolist(), "P": []}
        (scene / f"cameras_json/{name}.json").write_text(json.dumps(written))
        Image.fromarray(camera.rgb).save(scene / f"color_image/{name}.png")
        Image.fromarray(camera.alpha).save(scene / f"foreground_mask/{name}.png")
    return root


def write_facescape(root: Path, seen: dict[str, Seen], distortion: tuple[float, ...]) -> Path:
    """One person; a sixth camera is marked as not valid."""
    scene = root / "212/1_neutral"
    scene.mkdir(parents=True)
    parameters: dict[str, object] = {"5_valid": False}
    for i, camera in enumerate(seen.values()):
        parameters |= {
            f"{i}_K": camera.matrix.tolist(),
            f"{i}_Rt": camera.w2c[:3].tolist(),
            f"{i}_distortion": list(distortion),
            f"{i}_width": camera.alpha.shape[1],
            f"{i}_height": camera.alpha.shape[0],
            f"{i}_valid": True,
        }
        Image.fromarray(camera.rgb).save(scene / f"{i}.jpg", quality=98, subsampling=0)
    (scene / "params.json").write_text(json.dumps(parameters))
    return root

"""How long a mesh of a head takes, and how like the splats it is: python benchmarks/meshes.py [--quick]

The head is that of examples/portrait.jpg. Pictures of the mesh, without a light, are compared with those of
the splats from the six canonical cameras at 512 pixels. A mesh is opaque and has sharp outlines: the best
that one could do is the splats' own picture with each pixel either covered or not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import timing
from timing import Row, best

from facelift.cameras import Cameras, canonical_rig
from facelift.formats.frames import METRES_PER_UNIT, rotation
from facelift.mesh.extract import mesh_from_gaussians
from facelift.mesh.mesh import MESH_FORMATS, Mesh, files_of_mesh, write_mesh
from facelift.mesh.raster import rasterize_view
from facelift.mesh.texture import unwrap
from facelift.pipeline import FaceLift
from facelift.render import render

TITLE = "Meshes"

PHOTO = Path(__file__).resolve().parents[1] / "examples/portrait.jpg"
CAMERAS = canonical_rig(512)


def measure(quick: bool) -> Iterator[Row]:
    head = FaceLift.from_pretrained(device="cpu")(PHOTO, refinement=2 if quick else None).gaussians
    splats = render(head, CAMERAS)
    ideal = np.where(splats.alpha > 0.5, (splats.image - 1) / splats.alpha.clamp_min(0.5) + 1, 1.0)
    limit = psnr(ideal, splats.image.numpy())
    cases = [(5_000, 512)] if quick else [(5_000, 512), (20_000, 1024), (100_000, 2048)]
    for faces, texture in cases:
        mesh = mesh_from_gaussians(head, faces, texture)
        likeness = psnr(np.stack([draw(mesh, CAMERAS[i]) for i in range(6)]), splats.image.numpy())
        yield Row(
            f"mesh of {len(mesh.faces):,} faces, texture {texture}²",
            best(lambda faces=faces, texture=texture: mesh_from_gaussians(head, faces, texture), 2, False),
            "its unwrapping alone, by xatlas",
            best(lambda mesh=mesh, texture=texture: unwrap(mesh.vertices, mesh.faces, texture), 2, False),
            note=f"{likeness:.1f} dB to the splats, of at most {limit:.1f}",
        )
    yield from files(mesh)


def files(mesh: Mesh) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for suffix, format in MESH_FORMATS.items():
            path = Path(folder, f"head{suffix}")
            seconds = best(lambda path=path: write_mesh(path, mesh), 2)
            written = files_of_mesh(path)
            content = b"".join(file.read_bytes() for file in written)
            size = f"{len(content) / 2**20:.2f} MB"
            plain = best(lambda content=content: Path(folder, "plain").write_bytes(content))
            yield Row(f"{format.name}, {len(mesh.faces):,} faces", seconds, "plain bytes", plain, note=size)


def draw(mesh: Mesh, camera: Cameras) -> np.ndarray:
    """(3, H, W) on white, each pixel the mean of four."""
    camera = camera.resized(2 * camera.width)
    seen = rasterize_view(
        mesh.vertices @ rotation("RUB").numpy() / np.float32(METRES_PER_UNIT), mesh.faces, camera
    )
    places = np.einsum("hwk,hwkc->hwc", seen.barycentric, mesh.uv[mesh.uv_faces[seen.face]])
    texels = (np.stack([places[..., 0], 1 - places[..., 1]], axis=-1) * len(mesh.texture) - 0.5).astype("f4")
    colors = cv2.remap(mesh.texture, texels, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) / 255
    colors = np.where(seen.face[..., None] >= 0, colors, 1.0)
    return colors.reshape(camera.height // 2, 2, camera.width // 2, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)


def psnr(pictures: np.ndarray, truth: np.ndarray) -> float:
    """Mean of the pictures' PSNR in dB."""
    errors = np.square(np.clip(pictures, 0, 1) - truth.clip(0, 1)).mean(axis=(1, 2, 3))
    return float(-10 * np.log10(errors).mean())


if __name__ == "__main__":
    timing.main(TITLE, measure)

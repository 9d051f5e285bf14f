"""How fast the CPU rasteriser is: python benchmarks/render.py [--threads 1 2]

Draws a cloud like a head, checks it against plain torch (tile by tile, the equations as written), and prints
milliseconds per view, frames per second, and how many times faster than plain torch that is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch

from facelift.cameras import Cameras, canonical_rig, turntable_rig
from facelift.gaussians import Gaussians
from facelift.render import render

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from reference_rasterizer import Splats, blend, pixel_centres, project

TILE = 16


def head(count: int) -> Gaussians:
    """Points near an ellipsoid of a head's size, 0.003 to 0.01 wide, of any opacity."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    radii = torch.tensor([0.4, 0.5, 0.55]) * (1 + 0.02 * torch.randn(count, 1, generator=generator))
    return Gaussians(
        means=directions * radii,
        quats=torch.randn(count, 4, generator=generator),
        scales=0.003 + 0.007 * torch.rand(count, 3, generator=generator),
        opacities=0.04 + 0.96 * torch.rand(count, generator=generator),
        sh0=torch.randn(count, 3, generator=generator),
    )


def plain(gaussians: Gaussians, camera: Cameras) -> torch.Tensor:
    """(3, H, W) on black, in plain torch: each tile blends the splats whose bounding circles reach it."""
    splats = project(*(getattr(gaussians, f.name) for f in fields(gaussians)), camera)
    spread = torch.linalg.inv(splats.inverses).diagonal(dim1=1, dim2=2).amax(-1)
    reach = (2 * torch.log(255 * splats.opacities) * spread).sqrt()
    pixels = pixel_centres(camera.width, camera.height).float()
    image = torch.empty(3, camera.height, camera.width)
    for y in range(0, camera.height, TILE):
        for x in range(0, camera.width, TILE):
            middle = torch.tensor([x, y]) + TILE / 2
            near = ((splats.centres - middle).abs().amax(-1) < reach + TILE / 2).nonzero()[:, 0]
            tile = Splats(*(getattr(splats, f.name)[near] for f in fields(splats)))
            image[:, y : y + TILE, x : x + TILE] = blend(tile, pixels[y : y + TILE, x : x + TILE])[0]
    return image


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """The fastest of several runs, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def one_view(cloud: Gaussians, camera: Cameras, threads: int, repeats: int) -> str:
    """A frame of a viewer or of a turntable, and the same in plain torch."""
    slow = milliseconds(lambda: plain(cloud, camera), 1)
    fast = milliseconds(lambda: render(cloud, camera), repeats)
    error = (plain(cloud, camera) - render(cloud, camera, 0.0).image[0]).abs().mean()
    return (
        f"threads {threads}, {len(cloud)} at {camera.width}, one view: {fast:.1f} ms, {1000 / fast:.1f} fps, "
        f"{slow / fast:.0f} x plain torch ({slow:.0f} ms, mean difference {error:.0e})"
    )


def eight_views(cloud: Gaussians, size: int, threads: int, repeats: int) -> str:
    """A training step's views."""
    cameras = turntable_rig(8, size)
    leaves = Gaussians(*(getattr(cloud, f.name).clone().requires_grad_() for f in fields(cloud)))
    forward = milliseconds(lambda: render(cloud, cameras), repeats) / 8
    both = milliseconds(lambda: render(leaves, cameras).image.square().sum().backward(), repeats) / 8
    return (
        f"threads {threads}, {len(cloud)} at {size}, eight views, each: forward {forward:.1f} ms, "
        f"forward and backward {both:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    start = time.perf_counter()
    import facelift.render.cpu  # noqa: F401

    print(f"kernels ready in {time.perf_counter() - start:.1f} s (compiled once, then loaded)")
    for threads in args.threads:
        torch.set_num_threads(threads)
        print(one_view(head(100_000), canonical_rig(512)[0], threads, args.repeats))
        for size in (512, 256, 128):
            print(eight_views(head(50_000), size, threads, args.repeats))


if __name__ == "__main__":
    main()

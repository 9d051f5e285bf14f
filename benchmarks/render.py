"""How fast the CPU rasteriser is, by number of Gaussians and resolution: python benchmarks/render.py

Draws a cloud like a head, and checks it against plain torch (tile by tile, the equations as written).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import timing
import torch
from timing import Row, best

from facelift.cameras import Cameras, canonical_rig, turntable_rig
from facelift.gaussians import Gaussians
from facelift.render import render

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from reference_rasterizer import Splats, blend, pixel_centres, project

TITLE = "The rasteriser"

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
    splats = project(*gaussians.tensors().values(), camera)
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


def measure(quick: bool) -> Iterator[Row]:
    counts, sizes = ((10_000,), (128,)) if quick else ((10_000, 50_000, 100_000, 200_000), (256, 512))
    for count in counts:
        for size in sizes:
            yield one_view(head(count), canonical_rig(size)[0])
    if (threads := torch.get_num_threads()) > 1:
        torch.set_num_threads(1)
        yield one_view(head(counts[-1]), canonical_rig(sizes[-1])[0])
        torch.set_num_threads(threads)
    yield forward_and_backward(head(2_000 if quick else 10_000), 64 if quick else 128)
    yield from view_dependent(head(2_000 if quick else 100_000), 64 if quick else 512)


def one_view(cloud: Gaussians, camera: Cameras) -> Row:
    """A frame of a viewer or of a turntable, and the same in plain torch."""
    fast = best(lambda: render(cloud, camera), 5)
    slow = best(lambda: plain(cloud, camera), 1, warm_up=False)
    error = (plain(cloud, camera) - render(cloud, camera, 0.0).image[0]).abs().mean()
    return Row(
        f"{len(cloud):,} Gaussians at {camera.width}², one view, {_threads()}",
        fast,
        "plain torch",
        slow,
        note=f"{1 / fast:.0f} a second; mean difference {error:.0e}",
    )


def forward_and_backward(cloud: Gaussians, size: int) -> Row:
    """What training does with a view, and the same in plain torch with its own gradients."""
    cameras = turntable_rig(8, size)

    def ours() -> None:
        leaves = cloud.map(lambda field: field.clone().requires_grad_())
        render(leaves, cameras).image.square().sum().backward()

    def theirs() -> None:
        leaves = cloud.map(lambda field: field.clone().requires_grad_())
        plain(leaves, cameras[0]).square().sum().backward()

    return Row(
        f"{len(cloud):,} Gaussians at {size}², forward and backward, each of eight views, {_threads()}",
        best(ours, 3) / 8,
        "plain torch, autograd",
        best(theirs, 1, warm_up=False),
    )


def view_dependent(cloud: Gaussians, size: int) -> Iterator[Row]:
    """Colour of degree 3 against that of degree 0, drawn in turn; and forward and backward."""
    generator = torch.Generator().manual_seed(1)
    colorful = replace(cloud, shN=0.1 * torch.randn(len(cloud), 15, 3, generator=generator))
    camera = canonical_rig(size)[0]

    def step(gaussians: Gaussians) -> None:
        leaves = gaussians.map(lambda field: field.clone().requires_grad_())
        render(leaves, camera).image.square().sum().backward()

    for what, work in (("one view", partial(render, cameras=camera)), ("forward and backward", step)):
        work(colorful)
        times = [[best(partial(work, g), 1, warm_up=False) for g in (colorful, cloud)] for _ in range(9)]
        third, plain = (min(column) for column in zip(*times, strict=True))
        yield Row(
            f"{len(cloud):,} Gaussians of degree 3 at {size}², {what}, {_threads()}",
            third,
            "degree 0",
            plain,
            note=f"{third / plain:.2f} times as long",
        )


def _threads() -> str:
    count = torch.get_num_threads()
    return f"{count} thread{'s' if count > 1 else ''}"


if __name__ == "__main__":
    timing.main(TITLE, measure)

"""The CPU rasteriser: 3D Gaussian Splatting (Kerbl et al. 2023), forward and backward, in numba.

One camera is drawn in three steps, as on a GPU: project every Gaussian to a splat, an ellipse in the image;
sort the splats by depth and list them by tile of 16 x 16 pixels; blend each tile's list front to back. A row
of a tile is 16 floats, one AVX-512 register or two of AVX2, so that the innermost loops are the compiler's
to vectorise.

The kernels are serial and release the interpreter's lock. Threads share the work out between them: cameras
when there are enough, and otherwise ranges of Gaussians and of tiles. One thread writes each result and every
sum has one order, so images and gradients do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facelift.cameras import Cameras
from facelift.gaussians import Gaussians
from facelift.render.blend import TILE, blend, blend_backward, list_by_tile
from facelift.render.kernel import Floats, Ints
from facelift.render.project import factorize, factorize_backward, project, project_backward
from facelift.render.shade import shade, shade_backward

T = TypeVar("T")


@dataclass(frozen=True)
class _Lists:
    """What the backward pass needs of one camera's forward pass."""

    seen: Floats
    splats: Floats
    boxes: Ints
    starts: Ints
    entries: Ints
    drawn: Ints
    first_pair: Ints


def _in_threads(work: Callable[[int], T], count: int, threads: int) -> list[T]:
    """[work(0), ..., work(count - 1)]."""
    if min(count, threads) <= 1:
        return [work(i) for i in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(count)))


def _for_cameras(work: Callable[[int, int], T], cameras: int, threads: int) -> list[T]:
    """[work(camera, inner threads)]: a thread a camera if there are enough cameras, else all inside each."""
    if cameras >= threads:
        return _in_threads(lambda camera: work(camera, 1), cameras, threads)
    return [work(camera, threads) for camera in range(cameras)]


def _in_pieces(work: Callable[[int, int], None], length: int, threads: int) -> None:
    """Call work(first, last) for ranges that cover [0, length), small enough to keep all threads busy."""
    pieces = 8 * threads if threads > 1 else 1
    _in_threads(lambda i: work(length * i // pieces, length * (i + 1) // pieces), pieces, threads)


class _Rasterize(torch.autograd.Function):
    """The fields of G Gaussians, and backgrounds (N, 3), to image, alpha and depth.

    The last field, shN, has size (G, 0, 3) where colours are of degree 0, and is then not looked at.

    No operation of torch computes here, so that drawing wakes none of its threads: they go on spinning for a
    while, and take cores from those that draw.
    """

    @staticmethod
    def forward(
        ctx: Any, cameras: Cameras, keep: bool, background: Tensor, *fields: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        n, width, height = len(cameras), cameras.width, cameras.height
        columns, rows = -(-width // TILE), -(-height // TILE)
        threads = torch.get_num_threads()
        means, quats, scales, opacities, sh0, sh_n = (t.detach().numpy() for t in fields)
        w2c, intrinsics = (
            t.detach().cpu().float().contiguous().numpy() for t in (cameras.w2c, cameras.intrinsics)
        )
        behind = background.detach().numpy()
        count = len(means)
        factors = np.empty((count, 3, 3), np.float32)
        factorize(quats, scales, factors)
        image, alpha, depth = (np.empty((n, c, height, width), np.float32) for c in (3, 1, 1))

        def draw(camera: int, threads: int) -> _Lists | None:
            splats, boxes = np.empty((count, 10), np.float32), np.empty((count, 4), np.int32)
            view = (w2c[camera], intrinsics[camera], width, height)
            seen = np.empty_like(sh0) if sh_n.size else sh0

            def place(first: int, last: int) -> None:
                if sh_n.size:
                    shade(means, sh0, sh_n, w2c[camera], first, last, seen)
                project(means, factors, opacities, seen, *view, first, last, splats, boxes)

            _in_pieces(place, count, threads)
            starts, entries, first_pair = list_by_tile(splats, boxes, columns, rows)
            drawn = np.empty(rows * columns, np.int32)
            lists = (splats, boxes, starts, entries)
            outputs = (image[camera], alpha[camera, 0], depth[camera, 0], drawn)
            _in_pieces(lambda *span: blend(*lists, behind[camera], *span, *outputs), rows * columns, threads)
            return _Lists(seen, *lists, drawn, first_pair) if keep else None

        lists = _for_cameras(draw, n, threads)
        ctx.set_materialize_grads(False)
        outputs = torch.from_numpy(image), torch.from_numpy(alpha), torch.from_numpy(depth)
        if keep:
            ctx.save_for_backward(background, *fields, *outputs)
            ctx.view, ctx.factors, ctx.lists = (w2c, intrinsics, width, height), factors, lists
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = (t.detach().numpy() for t in ctx.saved_tensors)
        behind, means, quats, scales, opacities, sh0, sh_n, image, alpha, depth = saved
        d_image, d_alpha, d_depth = (
            np.zeros_like(output) if d is None else d.contiguous().numpy()
            for output, d in zip((image, alpha, depth), d_outputs, strict=True)
        )
        w2c, intrinsics, width, height = ctx.view
        threads = torch.get_num_threads()

        def pull(camera: int, threads: int) -> Floats:
            lists: _Lists = ctx.lists[camera]
            d_pairs = np.zeros((len(lists.entries), 10), np.float32)
            inputs = (lists.splats, lists.boxes, lists.starts, lists.entries, lists.drawn, behind[camera])
            images = (image[camera], alpha[camera, 0], depth[camera, 0])
            images += (d_image[camera], d_alpha[camera, 0], d_depth[camera, 0])
            tiles = len(lists.starts) - 1
            _in_pieces(lambda *span: blend_backward(*inputs, *span, *images, d_pairs), tiles, threads)
            return d_pairs

        d_pairs = _for_cameras(pull, len(w2c), threads)
        sizes = ((3,), (3, 3), (), (3,))
        d_means, d_factors, d_opacities, d_sh0 = (np.zeros((len(means), *size), np.float32) for size in sizes)
        d_sh_n, d_seen = np.zeros_like(sh_n), np.zeros_like(sh0) if sh_n.size else d_sh0

        def gather(first: int, last: int) -> None:
            for lists, d, *view in zip(ctx.lists, d_pairs, w2c, intrinsics, strict=True):
                view += (width, height, first, last, lists.splats, lists.first_pair, d)
                into = (d_means, d_factors, d_opacities, d_seen)
                project_backward(means, ctx.factors, opacities, lists.seen, *view, *into)
                if sh_n.size:
                    shade_backward(means, sh_n, view[0], first, last, d_seen, d_means, d_sh0, d_sh_n)
                    d_seen[first:last] = 0

        _in_pieces(gather, len(means), threads)
        d_quats, d_scales = np.zeros_like(quats), np.zeros_like(scales)
        factorize_backward(quats, scales, d_factors, d_quats, d_scales)
        d_fields = (d_means, d_quats, d_scales, d_opacities, d_sh0, d_sh_n)
        d_behind = None
        if ctx.needs_input_grad[2]:
            d_behind = torch.from_numpy(np.einsum("nchw,nhw->nc", d_image, 1 - alpha[:, 0]))
        return None, None, d_behind, *(torch.from_numpy(d) for d in d_fields)


def rasterize(
    gaussians: Gaussians, cameras: Cameras, background: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Image over the background, alpha and depth, as `facelift.render.Rendering` has them."""
    device = gaussians.means.device
    if gaussians.shN is None:
        gaussians = replace(gaussians, shN=gaussians.sh0.new_empty(len(gaussians), 0, 3))
    inputs = [tensor.to("cpu", torch.float32).contiguous() for tensor in gaussians.tensors().values()]
    behind = torch.as_tensor(background, dtype=torch.float32, device="cpu")
    behind = behind.expand(len(cameras), 3).contiguous()
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (behind, *inputs))
    image, alpha, depth = _Rasterize.apply(cameras, keep, behind, *inputs)
    return image.to(device), alpha.to(device), depth.to(device)

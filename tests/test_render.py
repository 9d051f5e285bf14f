"""The rasterisers against brute force in float64: images, gradients, and the edges of the contract."""

from __future__ import annotations

import sys
from dataclasses import astuple, replace

import pytest
import torch
from reference_rasterizer import reference_render
from torch import Tensor

from facelift.cameras import Cameras, canonical_rig, look_at, orbit
from facelift.errors import UserError
from facelift.gaussians import SH_C0, Gaussians
from facelift.render import Rendering, render, render_batch


def scene(
    count: int, seed: int = 0, scales: tuple[float, float] = (0.005, 0.15), spread: float = 0.6
) -> Gaussians:
    """Random anisotropic Gaussians around the origin, some so far out that the image cuts them."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(scales).log()
    return Gaussians(
        means=spread * torch.randn(count, 3, generator=generator),
        quats=torch.randn(count, 4, generator=generator),
        scales=(low + (high - low) * torch.rand(count, 3, generator=generator)).exp(),
        opacities=0.02 + 0.98 * torch.rand(count, generator=generator),
        sh0=2 * torch.randn(count, 3, generator=generator),
    )


def soft_scene(count: int, seed: int = 0) -> Gaussians:
    """Gaussians so wide and so clear that they cross no threshold in a small image: it is smooth."""
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=0.3 * (torch.rand(count, 3, generator=generator) - 0.5),
        quats=torch.randn(count, 4, generator=generator),
        scales=0.6 + 0.5 * torch.rand(count, 3, generator=generator),
        opacities=0.3 + 0.4 * torch.rand(count, generator=generator),
        sh0=0.8 * torch.randn(count, 3, generator=generator),
    )


def one(
    mean: tuple[float, float, float], opacity: float = 0.9, scale: float = 0.1, red: float = 0.5
) -> Gaussians:
    """A round Gaussian of colour (red, 0.5, 0.5)."""
    return Gaussians(
        means=torch.tensor([mean]),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales=torch.full((1, 3), scale),
        opacities=torch.tensor([opacity]),
        sh0=torch.tensor([[(red - 0.5) / SH_C0, 0.0, 0.0]]),
    )


def tensors(gaussians: Gaussians) -> list[Tensor]:
    return [*gaussians.tensors().values()]


def joined(*parts: Gaussians) -> Gaussians:
    return Gaussians(*(torch.cat(group) for group in zip(*map(tensors, parts), strict=True)))


def leaves(gaussians: Gaussians) -> Gaussians:
    return Gaussians(*(t.clone().requires_grad_() for t in tensors(gaussians)))


def reference(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, ...]:
    return reference_render(*(t.double() for t in tensors(gaussians)), cameras)


def assert_same(rendering: Rendering, expected: tuple[Tensor, ...], tolerance: float = 2e-5) -> None:
    """Equal, but for the odd pixel where a contribution of 1/255 falls on the other side of its threshold."""
    for name, found, value in zip(("image", "alpha", "depth"), astuple(rendering), expected, strict=True):
        error = (found.double() - value).abs()
        assert error.max() < 0.02, name
        assert (error > tolerance).double().mean() < 1e-3, name


@pytest.fixture
def rig() -> Cameras:
    """Three views, one of them close and off centre, in an image that is no whole number of tiles."""
    cameras = orbit([0.0, 130.0, 250.0], [0.0, 50.0, -20.0], size=70)
    intrinsics = cameras.intrinsics.clone()
    intrinsics[1] *= torch.tensor([1.7, 2.1, 0.6, 1.2])
    return Cameras(cameras.w2c, intrinsics, 70, 54)


@pytest.mark.parametrize("scales", [(0.001, 0.01), (0.005, 0.15), (0.01, 1.0)])
def test_image_is_the_reference(rig: Cameras, scales: tuple[float, float]) -> None:
    gaussians = scene(400, scales=scales)
    assert_same(render(gaussians, rig), reference(gaussians, rig))


def test_camera_among_the_gaussians() -> None:
    """Some are behind the camera, some nearer than the near plane, some far to the side."""
    gaussians = scene(300, spread=1.0)
    w2c = look_at(torch.tensor([[0.3, -0.9, 0.2]]))
    cameras = Cameras(w2c, torch.tensor([[50.0, 60.0, 30.0, 34.0]]), 64, 64)
    assert_same(render(gaussians, cameras), reference(gaussians, cameras), 1e-4)


@pytest.mark.parametrize("scales", [(0.001, 0.01), (0.005, 0.15), (0.1, 1.0)])
def test_gradients_are_the_reference(rig: Cameras, scales: tuple[float, float]) -> None:
    gaussians = leaves(scene(200, seed=1, scales=scales))
    exact = Gaussians(*(t.detach().double().requires_grad_() for t in tensors(gaussians)))
    found, expected = astuple_of(render(gaussians, rig)), reference(exact, rig)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(value.shape, generator=generator) for value in found]
    sum((w * value).sum() for w, value in zip(weights, found, strict=True)).backward()
    sum((w * value).sum() for w, value in zip(weights, expected, strict=True)).backward()
    for field, value, truth in zip(gaussians.tensors(), tensors(gaussians), tensors(exact), strict=True):
        error = (value.grad.double() - truth.grad).norm() / truth.grad.norm()
        assert error < 2e-3, f"{field}: {error:.1e}"


def test_gradients_are_finite_differences() -> None:
    cameras = orbit([0.0, 100.0], [10.0, -30.0], size=10)
    gaussians = leaves(soft_scene(4))
    found = astuple_of(render(gaussians, cameras))
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(value.shape, generator=generator) for value in found]

    def losses(images: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([(w * image).sum() for w, image in zip(weights, images, strict=True)])

    gradients = [
        torch.autograd.grad(loss, tensors(gaussians), retain_graph=True, materialize_grads=True)
        for loss in losses(found)
    ]
    moved = Gaussians(*(t.detach().double() for t in tensors(gaussians)))
    step = 1e-5
    for field, entries, *of_outputs in zip(gaussians.tensors(), tensors(moved), *gradients, strict=True):
        flat, slopes = entries.view(-1), []
        for i in range(len(flat)):
            flat[i] += step
            above = losses(reference(moved, cameras))
            flat[i] -= 2 * step
            below = losses(reference(moved, cameras))
            flat[i] += step
            slopes.append((above - below) / (2 * step))
        found_slopes = torch.stack([g.flatten() for g in of_outputs], dim=1).double()
        error = (found_slopes - torch.stack(slopes)).abs().max()
        assert error < 2e-4 * torch.stack(slopes).abs().max() + 1e-5, f"{field}: {error:.1e}"


def astuple_of(rendering: Rendering) -> tuple[Tensor, Tensor, Tensor]:
    """Without the copies that `astuple` makes, which only leaves of the graph allow."""
    return rendering.image, rendering.alpha, rendering.depth


def test_near_hides_far() -> None:
    """Camera 0 is on -y, camera 1 on +y: each sees the Gaussian on its own side, whatever their order."""
    pair = joined(one((0.0, 0.4, 0.0), red=0.0), one((0.0, -0.4, 0.0), red=1.0))
    red = render(pair, orbit([0.0, 180.0], [0.0, 0.0], size=32)).image[:, 0, 16, 16]
    assert red[0] > 0.8 and red[1] < 0.2


def test_depth_is_weight_times_z() -> None:
    gaussians, cameras = one((0.0, -0.5, 0.0), opacity=0.6), orbit([0.0], [0.0], size=33)
    rendering = render(gaussians, cameras)
    torch.testing.assert_close(rendering.alpha[0, 0, 16, 16].item(), 0.6, rtol=1e-4, atol=0)
    torch.testing.assert_close(rendering.depth, rendering.alpha * 2.2)


def test_pixels_stop_before_they_are_opaque() -> None:
    """Alpha is half a time: after thirteen times 1.2e-4 is left, and the fourteenth is not drawn."""
    stack = joined(*(one((0.0, 0.01 * i, 0.0), opacity=0.5, scale=5.0) for i in range(40)))
    alpha = render(stack, orbit([0.0], [0.0], size=17)).alpha[0, 0, 8, 8].item()
    assert alpha == pytest.approx(1 - 0.5**13, abs=1e-6)


def test_nothing_to_draw(rig: Cameras) -> None:
    empty = leaves(scene(0))
    rendering = render(empty, rig, background=0.25)
    assert rendering.image.shape == (3, 3, 54, 70)
    assert (rendering.image == 0.25).all() and (rendering.alpha == 0).all() and (rendering.depth == 0).all()
    rendering.image.sum().backward()
    assert empty.means.grad.shape == (0, 3)
    assert render(scene(5), rig[:0]).image.shape == (0, 3, 54, 70)


def test_out_of_view() -> None:
    cameras = orbit([0.0], [0.0], size=32)
    for mean in ((0.0, -3.0, 0.0), (9.0, 0.0, 0.0), (0.0, 0.0, -9.0), (0.0, -2.695, 0.0)):
        gaussian = leaves(one(mean))
        rendering = render(gaussian, cameras)
        assert (rendering.alpha == 0).all()
        rendering.image.sum().backward()
        assert all((t.grad == 0).all() for t in tensors(gaussian))
    assert (render(one((0.0, 0.0, 0.0), opacity=0.003), cameras).alpha == 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_told_and_not_drawn_in_a_training(rig: Cameras, value: float) -> None:
    good = scene(50)
    expected = render(good, rig).image
    for field in good.tensors():
        bad = scene(1)
        getattr(bad, field)[0, ...] = value
        with pytest.raises(UserError, match=r"1 of 51 Gaussians hold NaN.*gaussians\[gaussians.drawable\]"):
            render(joined(good, bad), rig)
        assert torch.equal(joined(good, bad).drawable, torch.arange(51) < 50)
        image = render_batch([joined(good, bad)], [rig])[0].image
        if not (field in ("sh0", "opacities") and value < 0):  # these are clamped: black, and invisible
            assert torch.equal(image, expected), field
        assert image.isfinite().all()


def test_backgrounds(rig: Cameras) -> None:
    gaussians = scene(50)
    black, alpha = render(gaussians, rig, 0.0).image, render(gaussians, rig).alpha
    one_a_camera = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        render(gaussians, rig, one_a_camera).image, black + (1 - alpha) * one_a_camera[:, :, None, None]
    )
    torch.testing.assert_close(
        render(gaussians, rig, one_a_camera[0]).image, black + (1 - alpha) * one_a_camera[0, :, None, None]
    )


def test_gradient_of_the_background(rig: Cameras) -> None:
    behind = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rendering = render(scene(50), rig, behind)
    weights = torch.randn(rendering.image.shape, generator=torch.Generator().manual_seed(1))
    (weights * rendering.image).sum().backward()
    expected = (weights * (1 - rendering.alpha)).sum((2, 3))
    torch.testing.assert_close(behind.grad, expected, rtol=1e-4, atol=1e-3)


def test_autocast_and_other_precisions(rig: Cameras) -> None:
    gaussians = scene(50)
    expected = render(gaussians, rig).image
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(render(gaussians, rig).image, expected)
    double = replace(gaussians, means=gaussians.means.double().requires_grad_())
    image = render(double, rig).image
    assert torch.equal(image, expected)
    image.sum().backward()
    assert double.means.grad.dtype == torch.float64


def test_cuda_without_gsplat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", None)
    monkeypatch.delitem(sys.modules, "gsplat.cuda._backend", raising=False)
    with pytest.raises(UserError, match=r"facelift\[cuda\]"):
        render(scene(3), canonical_rig(16), backend="cuda")


def test_unknown_backend() -> None:
    with pytest.raises(UserError, match="auto, cpu or cuda"):
        render(scene(3), canonical_rig(16), backend="vulkan")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_is_the_reference(rig: Cameras) -> None:
    pytest.importorskip("gsplat", reason="needs gsplat: pip install -e '.[cuda]'")
    gaussians = scene(400)
    on_gpu = leaves(gaussians.to("cuda"))
    rendering = render(on_gpu, rig)
    sum(image.square().sum() for image in astuple_of(rendering)).backward()
    on_cpu = leaves(gaussians)
    images = astuple_of(render(on_cpu, rig))
    sum(image.square().sum() for image in images).backward()
    for found, expected in zip(astuple_of(rendering), images, strict=True):
        assert (found.cpu() - expected).abs().mean() < 1e-3
    for field, found, expected in zip(gaussians.tensors(), tensors(on_gpu), tensors(on_cpu), strict=True):
        error = (found.grad.cpu() - expected.grad).norm() / expected.grad.norm()
        assert error < 0.05, f"{field}: {error:.1e}"


def test_several_heads_are_drawn_as_each_is_alone(rig: Cameras) -> None:
    heads = [scene(400), scene(30)]
    for drawn, head in zip(render_batch(heads, [rig, rig], 0.5), heads, strict=True):
        for found, expected in zip(astuple_of(drawn), astuple_of(render(head, rig, 0.5)), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_cuda_too_and_at_once(rig: Cameras) -> None:
    pytest.importorskip("gsplat", reason="needs gsplat: pip install -e '.[cuda]'")
    broken = scene(30)
    broken.means[3] = torch.nan
    heads = [leaves(head.to("cuda")) for head in (scene(400), broken, scene(0))]
    rigs = [rig.to("cuda")] * len(heads)
    loss = sum(image.square().sum() for drawn in render_batch(heads, rigs) for image in astuple_of(drawn))
    together = torch.autograd.grad(loss, [x for head in heads[:2] for x in tensors(head)])
    alone = [render(head, rig) for head in heads]
    for found, expected in zip(render_batch(heads, rigs), alone, strict=True):
        for one, other in zip(astuple_of(found), astuple_of(expected), strict=True):
            assert (one - other).abs().max() < 1e-4
    loss = sum(image.square().sum() for drawn in alone for image in astuple_of(drawn))
    for one, other in zip(
        together, torch.autograd.grad(loss, [x for head in heads[:2] for x in tensors(head)]), strict=True
    ):
        assert (one - other).norm() <= 1e-3 * other.norm()

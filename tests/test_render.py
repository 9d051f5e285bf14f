"""The rasterisers against brute force in float64: images, gradients, and the edges of the contract."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from reference_rasterizer import reference_render

from facelift.cameras import Cameras, look_at, orbit
from facelift.gaussians import Gaussians
from facelift.render import Rendering, render


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
    """Gaussians so wide and so clear that a small image is smooth in all of their fields."""
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=0.3 * (torch.rand(count, 3, generator=generator) - 0.5),
        quats=torch.randn(count, 4, generator=generator),
        scales=0.6 + 0.5 * torch.rand(count, 3, generator=generator),
        opacities=0.3 + 0.4 * torch.rand(count, generator=generator),
        sh0=0.8 * torch.randn(count, 3, generator=generator),
    )


def tensors(gaussians: Gaussians) -> list[torch.Tensor]:
    return [getattr(gaussians, f.name) for f in fields(gaussians)]


def leaves(gaussians: Gaussians) -> Gaussians:
    return Gaussians(*(t.clone().requires_grad_() for t in tensors(gaussians)))


def assert_same(rendering: Rendering, expected: tuple[torch.Tensor, ...], tolerance: float = 2e-5) -> None:
    """Equal, but for the odd pixel where a contribution of 1/255 falls on the other side of its threshold."""
    for name, value in zip(("image", "alpha", "depth"), expected, strict=True):
        error = (getattr(rendering, name).double() - value).abs()
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
    expected = reference_render(*(t.double() for t in tensors(gaussians)), rig)
    assert_same(render(gaussians, rig), expected)


def test_camera_among_the_gaussians() -> None:
    """Some behind the camera, some in front of the near plane, some far to the side of it."""
    gaussians = scene(300, spread=1.0)
    cameras = Cameras(
        look_at(torch.tensor([[0.3, -0.9, 0.2]])), torch.tensor([[50.0, 60.0, 30.0, 34.0]]), 64, 64
    )
    expected = reference_render(*(t.double() for t in tensors(gaussians)), cameras)
    assert_same(render(gaussians, cameras), expected, 1e-4)


@pytest.mark.parametrize("scales", [(0.001, 0.01), (0.005, 0.15), (0.1, 1.0)])
def test_gradients_are_the_reference(rig: Cameras, scales: tuple[float, float]) -> None:
    gaussians = leaves(scene(200, seed=1, scales=scales))
    exact = [t.detach().double().requires_grad_() for t in tensors(gaussians)]
    expected = reference_render(*exact, rig)
    rendering = render(gaussians, rig)
    found = (rendering.image, rendering.alpha, rendering.depth)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(value.shape, generator=generator) for value in found]
    sum((w * value).sum() for w, value in zip(weights, found, strict=True)).backward()
    sum((w * value).sum() for w, value in zip(weights, expected, strict=True)).backward()
    for field, value, truth in zip(fields(gaussians), tensors(gaussians), exact, strict=True):
        error = (value.grad.double() - truth.grad).norm() / truth.grad.norm()
        assert error < 2e-3, f"{field.name}: {error:.1e}"


@pytest.mark.parametrize("output", ["image", "alpha", "depth"])
def test_gradients_are_finite_differences(output: str) -> None:
    cameras = orbit([0.0, 100.0], [10.0, -30.0], size=10)
    gaussians = leaves(soft_scene(4))
    generator = torch.Generator().manual_seed(3)
    value = getattr(render(gaussians, cameras), output)
    weights = torch.randn(value.shape, generator=generator)
    (weights * value).sum().backward()

    exact = [t.detach().double() for t in tensors(gaussians)]
    channel = ("image", "alpha", "depth").index(output)
    step = 1e-5
    for field, leaf, entry in zip(fields(gaussians), tensors(gaussians), exact, strict=True):
        flat = entry.view(-1)
        slopes = []
        for i in range(len(flat)):
            sides = []
            for sign in (1, -1):
                flat[i] += sign * step
                sides.append((weights * reference_render(*exact, cameras)[channel]).sum())
                flat[i] -= sign * step
            slopes.append((sides[0] - sides[1]) / (2 * step))
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        torch.testing.assert_close(
            gradient.double(),
            torch.stack(slopes).view_as(gradient),
            rtol=1e-3,
            atol=1e-4,
            msg=lambda m: f"{field.name}: {m}",
        )


def test_threads_change_nothing(rig: Cameras) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            gaussians = leaves(scene(3000, scales=(0.005, 0.05)))
            rendering = render(gaussians, rig)
            (rendering.image.square().sum() + rendering.alpha.sum() + rendering.depth.sin().sum()).backward()
            results.append(
                [rendering.image, rendering.alpha, rendering.depth, *(t.grad for t in tensors(gaussians))]
            )
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)

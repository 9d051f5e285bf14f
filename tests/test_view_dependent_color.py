"""Colour that depends on the direction of view: drawn as the equations say, and degree 0 is as it was."""

from __future__ import annotations

import sys
from dataclasses import astuple, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reference_rasterizer import harmonics, reference_render
from test_render import assert_same, astuple_of, one, scene, soft_scene
from torch import Tensor

from facelift.cameras import Cameras, orbit
from facelift.errors import UserError
from facelift.gaussians import SH_C0, Gaussians
from facelift.refine import RefineConfig, refine
from facelift.render import cuda, render, render_batch
from facelift.spherical_harmonics import basis

COUNTS = (3, 8, 15)


def colorful(gaussians: Gaussians, count: int, strength: float = 0.5) -> Gaussians:
    """The same with random coefficients above degree 0; some of the colours fall below 0."""
    generator = torch.Generator().manual_seed(count)
    return replace(gaussians, shN=strength * torch.randn(len(gaussians), count, 3, generator=generator))


def exactly(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, ...]:
    named = {name: field.double() for name, field in gaussians.tensors().items()}
    return reference_render(**named, cameras=cameras)


@pytest.fixture
def rig() -> Cameras:
    """Three views of other directions and distances, in an image that is no whole number of tiles."""
    cameras = orbit([0.0, 130.0, 250.0], [0.0, 50.0, -20.0], size=70)
    return Cameras(cameras.w2c, cameras.intrinsics, 70, 54)


def test_the_reference_has_the_harmonics_of_the_package() -> None:
    """Two derivations agree: Legendre polynomials there, the well-known constants here."""
    directions = torch.nn.functional.normalize(torch.randn(99, 3, dtype=torch.float64), dim=-1)
    np.testing.assert_allclose(harmonics(directions), basis(directions.numpy())[:, 1:], atol=1e-14)


@pytest.mark.parametrize("count", COUNTS)
def test_images_and_gradients_are_the_reference(rig: Cameras, count: int) -> None:
    gaussians = colorful(scene(200, seed=1), count)
    found = gaussians.map(lambda field: field.clone().requires_grad_())
    exact = gaussians.map(lambda field: field.double().requires_grad_())
    drawn, expected = render(found, rig), exactly(exact, rig)
    assert_same(drawn_without_graph(gaussians, rig), tuple(image.detach() for image in expected))
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(value.shape, generator=generator) for value in expected]
    sum((w * value).sum() for w, value in zip(weights, astuple_of(drawn), strict=True)).backward()
    sum((w * value).sum() for w, value in zip(weights, expected, strict=True)).backward()
    for name, truth in exact.tensors().items():
        error = (found.tensors()[name].grad.double() - truth.grad).norm() / truth.grad.norm()
        assert error < 2e-3, f"{name}: {error:.1e}"


def drawn_without_graph(gaussians: Gaussians, cameras: Cameras):
    with torch.no_grad():
        return render(gaussians, cameras)


@pytest.mark.parametrize("count", COUNTS)
def test_gradients_are_finite_differences(count: int) -> None:
    """Of the means as well, which turn the direction when they move."""
    cameras = orbit([0.0, 100.0], [10.0, -30.0], size=10)
    gaussians = colorful(soft_scene(3), count, 0.2)
    found = gaussians.map(lambda field: field.clone().requires_grad_())
    weights = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(3))
    (weights * render(found, cameras).image).sum().backward()
    moved, step = gaussians.map(lambda field: field.double()), 1e-5
    for name in ("means", "sh0", "shN"):
        flat, slopes = moved.tensors()[name].view(-1), []
        for i in range(len(flat)):
            flat[i] += step
            above = (weights * exactly(moved, cameras)[0]).sum()
            flat[i] -= 2 * step
            below = (weights * exactly(moved, cameras)[0]).sum()
            flat[i] += step
            slopes.append((above - below) / (2 * step))
        truth = torch.stack(slopes)
        error = (found.tensors()[name].grad.flatten().double() - truth).abs().max()
        assert error < 2e-4 * truth.abs().max() + 1e-5, f"{name}: {error:.1e}"


def test_coefficients_of_zero_change_no_bit(rig: Cameras) -> None:
    """What the harmonics add is nothing then, and everything else is the path of degree 0."""
    plain = scene(300).map(lambda field: field.clone().requires_grad_())
    zeros = replace(plain, shN=torch.zeros(300, 15, 3))
    drawn, expected = render(zeros, rig), render(plain, rig)
    for found, value in zip(astuple_of(drawn), astuple_of(expected), strict=True):
        assert torch.equal(found, value)
    gradients = torch.autograd.grad(expected.image.square().sum(), [*plain.tensors().values()])
    for found, value in zip(
        torch.autograd.grad(drawn.image.square().sum(), [*plain.tensors().values()]), gradients, strict=True
    ):
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-5)


def test_red_from_the_right_and_dark_from_the_left() -> None:
    """Coefficient 2 is that of -0.4886 x, and the view from the subject's right (-x) looks along +x."""
    ball = replace(one((0.0, 0.0, 0.0), opacity=0.99), shN=torch.zeros(1, 3, 3))
    ball.shN[0, 2, 0] = -0.4 / 0.4886025
    right, left = render(ball, orbit([90.0, 270.0], [0.0, 0.0], size=33), 0.0).image[:, 0, 16, 16].tolist()
    assert right == pytest.approx(0.99 * 0.9, abs=0.01) and left == pytest.approx(0.99 * 0.1, abs=0.01)


def test_a_turned_head_looks_the_same_from_a_camera_turned_with_it(rig: Cameras) -> None:
    axes = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4)))[0]
    turn, shift = axes * torch.linalg.det(axes), torch.tensor([0.1, -0.2, 0.3])
    moved = torch.eye(4).repeat(3, 1, 1)
    moved[:, :3, :3], moved[:, :3, 3] = turn, shift
    cameras = Cameras(rig.w2c @ torch.linalg.inv(moved), rig.intrinsics, rig.width, rig.height)
    gaussians = colorful(scene(200, seed=5), 15)
    found = render(gaussians.transformed(turn, shift), cameras).image
    assert (found - render(gaussians, rig).image).abs().mean() < 1e-4


@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 3), (5, 15, 4), (4, 15, 3), (5, 0, 3), (5, 45)])
def test_other_shapes_are_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^The shN of Gaussians must be [^\n]+\.$"):
        render(replace(scene(5), shN=torch.zeros(shape)), orbit([0.0], [0.0], size=8))


def test_nan_is_told_and_in_a_training_not_drawn(rig: Cameras) -> None:
    good = colorful(scene(50), 8)
    bad = good[:1].map(torch.clone)
    bad.shN[0, 5, 1] = torch.nan
    both = Gaussians(**{k: torch.cat([v, bad.tensors()[k]]) for k, v in good.tensors().items()})
    with pytest.raises(UserError, match="1 of 51 Gaussians hold NaN"):
        render(both, rig)
    assert torch.equal(render_batch([both], [rig])[0].image, render(good, rig).image)


def test_any_number_of_threads_gives_the_same_bits(rig: Cameras) -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            leaves = colorful(scene(500), 15).map(lambda field: field.clone().requires_grad_())
            drawn = render(leaves, rig)
            drawn.image.square().sum().backward()
            results.append([drawn.image.detach(), *(leaf.grad for leaf in leaves.tensors().values())])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_the_fit_keeps_what_it_does_not_fit() -> None:
    gaussians, cameras = colorful(scene(60), 8), orbit([0.0, 90.0], [0.0, 0.0], size=32)
    views = render(scene(60, seed=9), cameras).image.clamp(0, 1)
    fitted = refine(gaussians, views, cameras, RefineConfig(steps=2))
    assert torch.equal(fitted.shN, gaussians.shN) and not torch.equal(fitted.sh0, gaussians.sh0)


def gsplats_rasterization(means, quats, scales, opacities, colors, *, viewmats, width, height, **how):
    """Stands in for gsplat's: takes what its documentation says it takes, and draws by brute force."""
    heads, count = means.shape[:2]
    if how["sh_degree"] is None:
        assert colors.shape == (heads, count, 3)
        sh0, rest = (colors - 0.5) / SH_C0, None
    else:
        assert colors.shape == (heads, count, (how["sh_degree"] + 1) ** 2, 3)
        sh0, rest = colors[:, :, 0], colors[:, :, 1:]
    matrices = how["Ks"]
    intrinsics = torch.stack([matrices[..., i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))], -1)
    drawn = []
    for i in range(heads):
        cameras = Cameras(viewmats[i], intrinsics[i], width, height)
        fields = (means[i], quats[i], scales[i], opacities[i], sh0[i])
        shn = None if rest is None else rest[i].double()
        color, alpha, depth = reference_render(*(f.double() for f in fields), cameras, 0.0, shn)
        drawn.append((torch.cat([color, depth], 1), alpha))
    rgbd, alpha = (torch.stack(images).float().movedim(-3, -1) for images in zip(*drawn, strict=True))
    return rgbd, alpha, {}


def test_gsplat_is_given_coefficients_in_its_own_layout(
    rig: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads of several degrees at once; no GPU is needed to see that the arguments are right."""
    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(rasterization=gsplats_rasterization))
    monkeypatch.setattr(cuda, "_require_gsplat", lambda: None)
    heads = [colorful(scene(40), 15), scene(30, seed=1), colorful(scene(20, seed=2), 3)]
    for drawn, head in zip(cuda.rasterize_batch(heads, [rig] * 3), heads, strict=True):
        for found, expected in zip(drawn, astuple(render(head, rig, 0.0)), strict=True):
            assert (found - expected).abs().max() < 2e-3
    [(found, _, _)] = cuda.rasterize_batch([heads[1]], [rig])
    assert (found - render(heads[1], rig, 0.0).image).abs().max() < 2e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_cuda_too(rig: Cameras) -> None:
    pytest.importorskip("gsplat", reason="needs gsplat: pip install -e '.[cuda]'")
    gaussians = colorful(scene(300), 15)
    found = render(gaussians.to("cuda"), rig).image.cpu()
    assert (found - render(gaussians, rig).image).abs().mean() < 1e-3

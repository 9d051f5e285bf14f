import pytest
import torch

from facelift.gaussians import SH_C0, Gaussians


def one(mean=(0.0, 0.0, 0.0), scale=0.05, opacity=0.5):
    return Gaussians(
        means=torch.tensor([mean]),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales=torch.tensor([[0.01, scale, 0.01]]),
        opacities=torch.tensor([opacity]),
        sh0=torch.zeros(1, 3),
    )


def random_gaussians(count=50):
    generator = torch.Generator().manual_seed(3)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator),
        quats=torch.randn(count, 4, generator=generator),  # not normalised, as a network gives them
        scales=torch.rand(count, 3, generator=generator) + 0.01,
        opacities=torch.rand(count, generator=generator),
        sh0=torch.randn(count, 3, generator=generator),
    )


def rotation_matrices(quats):
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def covariances(gaussians):
    half = rotation_matrices(gaussians.quats) * gaussians.scales[:, None, :]
    return half @ half.transpose(1, 2)


@pytest.mark.parametrize(
    ("kept", "fields"),
    [
        (True, {}),
        (False, {"opacity": 0.04}),
        (True, {"opacity": 0.041}),
        (False, {"scale": 0.1, "mean": (0.0, 0.0, -0.01)}),
        (False, {"scale": 0.1, "mean": (0.0, 0.0, 0.0)}),
        (True, {"scale": 0.1, "mean": (0.0, 0.0, 0.01)}),
        (True, {"scale": 0.099, "mean": (0.0, 0.0, -0.5)}),
        (False, {"mean": (0.61, -0.61, -0.61)}),
        (True, {"mean": (0.61, -0.61, -0.59)}),
        (True, {"mean": (0.61, 0.59, -0.61)}),
        (True, {"mean": (-0.59, 0.61, -0.61)}),
        (False, {"mean": (0.92, 0.0, 0.0)}),
        (False, {"mean": (0.0, -0.92, 0.0)}),
        (True, {"mean": (0.9, -0.9, 0.99)}),
        (False, {"mean": (0.0, 0.0, 1.01)}),
        (False, {"mean": (0.0, 0.0, -1.01)}),
    ],
)
def test_filters(kept, fields):
    assert len(one(**fields).filtered()) == int(kept)


def test_filtered_keeps_the_order_and_every_field():
    gaussians = random_gaussians(2000)
    kept = gaussians.filtered()
    assert 0 < len(kept) < 2000
    places = [(gaussians.means == mean).all(-1).nonzero().item() for mean in kept.means]
    assert places == sorted(places)
    for name in ("quats", "scales", "opacities", "sh0"):
        assert torch.equal(getattr(kept, name), getattr(gaussians, name)[places])


def random_rotation():
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))
    return rotation * torch.linalg.det(rotation)  # proper: determinant 1


@pytest.mark.parametrize(
    "rotation",
    [
        torch.eye(3),
        torch.tensor([1.0, -1.0, -1.0]).diag(),
        torch.tensor([-1.0, -1.0, 1.0]).diag(),
        random_rotation(),
    ],
    ids=["none", "half turn about x", "half turn about z", "random"],
)
def test_transform_moves_means_and_covariances(rotation):
    before = random_gaussians()
    scale, translation = 1.7, torch.tensor([0.1, -2.0, 3.0])
    after = before.transformed(rotation, translation, scale)
    means = torch.stack([scale * (rotation @ mean) + translation for mean in before.means])
    torch.testing.assert_close(after.means, means, atol=1e-5, rtol=1e-5)
    expected = scale**2 * rotation @ covariances(before) @ rotation.T
    torch.testing.assert_close(covariances(after), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(after.opacities, before.opacities) and torch.equal(after.sh0, before.sh0)


def test_colours_are_clamped_below_only():
    gaussians = Gaussians(
        *[torch.zeros(1, n) for n in (3, 4, 3)], torch.zeros(1), torch.tensor([[0.0, -9.0, 9.0]])
    )
    torch.testing.assert_close(gaussians.colors, torch.tensor([[0.5, 0.0, 0.5 + 9 * SH_C0]]))


def test_indexing_and_length():
    gaussians = random_gaussians(5)
    assert len(gaussians) == 5 and len(gaussians[1:3]) == 2
    assert torch.equal(gaussians[torch.tensor([4])].means, gaussians.means[4:])


def test_needles_are_shortened():
    scales = torch.tensor([[0.01, 0.5, 0.02], [0.01, 0.02, 0.03], [0.4, 0.1, 0.4]])
    gaussians = Gaussians(torch.zeros(3, 3), torch.eye(4)[:3], scales, torch.ones(3), torch.zeros(3, 3))
    expected = torch.tensor([[0.01, 0.08, 0.02], [0.01, 0.02, 0.03], [0.4, 0.1, 0.4]])
    torch.testing.assert_close(gaussians.shortened(4.0).scales, expected)
    assert torch.equal(gaussians.shortened(4.0).means, gaussians.means)

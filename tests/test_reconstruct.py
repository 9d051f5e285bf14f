"""GS-LRM against the outputs of FaceLift's own code, and what `mini` changes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from facelift.cameras import Cameras, canonical_rig, orbit_rig, overhead_rig
from facelift.devices import inference_copy
from facelift.gaussians import SH_C0, Gaussians
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.reconstruct.refinement_unet import RefinementUNet
from facelift.reconstruct.released import from_released
from facelift.refine import RefineConfig, refine
from facelift.refine.surface import fill_gaps, neighbors, normals, recolor_from_views
from facelift.render import render
from facelift.surfels import surfels
from facelift.views.visibility import HALF_DEPTH, nearest_possible_depth
from facelift.views.warp import UNKNOWN_COLOR, generate_views, warp_views

GOLDEN = Path(__file__).parent / "golden"
MINI = GSLRMConfig(
    image_size=64,
    patch_size=16,
    width=64,
    layers=2,
    head_dim=32,
    grid=8,
    residual_color=True,
    footprint_scale=True,
    skip_background=True,
)


def golden():
    tensors = load_file(GOLDEN / "gslrm_tiny.safetensors")
    by_kind = {"weights": {}, "input": {}, "output": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        by_kind[kind][rest] = tensor
    return by_kind["weights"], by_kind["input"], by_kind["output"]


def test_reproduces_the_reference_implementation():
    weights, given, expected = golden()
    model = GSLRM(GSLRMConfig(image_size=32, patch_size=8, width=64, layers=3, head_dim=16))
    model.load_state_dict(from_released(weights))
    cameras = Cameras(torch.linalg.inv(given["c2w"][0]), given["fxfycxcy"][0], 32, 32)
    with torch.no_grad():
        got = model(given["image"][0], cameras)
    for ours, theirs in {
        "means": "xyz",
        "quats": "rotation",
        "log_scales": "scaling",
        "opacity_logits": "opacity",
        "sh0": "features",
    }.items():
        mine = getattr(got, ours)
        torch.testing.assert_close(mine, expected[theirs][0].reshape(mine.shape), atol=1e-4, rtol=1e-4)


def test_loss_network_tensors_are_ignored():
    weights, _, _ = golden()
    assert (
        from_released(weights | {"loss_calculator.vgg.0.weight": torch.ones(1)}).keys()
        == from_released(weights).keys()
    )


def test_every_full_size_tensor_has_a_home():
    shapes = json.loads((GOLDEN / "full_size_shapes.json").read_text())["gslrm"]
    with torch.device("meta"):
        model = GSLRM(GSLRMConfig())
    released = from_released({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert {k: v.shape for k, v in released.items()} == {k: v.shape for k, v in model.state_dict().items()}


def views_of_a_square(size=64):
    """White views with a grey square in the middle, of even numbers of cells."""
    images = torch.ones(6, 3, size, size)
    images[:, :, 20:44, 20:44] = 0.3
    return images


def untrained(**changes):
    torch.manual_seed(0)
    model = GSLRM(replace(MINI, **changes))
    model.init_weights()
    torch.nn.init.zeros_(model.pixel_head.weight)
    return model.eval()


@torch.no_grad()
def test_colors_start_as_the_input_pixels_and_scales_as_their_footprint():
    model, images, cameras = untrained(), views_of_a_square(), canonical_rig(64)
    batch = model(images, cameras)
    colors = 0.5 + SH_C0 * batch.sh0[batch.learned :]
    cells = F.avg_pool2d(images, 2).movedim(1, -1).reshape(-1, 3)
    torch.testing.assert_close(colors, cells[batch.pixel])
    focal = canonical_rig(32).intrinsics[0, 0]
    expected = (0.5 * batch.distance / focal)[:, None].expand(-1, 3)
    torch.testing.assert_close(batch.activated().scales[batch.learned :], expected)


@torch.no_grad()
def test_gaussians_lie_on_the_rays_of_their_cells():
    model, cameras = untrained(), canonical_rig(64)
    batch = model(views_of_a_square(), cameras)
    cells = canonical_rig(32)
    means, pixel = batch.means[batch.learned :], batch.pixel
    view, row, column = pixel // 32**2, pixel // 32 % 32, pixel % 32
    in_camera = torch.einsum("nij,nj->ni", cells.w2c[view, :3, :3], means) + cells.w2c[view, :3, 3]
    fx, fy, cx, cy = cells.intrinsics[view].unbind(-1)
    seen = in_camera[:, :2] / in_camera[:, 2:] * torch.stack([fx, fy], -1) + torch.stack([cx, cy], -1)
    torch.testing.assert_close(seen, torch.stack([column, row], -1) + 0.5, atol=1e-3, rtol=0)


@torch.no_grad()
def test_background_patches_have_no_gaussians_but_a_white_shirt_has():
    model, cameras = untrained(), canonical_rig(64)
    assert len(model(torch.ones(6, 3, 64, 64), cameras).distance) == 0
    corner = torch.ones(6, 3, 64, 64)
    corner[:, :, :10, :10] = 0.2
    assert len(model(corner, cameras).distance) == 6 * 1 * 64
    corner[:, :, :10, 50:] = 0.2  # two white patches lie between them
    assert len(model(corner, cameras).distance) == 6 * 4 * 64


def seeing(**changes):
    """A model whose tokens hang on each other: the weights of a fresh one hardly do."""
    torch.manual_seed(0)
    model = GSLRM(replace(MINI, **changes)).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@torch.no_grad()
def test_heads_side_by_side_are_what_each_is_alone():
    model, rig = seeing(overhead_tokens=(2, 3), bottom_padding=16), canonical_rig(64)
    images = [torch.rand(6, 3, 64, 64), views_of_a_square()]  # of unequal numbers of tokens
    together = model(torch.cat(images), Cameras.concatenate([rig, rig]), heads=2)
    cells = 7 * 32 * (32 + 8)  # of a head: seven views with their margins
    assert together.pixel[-1] // cells == 1
    for i, alone in enumerate(model(x, rig) for x in images):
        for field in ("means", "quats", "log_scales", "opacity_logits", "sh0"):
            mine, same = getattr(alone, field), getattr(together, field)[together.head == i]
            torch.testing.assert_close(same, mine, atol=1e-4, rtol=1e-4)
        assert torch.equal(together.pixel[together.pixel // cells == i] % cells, alone.pixel)
        assert torch.equal(together.unbatch()[i].means, together.means[together.head == i])


@torch.no_grad()
@pytest.mark.parametrize("margin", [0, 16])
def test_overhead_tokens_are_seen_from_above_and_change_nothing_else(margin):
    images, rig = torch.rand(6, 3, 64, 64), canonical_rig(64)
    plain = seeing(bottom_padding=margin)(images, rig)
    overhead = seeing(overhead_tokens=(2, 3), bottom_padding=margin)(images, rig)
    before = len(plain.means)
    torch.testing.assert_close(overhead.means[:before], plain.means, atol=1e-5, rtol=1e-5)
    assert len(overhead.means) - before == 2 * 3 * 8**2

    above = overhead.means[before:]
    pixels, _ = overhead_rig(32).project(above)
    cell = overhead.pixel[before - overhead.learned :] - 6 * 32 * (32 + margin // 2)
    torch.testing.assert_close(pixels[0], torch.stack([cell % 32, cell // 32], -1) + 0.5, atol=1e-3, rtol=0)
    assert cell.min() == 8 * 32 and cell.max() == 23 * 32 + 23, "two of four rows, three of columns"
    other = seeing(overhead_tokens=(2, 3), bottom_padding=margin)(images.flip(0), rig)
    assert not torch.allclose(other.means[before:], above, atol=1e-3), "what the crown is, the views tell"
    alone = seeing(overhead_tokens=(2, 3), bottom_padding=margin)(images[:1], rig[[0]])
    assert len(alone.means) == 2 + 32 * (32 + margin // 2), "one view alone has none"


class Told(torch.nn.Module):
    """In place of the network of details: what it is to add, made from what it is given."""

    def __init__(self, add):
        super().__init__()
        self.add = add

    def forward(self, raw, pixels):
        return self.add(raw, pixels)


@torch.no_grad()
def test_refined_gaussians_begin_as_nothing_and_are_added_cell_by_cell():
    images, rig = views_of_a_square(), canonical_rig(64)
    plain, model = seeing(bottom_padding=16), seeing(bottom_padding=16, refinement_unet=(8, 8))
    model.load_state_dict(model.state_dict() | plain.state_dict())
    model.refinement_unet.init_weights()
    before, same = plain(images, rig), model(images, rig)
    torch.testing.assert_close(same.means, before.means, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(same.sh0, before.sh0, atol=1e-6, rtol=1e-6)

    model.refinement_unet = Told(lambda raw, pixels: raw)  # says everything once more
    plain.pixel_head.weight.mul_(2)
    twice, loud = model(images, rig), plain(images, rig)
    torch.testing.assert_close(twice.means, loud.means, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(twice.opacity_logits, loud.opacity_logits, atol=1e-4, rtol=1e-4)

    def red(raw, pixels):  # adds to a cell's colour the red of its 2 x 2 pixels, where there are tokens
        added = torch.zeros_like(raw)
        added[:, 3:6] = pixels[:, :4].mean(1, keepdim=True) * pixels[:, -1:]
        return added

    model.refinement_unet = Told(red)
    padded = F.pad(images, (0, 0, 0, 16), mode="replicate")
    colors = F.avg_pool2d(padded, 2)[:, 0].flatten()[before.pixel] * 2 - 1
    seen = model(images, rig).sh0 - before.sh0
    torch.testing.assert_close(seen[2:], colors[:, None].expand(-1, 3), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_refined_gaussians_are_computed_in_full_precision():
    images, rig = views_of_a_square(), canonical_rig(64)
    model = seeing(refinement_unet=(8, 8))
    plain = model(images, rig)
    with torch.autocast("cpu", torch.bfloat16):
        held = inference_copy(model, torch.bfloat16)(images, rig)
    assert model.refinement_unet.conv_in.weight.dtype == torch.float32 and held.sh0.dtype == torch.float32
    assert (held.means - plain.means).abs().median() < 0.05


def test_refined_gaussians_see_beyond_their_cell_and_learn():
    torch.manual_seed(0)
    network = RefinementUNet(raw=14, pixels=13, widths=(8, 16))
    raw, pixels = torch.randn(1, 14, 16, 16), torch.randn(1, 13, 16, 16)
    network.init_weights()
    assert network(raw, pixels).eq(0).all()
    network(raw, pixels).sum().backward()
    assert network.conv_out.weight.grad.abs().sum() > 0
    torch.nn.init.normal_(network.conv_out.weight)
    pixels.requires_grad_()
    network(raw, pixels)[0, :, 8, 8].sum().backward()
    reach = pixels.grad[0].abs().sum(0)
    assert reach[8, 5] > 0 and reach[8, 11] > 0 and reach[0, 0] == 0


def test_overhead_tokens_are_no_more_than_a_view_has():
    with pytest.raises(ValueError, match="more patches than a view"):
        replace(MINI, overhead_tokens=(5, 3))


def test_refined_gaussians_need_pairs_of_cells():
    with pytest.raises(ValueError, match="even number of cells"):
        replace(MINI, refinement_unet=(8, 8), bottom_padding=2)


def test_the_margin_goes_on_below_the_frame():
    images, cameras = views_of_a_square(), canonical_rig(64)
    images[:, :, 50:] = images[:, :, 49:50]  # the square reaches the bottom of the frame
    images[:, :, -1] = torch.tensor([0.9, 0.1, 0.1])[:, None]
    plain, continued = untrained(), untrained(bottom_padding=16)
    with torch.no_grad():
        inside, more = plain(images, cameras), continued(images, cameras)
    below = more.pixel % (40 * 32) >= 32 * 32
    assert below.sum() > 0 and len(more.pixel) - below.sum() == len(inside.pixel)
    points = more.means[more.learned :][below]
    view = more.pixel[below] // (40 * 32)
    seen = torch.einsum("nij,nj->ni", cameras.w2c[view, :3, :3], points) + cameras.w2c[view, :3, 3]
    rows = seen[:, 1] / seen[:, 2] * cameras.intrinsics[0, 1] + cameras.intrinsics[0, 3]
    assert rows.min() > 64 and rows.max() < 80, "each lies on its own ray"
    colors = 0.5 + SH_C0 * more.sh0[more.learned :][below]
    assert (colors[:, 0] > colors[:, 1] + 0.5).all(), "in the colours of the last row"


def test_images_and_cameras_must_agree():
    with pytest.raises(ValueError, match="cameras"):
        untrained()(views_of_a_square(), canonical_rig(32))


@torch.autocast("cpu", enabled=False)
def ball(camera, centre, radius):
    """(S, S) distances along a camera's rays to a ball, NaN where they miss it."""
    origins, directions = camera.rays()
    to_centre = torch.as_tensor(centre) - origins[0]
    along = (to_centre * directions[0]).sum(-1)
    inside = radius**2 - to_centre.square().sum(-1) + along**2
    return torch.where(inside > 0, along - inside.clamp_min(0).sqrt(), torch.nan)


class GreenBall(torch.nn.Linear):
    """A stand-in for GS-LRM that finds a ball on the subject's left, which is world x > 0."""

    centre, radius = (0.5, 0.0, 0.0), 0.1

    def __init__(self):
        super().__init__(1, 1)
        self.given = []

    def distances(self, image, camera):
        self.given.append((image, camera))
        return ball(camera, self.centre, self.radius)

    def portrait(self):
        """The ball in green on white, and its matte."""
        matte = ball(canonical_rig(256)[[0]], self.centre, self.radius).isfinite()[None].float()
        return 1 - matte * torch.tensor([1.0, 0.0, 1.0])[:, None, None], matte


def test_warped_views_are_the_front_view_seen_from_all_six_cameras():
    reconstructor = GreenBall()
    portrait, matte = reconstructor.portrait()
    warped = warp_views(reconstructor.distances, portrait, matte)
    views, confidence = warped.images, warped.confidence
    ((image, camera),) = reconstructor.given
    assert torch.equal(image, portrait)
    torch.testing.assert_close(camera.w2c, canonical_rig(256).w2c[:1])
    assert torch.equal(views[0], portrait) and torch.equal(warped.coverage[0], matte)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(warp_views(reconstructor.distances, portrait, matte).images, views), (
            "places are exact in any case"
        )
    ink = ((views[1:, 1] - views[1:, 0]) > 0.5).float()
    columns = (ink.sum(dim=1) * (torch.arange(256) + 0.5)).sum(dim=1) / ink.sum(dim=(1, 2))
    front_right, right, back, left, front_left = columns.tolist()
    assert right > 130 and left < 126, "what is before the world's middle, on the face's side"
    assert back < 104 and front_right > 148 and front_left > 148, (
        "on the left from behind, on the right before"
    )
    assert (confidence[0] == 1).all()
    for i, column in ((1, front_right), (5, front_left)):
        assert confidence[i, 0, 128, int(column)] > 0.9, "the ball's near side is as good as a photo"
    assert confidence[3, 0, 128, int(back)] == 0, "from behind, who knows what is before it"
    for i in range(1, 6):
        assert confidence[i, 0, :64].min() == 1 and views[i, :, :64].min() == 1, "nothing is above the ball"
    unknown = (views[1:] - torch.tensor(UNKNOWN_COLOR)[:, None, None]).abs().amax(dim=1) < 0.05
    assert unknown[1, :, 132:].sum() < 0.1 * unknown[1, :, :128].sum(), "its shadow lies behind the ball"
    assert not (confidence[1:, 0] > 0)[unknown].any()


def test_generated_views_keep_what_is_known_and_their_own_matte():
    class Generating:
        config = SimpleNamespace(warped_views=True, matte=True)

        def generate(self, portrait, warped):
            return torch.cat([torch.full((6, 3, 256, 256), 0.9), torch.full((6, 1, 256, 256), 0.6)], dim=1)

    portrait, matte = torch.full((3, 256, 256), 0.95), GreenBall().portrait()[1]
    generated = generate_views(Generating(), GreenBall().distances, portrait, matte)
    assert torch.equal(generated.images[0], portrait), "the photo keeps its whites"
    assert torch.equal(generated.coverage[0], matte)
    unknown = generated.confidence[:, 0] == 0
    assert unknown.any()
    assert (generated.images.movedim(1, -1)[unknown] == 0.9).all()
    assert (generated.coverage[:, 0][unknown] == 0.6).all()
    empty = generated.confidence[1:, 0, :20] == 1
    assert empty.any() and (generated.coverage[1:, 0, :20][empty] == 0).all(), "above the ball is nothing"


@torch.no_grad()
def test_surfels_look_like_the_surface_from_aside():
    """A striped ball, by its definition: what one camera sees of it, from 45 degrees to either side."""

    def painted_ball(camera):
        distance = ball(camera, (0.0, 0.0, 0.0), 0.5)
        origins, directions = camera.rays()
        points = origins[0] + distance[..., None] * directions[0]
        stripes = 0.5 + 0.4 * torch.sin(15 * points)
        seen = distance.isfinite()
        image = torch.where(seen[..., None], stripes, 1.0).movedim(-1, 0)
        return distance, image, seen[None].float(), -points[..., 1] / 0.5

    front, *_ = cameras = [canonical_rig(256)[[i]] for i in (0, 1, 5)]
    distance, image, matte, _ = painted_ball(front)
    surface, facing = surfels(distance, image, matte, front)
    assert facing.min() > 0 and facing.max() <= 1
    straight = surface.means[:, 1] < -0.49  # the middle of what the camera sees
    assert facing[straight].min() > 0.95 and facing[surface.means[:, 1] > -0.2].max() < 0.35
    for camera in cameras:
        truth, drawn = painted_ball(camera), render(surface, camera)
        well_seen = truth[3].nan_to_num(0) > 0.5
        assert drawn.alpha[0, 0][well_seen].min() > 0.85, "no holes"
        error = (drawn.image[0] - truth[1]).abs()[:, well_seen]
        assert error.mean() < 0.03, "in its own colours, where they belong"


@torch.no_grad()
def test_surfels_have_no_white_in_them_and_do_not_bridge_what_is_apart():
    """A grey square before a black wall, its outline half covered as a photo's is."""
    camera = canonical_rig(64)[[0]]
    distance = torch.full((64, 64), 2.0)
    distance[:, 32:] = 3.0
    matte = torch.ones(1, 64, 64)
    matte[:, :4], matte[:, 4] = 0.0, 0.6
    image = (0.3 * matte + 1 - matte).expand(3, -1, -1)
    surface, _ = surfels(distance, image, matte, camera)
    assert len(surface) == 60 * 64
    torch.testing.assert_close(surface.colors, torch.full((len(surface), 3), 0.3))
    assert surface.scales.max() < 1.5 * 3.0 / camera.intrinsics[0, 0], "a pixel or so wide, at the gap too"
    torch.testing.assert_close(torch.linalg.det(rotations(surface.quats)), torch.ones(len(surface)))


def rotations(quats):
    w, x, y, z = quats.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


@torch.no_grad()
@pytest.mark.parametrize("grid", [16, 8])
def test_distances_are_those_of_the_gaussians(grid):
    model, portrait, front = untrained(grid=grid), views_of_a_square()[0], canonical_rig(64)[[0]]
    torch.nn.init.normal_(model.pixel_head.weight, std=0.02)
    batch, side = model(portrait[None], front), 16 // grid
    distance = model.distances(portrait, front)
    assert distance.shape == (64, 64) and distance.isnan().any(), "nothing is known of white patches"
    cells = torch.full((64 // side,) * 2, torch.nan)
    cells.view(-1)[batch.pixel] = batch.distance
    if side == 1:
        torch.testing.assert_close(distance, cells, equal_nan=True)
    else:  # half way between four Gaussians, their mean
        middle, mean = F.avg_pool2d(distance[None, 1:-1, 1:-1], 2)[0], F.avg_pool2d(cells[None], 2, 1)[0]
        both = middle.isfinite() & mean.isfinite()
        assert both.sum() > 100
        torch.testing.assert_close(middle[both], mean[both])


def test_what_a_view_rules_out():
    """A ball at the world's centre, by its definition: what the front camera sees, and what it hides."""
    rig, radius = canonical_rig(128), 0.4
    _, directions = rig[[0]].rays()
    depth = ball(rig[[0]], (0.0, 0.0, 0.0), radius) * directions[0, ..., 1]  # the camera looks along y
    depth = torch.where(depth.isfinite(), depth, torch.inf)
    nearest = nearest_possible_depth(depth, rig[[0]], rig[1:])[:, 0]
    assert nearest.shape == (5, 128, 128)
    limb = 2.7 * math.tan(math.asin(radius / 2.7))  # where the shadow's edge crosses the plane y = 0
    right = nearest[1, 64]  # seen from world x < 0; the face's side is on the right
    assert abs(right[64] - (2.7 - limb)) < 0.06
    edge = right.isfinite().nonzero().max() + 0.5
    focal = rig.intrinsics[1, 0]
    seen = 64 + focal * radius / (2.7**2 - radius**2) ** 0.5
    assert abs(edge - seen) < 4, "up to the ball's foremost point, nothing before it"
    assert right[:32].isfinite().any(), "and anything may be behind"
    assert nearest[:, :20].isinf().all(), "nothing is above"
    through = nearest[2, 64, 64]  # from behind: up to the box's end
    assert abs(through - (2.7 - HALF_DEPTH)) < 0.06


def a_sphere_of_gaussians():
    torch.manual_seed(0)
    return Gaussians(
        means=F.normalize(torch.randn(300, 3), dim=-1) * 0.6,
        quats=torch.randn(300, 4),
        scales=torch.full((300, 3), 0.06),
        opacities=torch.full((300,), 0.8),
        sh0=torch.randn(300, 3),
    )


def test_refinement_recovers_what_was_lost():
    """Views rendered from Gaussians, refined from grey, shrunk and displaced copies of them."""
    true, cameras = a_sphere_of_gaussians(), canonical_rig(32)
    views, between = render(true, cameras).image, orbit_rig(5, 32)
    blurred = replace(
        true,
        means=true.means + 0.02 * torch.randn(300, 3),
        scales=true.scales * 0.7,
        sh0=torch.zeros(300, 3),
    )
    refined = refine(blurred, views, cameras, RefineConfig())
    before, after = (_errors(g, cameras, views) for g in (blurred, refined))
    assert (after < before / 4).all(), "of any such head: they come to a ninth and less"
    before, after = (_errors(g, between, render(true, between).image) for g in (blurred, refined))
    assert (after < before / 2).all(), "and not only in the views that it was fitted to"
    assert torch.equal(refine(blurred, views, cameras, RefineConfig(steps=0)).sh0, blurred.sh0)
    again = refine(blurred, views, cameras, RefineConfig())
    assert torch.equal(again.sh0, refined.sh0), "deterministic"


def test_a_rim_does_not_take_the_white_behind_it():
    """Half-covered pixels are explained by opacity where the coverage is known, else by paler colours."""
    true, cameras = a_sphere_of_gaussians(), canonical_rig(32)
    true = replace(true, sh0=torch.full((300, 3), -1.0), opacities=torch.full((300,), 0.5))
    drawn = render(true, cameras)
    start = replace(true, opacities=torch.full((300,), 0.9))
    errors = {}
    for coverage in (None, drawn.alpha):
        refined = refine(start, drawn.image, cameras, RefineConfig(), coverage)
        errors[coverage is None] = (render(refined, cameras).alpha - drawn.alpha).square().mean()
    assert errors[False] < errors[True] / 2


def test_refinement_trusts_the_photo_more_than_generated_views():
    true, cameras = a_sphere_of_gaussians(), canonical_rig(96)
    views = render(true, cameras).image
    lies = torch.cat([views[:1], views[1:].flip(1)])  # red for blue
    known = torch.zeros(6, 1, 96, 96)
    known[0] = 1
    refined = refine(replace(true, sh0=torch.zeros(300, 3)), lies, cameras, RefineConfig(), confidence=known)
    errors = _errors(refined, cameras, lies)
    assert errors[0] < errors[1:].min() / 2
    known[3] = 1
    surer = refine(replace(true, sh0=torch.zeros(300, 3)), lies, cameras, RefineConfig(), confidence=known)
    assert _errors(surer, cameras, lies)[3] < errors[3]


def a_wall(spacing, y=0.0):
    """Thin Gaussians in a grid that faces the front camera."""
    grid = torch.arange(-0.5, 0.5, spacing)
    x, z = (c.flatten() for c in torch.meshgrid(grid, grid, indexing="ij"))
    return Gaussians(
        means=torch.stack([x, torch.full_like(x, y), z], dim=-1),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(len(x), 4),
        scales=torch.tensor([0.008, 0.001, 0.008]).expand(len(x), 3),
        opacities=torch.full_like(x, 0.95),
        sh0=torch.zeros(len(x), 3),
    )


def together(*clouds):
    return Gaussians(*map(torch.cat, zip(*(c.tensors().values() for c in clouds), strict=True)))


def widened(gaussians):
    return fill_gaps(gaussians, neighbors(gaussians, 16)[1], RefineConfig())


def test_a_closed_surface_has_no_holes_and_keeps_its_thickness():
    camera = canonical_rig(256)[[0]]
    middle = slice(96, 160), slice(96, 160)
    loose, dense = a_wall(0.03), a_wall(0.004)
    assert render(loose, camera).alpha[0, 0][middle].min() < 0.5
    assert render(widened(loose), camera).alpha[0, 0][middle].min() > 0.8
    assert (widened(loose).scales[:, 1] == 0.001).all()
    assert torch.equal(widened(dense).scales, dense.scales), "what has no holes stays as it is"
    far = a_wall(0.4)
    assert widened(far).scales.max() <= 3 * 0.008 + 1e-6, "nobody reaches across a gulf"
    assert len(widened(loose[:3])) == 3 and len(widened(loose[:0])) == 0


def test_normals_are_those_of_the_surface():
    """On a ball they are the radii, of either sign."""
    points = F.normalize(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)), dim=-1) * 0.6
    ball = replace(a_wall(0.6), means=points)
    found = normals(points, neighbors(ball, 16)[0])
    assert torch.allclose(found.norm(dim=-1), torch.ones(4000))
    assert (found * points / 0.6).sum(dim=-1).abs().median() > 0.998


def test_what_stands_out_of_a_surface_goes_back_into_it():
    """A wall whose Gaussians lie a fifth of a pixel before and behind it: the views hardly tell."""
    true, cameras = a_wall(0.01), canonical_rig(64)
    rough = 0.008 * torch.randn(len(true), generator=torch.Generator().manual_seed(0))
    start = replace(true, means=true.means + rough[:, None] * torch.tensor([0.0, 1.0, 0.0]))
    views = render(true, cameras).image

    def roughness(config):
        return refine(start, views, cameras, config).means[:, 1].square().mean().sqrt()

    smooth = roughness(RefineConfig())
    assert smooth < 0.004
    assert roughness(RefineConfig(flatness=0.0)) > 2 * smooth


def test_what_no_view_shows_takes_after_its_neighbours():
    """A red Gaussian between two grey walls: hidden from the six cameras, a speck from between them."""
    walls = a_wall(0.02, y=-0.01), a_wall(0.02, y=0.01)
    grey = widened(together(*walls))
    red = a_wall(0.6)  # four of them
    red = replace(red, sh0=torch.tensor([0.5, -0.5, -0.5]).expand(len(red), 3) / SH_C0)
    both = together(grey, red)
    cameras = canonical_rig(64)
    refined = refine(both, render(grey, cameras).image, cameras, RefineConfig())
    difference = (refined.colors - 0.5).abs().amax(dim=-1)
    assert difference[: len(grey)].max() < 0.1
    assert difference[len(grey) :].max() < 0.25


def test_paint_comes_from_the_views_that_see_a_gaussian_and_most_from_the_photo():
    """A wall before another: the front camera sees one, the back camera the other."""
    cameras = canonical_rig(128)
    walls = a_wall(0.01, y=-0.2), a_wall(0.01, y=0.2)
    both = widened(together(*walls))
    red, green, blue = torch.eye(3)
    views = blue[:, None, None].expand(6, 3, 128, 128).clone()
    views[0], views[3] = red[:, None, None], green[:, None, None]
    known = torch.zeros(6, 1, 128, 128)
    known[0] = 1
    colors = recolor_from_views(both, views, cameras, known, RefineConfig()).colors
    inside = both.means[:, [0, 2]].abs().amax(-1) < 0.4
    before, behind = inside & (both.means[:, 1] < 0), inside & (both.means[:, 1] > 0)
    torch.testing.assert_close(colors[before], red.expand_as(colors[before]), atol=0.15, rtol=0)
    assert (colors[behind, 0] < 0.2).all(), "the photo's colour does not go through to the back"
    assert (colors[behind, 1] > 0.35).all()
    white = recolor_from_views(both, torch.ones_like(views), cameras, known, RefineConfig())
    assert torch.equal(white.sh0, both.sh0), "background is nobody's colour"


def _errors(gaussians, cameras, views):
    return (render(gaussians, cameras).image - views).square().mean(dim=(1, 2, 3))

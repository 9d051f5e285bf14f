"""The measurement, on predictions and sets whose every score is known."""

import json
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from heads import write_ball, write_balls
from PIL import Image

from configs import views_config
from facelift.cameras import canonical_rig, orbit, orbit_rig
from facelift.data.reader import HeadFolder, Views
from facelift.data.split import folder_name
from facelift.errors import UserError
from facelift.evaluate import Report, evaluate, learned
from facelift.evaluate.baselines import MeanHead, MeanImages, billboard, colored, rendered
from facelift.evaluate.consistency import neighbor_psnr
from facelift.evaluate.curves import Chart, draw
from facelift.evaluate.groups import GROUPS, groups_of
from facelift.evaluate.metrics import (
    Prediction,
    Target,
    depth_error,
    masked_psnr,
    psnr,
    rounded,
    silhouette_iou,
    ssim,
)
from facelift.evaluate.page import page
from facelift.evaluate.protocols import TURN_AZIMUTHS, model_predictions, targets_of, turned_target
from facelift.evaluate.report import Record, Scale
from facelift.evaluate.sets import TestSet
from facelift.evaluate.statistics import estimate
from facelift.evaluate.tables import Table, tables
from facelift.gaussians import Gaussians
from facelift.head import Head
from facelift.pipeline import FaceLift
from facelift.portrait import prepare_portrait
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.views import ViewGenerator, ViewGeneratorConfig

SIZE = 64


def views_of(images, alpha=None, depth=None, cameras=None):
    alpha = torch.ones(len(images), 1, *images.shape[2:]) if alpha is None else alpha
    return Views(images, alpha, depth, cameras or orbit_rig(len(images), images.shape[-1]))


def targets(images, **truth):
    return Target(images[0], views_of(images, **truth))


def noise(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# --- measures with a known prediction


def test_psnr_of_known_errors():
    truth = noise((4, 3, 128, 128)) * 0.5 + 0.25
    error = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)) * 0.05
    torch.testing.assert_close(psnr(Prediction(truth + 0.1), targets(truth)), torch.full((4,), 20.0))
    expected = torch.full((4,), -20 * math.log10(0.05))
    torch.testing.assert_close(psnr(Prediction(truth + error), targets(truth)), expected, atol=0.1, rtol=0)
    assert psnr(Prediction(truth), targets(truth)).tolist() == [100.0] * 4


def test_psnr_of_a_known_shift():
    stripes = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(16).expand(1, 3, 64, 64)
    shifted = [psnr(Prediction(stripes.roll(k, -1)), targets(stripes)).item() for k in (1, 2)]
    assert shifted == pytest.approx([10 * math.log10(2), 0], abs=1e-4)


def test_psnr_is_of_each_image():
    truth = torch.ones(2, 3, 16, 16)
    images = truth * torch.tensor([1.0, 0.9]).reshape(2, 1, 1, 1)
    assert psnr(Prediction(images), targets(truth)).tolist() == pytest.approx([100, 20], abs=1e-4)


def test_masked_psnr_ignores_the_background():
    truth, alpha = torch.full((1, 3, 16, 16), 0.5), torch.zeros(1, 1, 16, 16)
    alpha[..., :4, :] = 1
    for background in (0.5, 0.0, 1.0):
        image = torch.full_like(truth, background)
        image[..., :4, :] = 0.6
        assert masked_psnr(Prediction(image), targets(truth, alpha=alpha)).item() == pytest.approx(
            20, abs=1e-4
        )
    image = truth.clone()
    image[..., :4, :] = 0.6
    assert psnr(Prediction(image), targets(truth)).item() == pytest.approx(20 + 10 * math.log10(4), abs=1e-4)


def test_ssim_of_known_pairs():
    truth = noise((2, 3, 48, 48))
    assert ssim(Prediction(truth), targets(truth)).tolist() == pytest.approx([1, 1], abs=1e-5)
    # Of two flat images only the luminance term is left: (2ab + c1) / (a² + b² + c1) with c1 = 0.01².
    flat = torch.full((1, 3, 48, 48), 0.5)
    found = ssim(Prediction(flat + 0.2), targets(flat)).item()
    assert found == pytest.approx((2 * 0.5 * 0.7 + 1e-4) / (0.25 + 0.49 + 1e-4), abs=1e-4)
    assert ssim(Prediction(noise((1, 3, 48, 48), 5)), targets(truth[:1])).item() < 0.1


def test_silhouette_iou_of_a_known_shift():
    truth, alpha = torch.ones(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    alpha[..., :8] = 1
    target = targets(truth, alpha=alpha)
    found = [silhouette_iou(Prediction(truth, alpha.roll(k, -1)), target).item() for k in (0, 2, 8)]
    assert found == pytest.approx([1, 6 / 10, 0])
    assert silhouette_iou(Prediction(truth), target) is None


def test_depth_error_counts_where_both_are_the_head():
    truth, alpha = torch.ones(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    alpha[..., :8] = 1
    depth = torch.full((1, 16, 16), 2.5)
    target = targets(truth, alpha=alpha, depth=depth * alpha[:, 0])
    assert depth_error(Prediction(truth, alpha, depth + 0.02), target).item() == pytest.approx(20, abs=1e-3)
    assert depth_error(Prediction(truth, 1 - alpha, depth), target).isnan().item()
    assert depth_error(Prediction(truth, alpha, depth), targets(truth, alpha=alpha)) is None


def test_neighbours_of_a_true_ball_agree_and_of_a_wrong_depth_do_not(tmp_path):
    cameras = orbit([0, 12, 24], [0, 5, 0], SIZE)
    write_ball(tmp_path / "head_000001", cameras, 0.7, (0.8, 0.4, 0.3))
    true = HeadFolder(tmp_path, held_out=True).load("head_000001", depth=True)
    target = Target(true.images[0], true)
    good = neighbor_psnr(Prediction(true.images, true.alpha, true.depth), target)
    assert (good > 30).all()
    # Every view in a grey of its own: the error is the greys' difference, wherever both look.
    greys = torch.tensor([0.2, 0.3, 0.5]).reshape(3, 1, 1, 1).expand_as(true.images)
    found = neighbor_psnr(Prediction(greys, true.alpha, true.depth), target)
    decibels = [-20 * math.log10(error) for error in (0.1, 0.2)]
    assert found[[0, 2]].tolist() == pytest.approx(decibels, abs=0.2)
    elsewhere = true.depth * torch.tensor([1, 1.2, 1.4]).reshape(3, 1, 1)  # no two views see one surface
    assert neighbor_psnr(Prediction(greys, true.alpha, elsewhere), target)[:2].isnan().all()
    assert neighbor_psnr(Prediction(greys), target) is None


def test_the_order_of_two_models_is_the_same_as_png(tmp_path):
    """Scores are of 8-bit images, so that a detour through a PNG changes no pixel, let alone an order."""
    truth = rounded(noise((3, 3, 32, 32)))
    models = [truth + 0.02 * noise(truth.shape, seed) for seed in (1, 2)]
    for measure in (psnr, ssim, masked_psnr):
        direct, stored = [], []
        for k, images in enumerate(models):
            direct.append(measure(Prediction(rounded(images)), targets(truth)).mean().item())
            pixels = []
            for i, image in enumerate(rounded(images)):
                path = tmp_path / f"{k}_{i}.png"
                Image.fromarray(image.mul(255).round().byte().movedim(0, -1).numpy()).save(path)
                pixels.append(torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0).float() / 255)
            assert torch.equal(torch.stack(pixels), rounded(images))
            stored.append(measure(Prediction(torch.stack(pixels)), targets(truth)).mean().item())
        assert direct == pytest.approx(stored, rel=1e-6)
        assert direct[0] != direct[1]


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (24, 2.069), (100, 1.984)])
def test_the_interval_is_students(n, quantile):
    values = np.random.default_rng(0).normal(20, 2, n)
    found = estimate(values.tolist())
    assert found.mean == pytest.approx(values.mean())
    assert found.margin == pytest.approx(quantile * values.std(ddof=1) / math.sqrt(n), rel=0.01)


def test_one_person_has_no_interval():
    assert estimate([20.0]).text() == "20.00"


# --- identity, and the measures whose weights are not here


def face_question():
    image = Image.open(Path(__file__).parents[1] / "examples/portrait.jpg").convert("RGB")
    # The face, framed about as a portrait frames it.
    from facelift.portrait import prepare_portrait

    portrait = rounded(prepare_portrait(image, 256, matting="none").image)
    images = torch.stack([portrait, portrait.flip(-1), torch.ones_like(portrait)])
    return Target(portrait, views_of(images))


def test_identity_by_dlib_knows_a_face_from_a_smear():
    from facelift.evaluate.identity import dlib_measure

    measure, target = dlib_measure(), face_question()
    same = measure.of(Prediction(target.truth.images), target)
    assert same[0].item() == pytest.approx(0, abs=1e-6)
    assert same[1].item() < 0.45 and same[2].isnan()  # a mirrored face is still the face; white has none
    smeared = torch.nn.functional.avg_pool2d(target.truth.images, 33, 1, 16)
    assert (measure.of(Prediction(smeared), target)[:2] > 0.6).all()


def test_identity_looks_for_a_face_itself_where_the_truth_is_unknown():
    from facelift.evaluate.identity import dlib_measure

    measure, target = dlib_measure(), face_question()
    aside = turned_target(target.portrait)
    assert sorted(TURN_AZIMUTHS) == list(TURN_AZIMUTHS) and max(TURN_AZIMUTHS) == -min(TURN_AZIMUTHS) == 30
    moved = torch.ones_like(target.portrait)
    moved[:, :, 40:] = target.portrait[:, :, :-40]
    shown = torch.stack([target.portrait, moved, torch.ones_like(moved), *[moved] * 3])
    found = measure.of(Prediction(shown), aside)
    assert found[0].item() == pytest.approx(0, abs=1e-6)
    assert found[1].item() < 0.2, "a face elsewhere is found"
    assert found[2].item() > 0.6, "no face is no excuse"


def test_identity_near_the_front_is_a_median_over_views():
    azimuths = {"single-image": [350.0, 30.0, 31.0, 180.0, 329.0], "turned": [10.0, 330.0]}
    scores = {
        "single-image": {"model": {"identity": [0.1, 0.3, 9.0, 9.0, 9.0]}},
        "turned": {"model": {"identity": [0.2, None]}},
    }
    scale = Scale("identity", "identity", False, 3)
    report = Report({}, [scale], {}, [Record("a", "a", azimuths, scores)], [])
    assert report.near_front("single-image", "model", "identity") == [0.1, 0.3]
    assert report.near_front("turned", "model", "identity") == [0.2]
    (table,) = [table for table in tables(report) if table.title == "Is it still that person?"]
    assert [row[-1] for row in table.rows] == ["0.200", "0.200"]


def test_arcface_sees_eyes_nose_and_mouth_where_it_expects_them():
    from facelift.evaluate.identity import ARCFACE_POINTS, arcface_chip

    landmarks = np.zeros((68, 2))
    turn = 1.7 * np.array([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    points = ARCFACE_POINTS @ turn.T + (20, 30)
    landmarks[36:42], landmarks[42:48] = points[0], points[1]
    landmarks[30], landmarks[48], landmarks[54] = points[2:]
    view = np.full((256, 256, 3), 255, np.uint8)
    for x, y in points:
        view[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = 0
    chip = arcface_chip(view, landmarks)
    assert chip.shape == (112, 112, 3)
    for x, y in ARCFACE_POINTS:
        assert chip[round(y), round(x), 0] < 80
    assert chip.mean() > 240


def test_what_cannot_be_measured_says_why(monkeypatch, tmp_path):
    from facelift.evaluate.identity import arcface_measure

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="--fetch allows the download"):
        arcface_measure(fetch=False)

    def missing(name):
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

    monkeypatch.setattr(learned.importlib, "import_module", missing)
    for load in (learned.lpips_measure, learned.dreamsim_measure):
        with pytest.raises(UserError, match="torchvision is not installed"):
            load(fetch=True)
    monkeypatch.setattr(learned.importlib, "import_module", lambda name: SimpleNamespace())
    for load in (learned.lpips_measure, learned.dreamsim_measure):
        with pytest.raises(UserError, match=r"weights are not in .*--fetch"):
            load(fetch=False)


def test_lpips_and_dreamsim_are_asked_for_each_view(monkeypatch, tmp_path):
    """Their own networks are too much for a test; what is handed to them is not."""
    seen = []

    def lpips(a, b, normalize):
        seen.append((a.shape, normalize))
        return (a - b).abs().mean().reshape(1, 1, 1, 1)

    def dreamsim(a, b):
        seen.append((a.shape, None))
        return (a - b).abs().mean().reshape(1)

    modules = {
        "lpips": SimpleNamespace(LPIPS=lambda net, verbose: lpips),
        "dreamsim": SimpleNamespace(dreamsim=lambda pretrained, device, cache_dir: (dreamsim, None)),
    }
    monkeypatch.setattr(learned.importlib, "import_module", modules.__getitem__)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    truth = torch.full((2, 3, 32, 32), 0.5)
    for load in (learned.lpips_measure, learned.dreamsim_measure):
        values = load(fetch=True).of(Prediction(truth + 0.25), targets(truth))
        assert values.tolist() == pytest.approx([0.25, 0.25], abs=1e-4)
    assert seen == [((1, 3, 32, 32), True)] * 2 + [((1, 3, 224, 224), None)] * 2


# --- baselines


def test_the_billboard_is_the_portrait_from_the_rig_and_smaller_from_afar():
    portrait, alpha = noise((3, 32, 32)), noise((1, 32, 32))
    same = billboard(portrait, alpha, canonical_rig(32))
    torch.testing.assert_close(same.images, portrait.expand(6, -1, -1, -1), atol=1e-4, rtol=0)
    torch.testing.assert_close(same.alpha, alpha.expand(6, -1, -1, -1), atol=1e-4, rtol=0)
    far = billboard(torch.zeros(3, 32, 32), torch.ones(1, 32, 32), orbit([30], [10], 32, radius=5.4))
    assert (far.alpha > 0.5).float().mean().item() == pytest.approx(0.25, abs=0.01)  # half as wide and high
    assert far.images[0, :, 0, 0].tolist() == [1, 1, 1]
    assert far.depth.mean().item() == pytest.approx(5.4, abs=1e-4)


def test_the_mean_images_are_means():
    mean = MeanImages()
    for grey in (0.2, 0.6):
        mean.add(views_of(torch.full((2, 3, 8, 8), grey)))
    assert mean.prediction().images.mean().item() == pytest.approx(0.4) and mean.heads == 2


def test_the_mean_head_of_balls_is_the_ball_between(tmp_path):
    rig = canonical_rig(128)
    mean = MeanHead()
    for seed, radius in ((1000, 0.5), (1001, 0.6), (1002, 0.7)):
        write_ball(tmp_path / folder_name(seed), rig, radius, (0.5, 0.5, 0.5))
        mean.add(HeadFolder(tmp_path).load(folder_name(seed), depth=True))
    gaussians = mean.gaussians()
    radii = gaussians.means.norm(dim=-1)
    assert radii.median().item() == pytest.approx(0.6, abs=0.03)
    portrait = torch.ones(3, 64, 64)
    portrait[:, 20:40, 20:40] = torch.tensor([0.8, 0.4, 0.2]).reshape(3, 1, 1)
    prediction = rendered(colored(gaussians, portrait), orbit([20], [30], 128))
    assert prediction.images[0, :, 64, 64].tolist() == pytest.approx([0.8, 0.4, 0.2], abs=0.02)
    assert prediction.depth[0, 64, 64].item() == pytest.approx(2.7 - 0.6, abs=0.05)
    focal = 128 / 2 / math.tan(math.radians(25))
    areas = [math.pi * (focal * r) ** 2 / (2.7**2 - r**2) for r in (0.6, 0.7)]
    assert areas[0] < (prediction.alpha > 0.5).sum().item() < areas[1]


# --- sets


@pytest.fixture
def balls(tmp_path):
    """Three held-out balls, and one that was trained on."""
    write_balls(tmp_path / "set", 3, SIZE, first_seed=0)
    for kind in ("canonical", "orbit"):
        shutil.copytree(tmp_path / "set" / kind / folder_name(0), tmp_path / "set" / kind / folder_name(1000))
    return tmp_path / "set"


def in_one_folder(balls, root):
    """The same heads in FaceLift's second layout: all views of a head together, in no order."""
    for head in sorted((balls / "canonical").iterdir()):
        folder = root / head.name
        (folder / "images").mkdir(parents=True)
        (folder / "depth").mkdir()
        frames = []
        for kind, places in (("orbit", [3, 0]), ("canonical", [5, 0, 2, 1, 4, 3]), ("orbit", [1, 2])):
            source = balls / kind / head.name
            records = json.loads((source / "opencv_cameras.json").read_text())["frames"]
            for i in places:
                name, depth = f"cam_{len(frames):03d}.png", f"depth_{len(frames):03d}.png"
                shutil.copy(source / records[i]["file_path"], folder / "images" / name)
                shutil.copy(source / "depth" / f"depth_{i:03d}.png", folder / "depth" / depth)
                frames.append({**records[i], "file_path": f"images/{name}"})
        (folder / "opencv_cameras.json").write_text(json.dumps({"frames": frames}))
    return root


def test_both_layouts_show_the_same(balls, tmp_path):
    apart, together = TestSet(balls), TestSet(in_one_folder(balls, tmp_path / "together"))
    assert apart.names == together.names == [folder_name(k) for k in range(3)]
    one, other = apart.load(folder_name(1)), together.load(folder_name(1))
    torch.testing.assert_close(one.canonical.images, other.canonical.images)
    torch.testing.assert_close(one.canonical.depth, other.canonical.depth)
    torch.testing.assert_close(one.canonical.cameras.w2c, canonical_rig(SIZE).w2c, atol=1e-3, rtol=0)
    order = [3, 0, 1, 2]
    torch.testing.assert_close(one.orbit.images[order], other.orbit.images)
    assert (apart.size, len(apart), len(TestSet(balls, 2))) == (SIZE, 3, 2)


def test_a_set_is_measured_at_a_smaller_size(balls):
    whole, half = TestSet(balls), TestSet(balls, size=SIZE // 2)
    assert half.size == SIZE // 2 and half.checksum == whole.checksum
    one, other = (found.load(folder_name(1)).orbit for found in (whole, half))
    blocks = one.images.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))
    torch.testing.assert_close(other.images, blocks.mean(dim=(-3, -1)))
    depths = one.depth.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).movedim(-3, -2).flatten(-2)
    nearest = torch.where(depths > 0, depths, torch.inf).amin(-1)
    torch.testing.assert_close(other.depth, torch.where(nearest.isinf(), 0.0, nearest))
    points = torch.tensor([[0.1, -0.2, 0.3]])
    torch.testing.assert_close(other.cameras.project(points)[0], one.cameras.project(points)[0] / 2)
    torch.testing.assert_close(half.orbit_cameras(folder_name(1)).intrinsics, other.cameras.intrinsics)
    with pytest.raises(UserError, match="whole part"):
        TestSet(balls, size=SIZE // 2 + 1)


def test_six_views_alone_are_a_set(balls, tmp_path):
    """FaceLift's own sample has no cameras file and no name of ours."""
    head = tmp_path / "six" / "sample_000"
    shutil.copytree(balls / "canonical" / folder_name(0), head)
    (head / "opencv_cameras.json").unlink()
    found = TestSet(tmp_path / "six")
    assert found.names == ["sample_000"] and found.load("sample_000").orbit is None
    assert [*targets_of(found.load("sample_000"))] == ["views", "front"]


def test_a_sample_in_facelifts_own_layout_is_a_set(tmp_path):
    """Six pictures and nothing else: no cameras, no depth."""
    write_ball(tmp_path / "sample_000", canonical_rig(SIZE), 0.6, (0.8, 0.5, 0.4))
    (tmp_path / "sample_000/opencv_cameras.json").unlink()
    shutil.rmtree(tmp_path / "sample_000/depth")
    (tmp_path / "data_mvdiff_val.txt").write_text("data_sample/mvdiffusion/sample_000\n")
    found = TestSet(tmp_path)
    assert (found.names, found.size) == (["sample_000"], SIZE)
    assert found.load("sample_000").canonical.depth is None


def test_two_lights_are_one_person(balls, tmp_path):
    for light in ("light_0", "light_1"):
        in_one_folder(balls, tmp_path / "bench" / light)
    found = TestSet(tmp_path / "bench", 2)
    assert found.people == [folder_name(0), folder_name(1)]
    assert found.names == [f"light_{k}/{folder_name(i)}" for k in range(2) for i in range(2)]
    assert found.person("light_1/" + folder_name(1)) == folder_name(1)


def test_the_checksum_is_of_what_the_set_shows(balls, tmp_path):
    shutil.copytree(balls, tmp_path / "copy")
    assert TestSet(tmp_path / "copy").checksum == TestSet(balls).checksum
    path = tmp_path / "copy" / "orbit" / folder_name(0) / "images/cam_000.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0] = 7
    Image.fromarray(pixels).save(path)
    assert TestSet(tmp_path / "copy").checksum != TestSet(balls).checksum


def spoil_cameras(path, **changes):
    record = json.loads(path.read_text())
    record["frames"][2].update(changes)
    path.write_text(json.dumps(record))


def test_a_spoiled_set_is_refused_with_the_files_name(balls, tmp_path):
    def refused(text, kind="orbit", spoil=lambda head: None):
        root = tmp_path / "spoiled"
        shutil.copytree(balls, root)
        spoil(root / kind / folder_name(1))
        with pytest.raises(UserError, match=text):
            found = TestSet(root)
            found.load(folder_name(1))
        shutil.rmtree(root)

    white = Image.fromarray(np.zeros((SIZE, SIZE, 4), np.uint8))
    refused("head_000001/images/cam_002.png is missing", spoil=lambda h: (h / "images/cam_002.png").unlink())
    refused(
        "head_000001/depth/depth_001.png is missing", spoil=lambda h: (h / "depth/depth_001.png").unlink()
    )
    refused(
        "head_000001/images/cam_003.png is 32 x 32 pixels, not 64 x 64",
        spoil=lambda h: white.resize((32, 32)).save(h / "images/cam_003.png"),
    )
    refused(
        "canonical/head_000001/cam_004.png is damaged",
        "canonical",
        lambda h: (h / "cam_004.png").write_bytes(b"not a picture"),
    )
    refused(
        "head_000001/images/cam_000.png is missing or damaged",
        spoil=lambda h: (h / "images/cam_000.png").write_bytes((h / "images/cam_000.png").read_bytes()[:200]),
    )
    refused("cam_001.png shows nothing", spoil=lambda h: white.save(h / "images/cam_001.png"))
    refused(
        "opencv_cameras.json has a camera that is not a number, that of images/cam_002.png",
        spoil=lambda h: spoil_cameras(h / "opencv_cameras.json", fx=math.nan),
    )
    refused("opencv_cameras.json cannot be read", spoil=lambda h: (h / "opencv_cameras.json").write_text("["))


def test_a_missing_first_view_without_cameras_is_named(balls, tmp_path):
    head = tmp_path / "six" / "sample_000"
    shutil.copytree(balls / "canonical" / folder_name(0), head)
    (head / "opencv_cameras.json").unlink()
    (head / "cam_000.png").unlink()
    with pytest.raises(UserError, match=r"sample_000/cam_000.png is missing"):
        TestSet(tmp_path / "six")


def test_training_heads_are_never_measured_on(balls, tmp_path):
    with pytest.raises(UserError, match="3 people to measure on, not 4"):
        TestSet(balls, 4)
    for kind in ("canonical", "orbit"):
        for k in range(3):
            shutil.rmtree(balls / kind / folder_name(k))
    with pytest.raises(UserError, match="0 people"):
        TestSet(balls)
    with pytest.raises(UserError, match="There is no folder"):
        TestSet(tmp_path / "nothing")


# --- the whole run, with a model whose predictions are known


def ball(radius, grey, count=4000):
    """Gaussians on a sphere."""
    points = torch.nn.functional.normalize(
        torch.randn(count, 3, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    return Gaussians(
        points * radius,
        torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        torch.full((count, 3), 0.02),
        torch.full((count,), 0.95),
        torch.full((count, 3), (grey - 0.5) / 0.28209479),
    )


class Fake:
    """Generates one grey everywhere, and a grey ball."""

    def __init__(self, size=SIZE, offset=0.2):
        self.size, self.offset, self.targets = size, offset, []
        self.weights = torch.nn.Linear(1, 1)
        with torch.no_grad():
            self.weights.weight.fill_(offset)
            self.weights.bias.zero_()

    def __call__(self, photo, seed=0, prepared=False):
        if isinstance(photo, Path):
            if photo.stem == "wall":
                raise UserError("No face was found in wall.png: use another.")
            photo = np.asarray(Image.open(photo).convert("RGB"), np.float32) / 255
        self.targets.append(seed)
        portrait = torch.from_numpy(np.ascontiguousarray(photo)).movedim(-1, 0)
        views = torch.full((6, 3, self.size, self.size), self.offset)
        return SimpleNamespace(portrait=portrait, views=views, gaussians=ball(0.6, 0.5), faces=1)

    def reconstruct(self, views):
        assert views.shape == (6, 4, self.size, self.size)
        return ball(0.6, 0.5)


@pytest.fixture
def no_faces(monkeypatch):
    """Loading dlib's networks takes a second; balls have no face."""
    import facelift.evaluate.measures as module

    def absent():
        raise UserError("left out of this test")

    monkeypatch.setattr(module, "dlib_measure", absent)


@pytest.fixture
def run(balls, tmp_path, no_faces):
    write_balls(tmp_path / "train", 2, SIZE)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "wall.png"):
        Image.fromarray(np.full((SIZE, SIZE, 3), 120, np.uint8)).save(photos / name)

    def run(model, out="out", people=None, **options):
        return evaluate(
            model, balls, tmp_path / out, tmp_path / "train", photos, people, seed=7, name="fake", **options
        )

    return run


def test_the_report(run, tmp_path, balls):
    model = Fake()
    report = run(model)
    assert set(model.targets) == {7}
    out = tmp_path / "out"
    names = ["curves.svg", "grid.png", "report.html", "report.json", "report.md"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert not (tmp_path / "out.progress").exists()
    assert Report.read(out) == report
    assert report.protocols() == ["views", "reconstruction", "single-image", "front", "photo"]
    assert report.methods("single-image") == ["model", "truth", "mean", "billboard", "mean_head"]
    # What the model says to `views` is one grey, so its PSNR is known from the truth alone.
    truth = TestSet(balls).load(folder_name(1)).canonical.images[1:]
    expected = (-10 * (rounded(truth) - torch.tensor(0.2)).square().mean((1, 2, 3)).log10()).mean()
    assert report.people("views", "model", "psnr")[folder_name(1)] == pytest.approx(expected.item(), abs=1e-4)
    text = (out / "report.md").read_text()
    for part in (
        "## views",
        "## reconstruction",
        "masked PSNR, dB ↑",
        "depth error, 10⁻³ ↓",
        "(over ",
        "](curves.svg)",
    ):
        assert part in text, part
    assert "| LPIPS | not measured: " in text and "| identity (dlib) | not measured: left out" in text
    assert "| wall.png | not measured: No face was found in wall.png: use another. |" in text
    assert "| front_left |" in text
    html = (out / "report.html").read_text()
    assert (
        html.count("<svg") == 1
        and "data:image/png;base64," in html
        and "http" not in re.sub(r'"http://www\.w3\.org/[^"]*"', "", html)
    )
    read = json.loads((out / "report.json").read_text())
    assert read["summary"]["front"]["model"]["psnr"]["people"] == 3
    assert read["facts"]["set_checksum"] == TestSet(balls).checksum


def test_the_margin_is_over_the_best_baseline(run):
    report = run(Fake(), people=2)
    for scale in report.scales:
        found = report.margin("single-image", scale)
        if found is None:
            continue
        baselines = {
            m: report.people("single-image", m, scale.key) for m in ("mean", "billboard", "mean_head")
        }
        means = {m: sum(v.values()) / len(v) for m, v in baselines.items() if v}
        best = (max if scale.higher_is_better else min)(means, key=means.get)
        mine = report.people("single-image", "model", scale.key)
        sign = 1 if scale.higher_is_better else -1
        assert found[0] == best
        assert found[1].mean == pytest.approx(sign * (sum(mine.values()) / len(mine) - means[best]), abs=1e-6)


def test_a_model_of_another_size_is_compared_at_the_sets_size(run):
    small = run(Fake(size=32), "small", people=1)
    same = run(Fake(), "same", people=1)
    assert small.facts["size"] == same.facts["size"] == SIZE
    for protocol in ("reconstruction", "single-image", "front", "views"):
        found = [r.people(protocol, "model", "psnr")[folder_name(0)] for r in (small, same)]
        assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_a_killed_run_goes_on(run, tmp_path):
    class Killed(Fake):
        def __call__(self, *arguments, **options):
            if len(self.targets) == 2:
                raise KeyboardInterrupt
            return super().__call__(*arguments, **options)

    with pytest.raises(KeyboardInterrupt):
        run(Killed())
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="the progress of another measurement"):
        run(Fake(offset=0.4))
    second = Fake()
    report = run(second)
    assert len(second.targets) == 1 + 1  # the third head and the photo
    again = run(Fake(), "again")
    assert report.records == again.records
    pictures = [np.asarray(Image.open(tmp_path / out / "grid.png")) for out in ("out", "again")]
    assert (pictures[0] == pictures[1]).all()


def test_without_training_heads_the_report_says_so(balls, tmp_path, no_faces):
    report = evaluate(Fake(), balls, tmp_path / "out", people=1)
    assert report.methods("views") == ["model", "truth", "billboard"]
    assert report.not_measured["mean_head"] == "no training heads were given (--train)"
    other = write_balls(tmp_path / "other", 1, SIZE)
    shutil.rmtree(other / "orbit")
    write_ball(other / "orbit" / folder_name(1000), orbit_rig(5, SIZE), 0.6, (0.5,) * 3)
    report = evaluate(Fake(), balls, tmp_path / "out", other, people=1)
    assert "not seen from the set's own cameras" in report.not_measured["mean, single-image"]
    assert "mean" in report.methods("views") and "mean" not in report.methods("single-image")


def test_curves_and_page_are_well_formed():
    from xml.etree import ElementTree

    svg = draw(
        [[Chart("a < b", {"ours": [(-165, 1.0), (15, 2.0)], "flat": [(15, 2.0)]})], [Chart("none", {})]]
    )
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "ours", "flat", "front"} <= {*texts} and "none" not in texts
    groups = [g.get("id") or "" for g in root.iter("{http://www.w3.org/2000/svg}g")]
    assert sum(group.startswith("axes_") for group in groups) == 1, "a chart without a point is left out"
    again = [[Chart("a < b", {"ours": [(-165, 1.0), (15, 2.0)], "flat": [(15, 2.0)]})], []]
    assert draw(again) == svg, "the same numbers give the same file"
    html = page("T", "a < b", [Table("x", "", ("h",), [("<1>",)])], svg, [])
    assert "a &lt; b" in html and "&lt;1&gt;" in html


# --- real classes


def tiny_model():
    torch.manual_seed(0)
    config = views_config(SIZE, [8, 8], cross_attention_dim=8, groups=4, steps=2, guidance=1.0)
    reconstructor = GSLRM(
        GSLRMConfig(image_size=SIZE, patch_size=16, width=32, layers=1, head_dim=16, grid=4)
    )
    views = ViewGenerator(ViewGeneratorConfig(**config))
    return FaceLift(views.eval(), reconstructor.eval(), torch.device("cpu"))


def test_a_real_model_goes_through(balls):
    model = tiny_model()
    sample = TestSet(balls, 1).load(folder_name(0))
    target = targets_of(sample)
    predicted = model_predictions(model, sample, target, seed=0)
    assert {k: v.images.shape[0] for k, v in predicted.items()} == {
        "views": 5,
        "front": 1,
        "reconstruction": 4,
        "single-image": 4,
    }
    cut_out = torch.cat([rounded(sample.canonical.images), sample.canonical.alpha], dim=1)
    gaussians = model.reconstruct(cut_out)
    direct = Head(sample.canonical.images[0], sample.canonical.images, gaussians, 0)
    expected = direct.render(sample.orbit.cameras)
    torch.testing.assert_close(predicted["reconstruction"].images.clamp(0, 1), expected, atol=1e-5, rtol=0)


def test_a_model_is_given_what_the_portrait_shows_cut_out(balls):
    sample = TestSet(balls, 1).load(folder_name(0))
    given = []

    class Recording:
        size = SIZE

        def __call__(self, photo, **options):
            given.append(prepare_portrait(photo, SIZE, prepared=options["prepared"]))
            raise StopIteration

    with pytest.raises(StopIteration):
        model_predictions(Recording(), sample, targets_of(sample), seed=0)
    torch.testing.assert_close(given[0].image, sample.canonical.images[0], atol=0.01, rtol=0)
    torch.testing.assert_close(given[0].alpha, sample.canonical.alpha[0], atol=0.01, rtol=0)


# --- kinds of people


def someone(**differences):
    person = {"skin_tone": [0.9, 0.75, 0.68], "male": 0.2, "age": 62.0, "glasses": None, "hat": None}
    return person | {"beard": None, "hair": "hair/bob01/bob01.mhclo", "turn": [2.0, 0, 0]} | differences


def test_groups_follow_what_the_generator_wrote(tmp_path):
    def groups(text):
        (tmp_path / "person.json").write_text(text)
        return groups_of(tmp_path)

    assert groups_of(tmp_path) == [] == groups("{") == groups("{}")
    assert groups(json.dumps(someone())) == ["light skin", "woman", "55 and over"]
    other = someone(skin_tone=[0.36, 0.25, 0.2], male=0.9, age=30, hat={}, turn=[-9, 0, 0], hair=None)
    assert groups(json.dumps(other)) == ["dark skin", "man", "30 to 54", "hat", "no hair", GROUPS[-1]]
    painted = someone(beard={"length": 0.0}, hair="hair/long01/long01.mhclo", skin_tone=[0.72, 0.53, 0.42])
    assert groups(json.dumps(painted)) == ["medium skin", "woman", "55 and over", "long hair"]


def test_the_report_says_for_whom(run, balls):
    for head in (balls / "canonical").iterdir():
        (head / "person.json").write_text(json.dumps(someone()))
    (balls / "canonical" / folder_name(0) / "person.json").write_text(json.dumps(someone(hat={})))
    report = run(Fake(offset=0.2), "groups")
    table = next(table for table in tables(report) if table.title == "For whom")
    rows = {row[0]: row[1:] for row in table.rows}
    assert set(rows) == {"light skin", "woman", "55 and over"}, "one hat says nothing"
    everyone = report.people("single-image", "model", "psnr")
    assert rows["woman"][0] == str(len(everyone)) and rows["woman"][1].startswith(
        f"{np.mean(list(everyone.values())):.2f}"
    )


# --- two reports


def test_two_reports_compare_in_pairs(run, tmp_path):
    from facelift.evaluate.compare import compare, differences

    a, b = run(Fake(offset=0.2), "a"), run(Fake(offset=0.4), "b")
    found = {(d.protocol, d.scale.key): d for d in differences(a, b)}
    d = found["views", "psnr"]
    pairs = [a.people("views", "model", "psnr"), b.people("views", "model", "psnr")]
    changes = np.array([pairs[1][person] - pairs[0][person] for person in pairs[0]])
    assert d.people == 3 and d.difference.mean == pytest.approx(changes.mean())
    assert d.difference.margin == pytest.approx(4.303 * changes.std(ddof=1) / math.sqrt(3), rel=0.01)
    assert d.better == "B"  # on white, the lighter grey is nearer
    assert found["front", "psnr"].difference.mean == 0 and found["front", "psnr"].better is None
    back = {(x.protocol, x.scale.key): x for x in differences(b, a)}["views", "psnr"]
    assert back.better == "A" and back.difference.mean == pytest.approx(-d.difference.mean)

    text = compare(tmp_path / "a", tmp_path / "b" / "report.json", tmp_path / "c")
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "compare.html",
        "compare.json",
        "compare.md",
    ]
    assert (tmp_path / "c/compare.md").read_text() == text and "| B |" in text
    assert (tmp_path / "c/compare.html").read_text().count("data:image/png") == 2
    records = json.loads((tmp_path / "c/compare.json").read_text())
    assert {r["better"] for r in records if r["protocol"] == "views"} >= {"B"}


def test_reports_of_different_sets_do_not_compare(run, balls, tmp_path):
    from facelift.evaluate.compare import compare, differences

    two, three = run(Fake(), "two", people=2), run(Fake(), "three")
    with pytest.raises(UserError, match="different sets"):
        differences(two, three)
    with pytest.raises(UserError, match="There is no report"):
        compare(tmp_path / "nothing", tmp_path / "two", tmp_path / "c")
    (tmp_path / "old.json").write_text('{"model": "x"}')
    with pytest.raises(UserError, match="not a report of this version"):
        compare(tmp_path / "old.json", tmp_path / "two", tmp_path / "c")

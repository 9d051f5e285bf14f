"""The measurement, on grey heads whose every score is known, and once through tiny real models."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from facelift.cameras import canonical_rig, orbit_rig
from facelift.errors import UserError
from facelift.evaluate import evaluate
from facelift.evaluate.metrics import estimate, psnr
from facelift.evaluate.protocols import HeldOutHeads, training_mean
from facelift.gaussians import Gaussians
from facelift.pipeline import FaceLift, Head
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.split import folder_name
from facelift.train.data import HeadFolder
from facelift.views import ViewGenerator, ViewGeneratorConfig

SIZE = 64
VIEWS = 3
NOTHING = Gaussians(*[torch.zeros(0, n) for n in (3, 4, 3)], torch.zeros(0), torch.zeros(0, 3))


# --- metrics


def test_psnr_of_known_errors():
    truth = torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)) * 0.05
    torch.testing.assert_close(psnr(truth + 0.1, truth), torch.full((4,), 20.0))
    torch.testing.assert_close(
        psnr(truth + noise, truth), torch.full((4,), -20 * math.log10(0.05)), atol=0.1, rtol=0
    )
    assert psnr(truth, truth).tolist() == [100.0] * 4


def test_psnr_of_a_known_shift():
    stripes = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(16).expand(1, 3, 8, 64)
    assert psnr(stripes.roll(1, -1), stripes).item() == pytest.approx(10 * math.log10(2), abs=1e-4)
    assert psnr(stripes.roll(2, -1), stripes).item() == pytest.approx(0, abs=1e-4)


def test_psnr_clamps_and_is_of_each_image():
    truth = torch.ones(2, 3, 8, 8)
    assert psnr(truth * torch.tensor([7.0, 0.9]).reshape(2, 1, 1, 1), truth).tolist() == pytest.approx(
        [100, 20], abs=1e-4
    )


def test_masked_psnr_ignores_the_background():
    truth = torch.full((1, 3, 8, 8), 0.5)
    image, mask = truth.clone(), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :2, :] = True
    image[..., :2, :] += 0.1
    for background in (0.5, 0.0, 1.0):
        image[..., 2:, :] = background
        assert psnr(image, truth, mask).item() == pytest.approx(20, abs=1e-4)
    image[..., 2:, :] = 0.5
    assert psnr(image, truth).item() == pytest.approx(20 + 10 * math.log10(4), abs=1e-4)


@pytest.mark.parametrize(("n", "quantile"), [(3, 4.303), (5, 2.776), (20, 2.093), (100, 1.984)])
def test_the_interval_is_students(n, quantile):
    values = np.random.default_rng(0).normal(20, 2, n)
    found = estimate(values.tolist())
    assert found.mean == pytest.approx(values.mean())
    assert found.margin == pytest.approx(quantile * values.std(ddof=1) / math.sqrt(n), rel=0.01)


def test_one_person_has_no_interval():
    assert str(estimate([20.0])) == "20.00"


# --- heads of one grey on white, the left half of every view


def make_heads(root, greys, size=SIZE, views=VIEWS):
    for kind, rig in (("canonical", canonical_rig(size)), ("orbit", orbit_rig(views, size))):
        for seed, grey in greys.items():
            folder = root / kind / folder_name(seed)
            folder.mkdir(parents=True)
            frames = []
            for i in range(len(rig)):
                rgba = np.zeros((size, size, 4), np.uint8)
                rgba[:, : size // 2] = (grey, grey, grey, 255)
                Image.fromarray(rgba).save(folder / f"cam_{i:03d}.png")
                intrinsics = dict(zip(("fx", "fy", "cx", "cy"), rig.intrinsics[i].tolist(), strict=True))
                place = {"w": size, "h": size, "w2c": rig.w2c[i].tolist(), "file_path": f"cam_{i:03d}.png"}
                frames.append({**place, **intrinsics})
            (folder / "opencv_cameras.json").write_text(json.dumps({"frames": frames}))
    return root


def grey_image(grey, views):
    image = torch.ones(views, 3, SIZE, SIZE)
    image[..., : SIZE // 2] = grey / 255
    return image


class FakeFaceLift:
    """Answers with heads of one grey."""

    size = SIZE
    device = torch.device("cpu")

    def __init__(self, grey):
        self.grey = grey
        self.asked = []

    def __call__(self, photo, seed=0, prepared=False):
        if isinstance(photo, Path):
            if photo.stem == "wall":
                raise UserError("No face was found in wall.png: use another.")
            photo = np.asarray(Image.open(photo), np.float32) / 255
        else:
            assert prepared
        self.asked.append(seed)
        portrait = torch.from_numpy(photo).movedim(-1, 0)
        return SimpleNamespace(
            portrait=portrait,
            views=torch.cat([portrait[None], grey_image(self.grey, 5)]),
            render=lambda cameras: grey_image(self.grey, len(cameras)),
        )

    def reconstruct(self, views):
        assert views.shape == (6, 3, SIZE, SIZE)
        return NOTHING


@pytest.fixture
def heads(tmp_path):
    return make_heads(tmp_path / "heads", {0: 102, 1: 102, 1000: 0})


@pytest.fixture
def report(heads, tmp_path):
    make_heads(tmp_path / "train", {2: 255, 1000: 51, 1001: 153})  # their mean is 102: what all look for
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, grey in (("a.png", 102), ("wall.png", 0)):
        Image.fromarray((grey_image(grey, 1)[0] * 255).byte().movedim(0, -1).numpy()).save(photos / name)
    out = tmp_path / "out"
    model = FakeFaceLift(102 + 51)  # 0.2 off on the head: 14 dB there, 17 dB over the image
    result = evaluate(model, heads, out, tmp_path / "train", photos, people=2, seed=7, name="fake")
    assert set(model.asked) == {7}
    return SimpleNamespace(result=result, out=out, read=json.loads((out / "report.json").read_text()))


def test_the_scores(report):
    protocols = report.read["protocols"]
    off, off_masked = -20 * math.log10(0.2) + 10 * math.log10(2), -20 * math.log10(0.2)
    for protocol, views in (("single-image", VIEWS), ("views", 5)):
        answers = protocols[protocol]["answers"]
        assert answers["model"]["psnr"]["mean"] == pytest.approx(off, abs=1e-3)
        assert answers["model"]["psnr"]["margin"] == pytest.approx(0, abs=1e-3)
        assert answers["model"]["masked"]["mean"] == pytest.approx(off_masked, abs=1e-3)
        assert len(answers["model"]["psnr"]["views"]) == views
        assert len(answers["model"]["psnr"]["people"]) == 2
        assert answers["mean"]["psnr"]["mean"] == pytest.approx(100, abs=1)
        assert answers["portrait"]["psnr"]["mean"] == pytest.approx(100, abs=1)
        assert protocols[protocol]["over_baseline"]["psnr"]["mean"] == pytest.approx(off - 100, abs=1)
        assert protocols[protocol]["training_heads"] == 2
    nothing = protocols["reconstruction"]["answers"]  # white where the head is
    assert nothing["model"]["masked"]["mean"] == pytest.approx(-20 * math.log10(0.6), abs=1e-3)
    assert report.read["heads"] == [folder_name(0), folder_name(1)]


def test_the_photos(report):
    good, bad = report.read["photos"]
    assert good["photo"] == "a.png" and good["psnr"] == pytest.approx(17.0, abs=0.1)
    assert bad["psnr"] is None and "No face" in bad["error"]


def test_the_report_and_the_grid(report):
    text = (report.out / "report.md").read_text()
    assert text == report.result.to_markdown()
    for part in (
        "| reconstruction",
        "| single-image",
        "| views",
        "mean of 2 training heads",
        "margin over",
        "16.99 ± 0.00",
    ):
        assert part in text
    assert "| front_left | 16.99 |" in text and "not measured: No face" in text
    pixels = np.asarray(Image.open(report.out / "grid.png"))
    assert pixels.shape == (2 * 3 * SIZE, (1 + VIEWS) * SIZE, 3)
    rows = pixels[::SIZE, ::SIZE, 0]
    assert rows.tolist() == [[102] * 4, [255] * 4, [255, 153, 153, 153]] * 2
    assert sorted(path.name for path in report.out.iterdir()) == ["grid.png", "report.json", "report.md"]


def test_without_training_heads_the_report_says_so(heads, tmp_path):
    report = evaluate(FakeFaceLift(0), heads, tmp_path / "out", people=1)
    assert report.margin("single-image", "psnr") is None
    text = report.to_markdown()
    assert text.count("not measured: no training heads were given (--train)") == 4
    read = json.loads(report.to_json())["protocols"]["views"]
    assert "mean" not in read["answers"] and "--train" in read["not_measured"]


def test_the_better_baseline_counts(heads, tmp_path):
    make_heads(tmp_path / "train", {1000: 0})
    report = evaluate(FakeFaceLift(102), heads, tmp_path / "out", tmp_path / "train", people=2)
    better, margin = report.margin("single-image", "masked")
    assert better == "portrait" and margin.mean == pytest.approx(0, abs=1)


# --- the baseline, and what is refused


def test_the_mean_is_of_training_heads_alone(tmp_path):
    make_heads(tmp_path, {0: 255, 1000: 0, 1001: 100, 1002: 50})
    mean = training_mean(tmp_path / "orbit", orbit_rig(VIEWS, SIZE), "orbit")
    assert mean.heads == 3
    torch.testing.assert_close(mean.images, grey_image(50, VIEWS))


def test_training_heads_are_never_measured_on(tmp_path):
    make_heads(tmp_path / "some", {0: 0, 1000: 0})
    assert HeldOutHeads(tmp_path / "some", 1, SIZE).names == [folder_name(0)]
    with pytest.raises(UserError, match="1 held-out heads"):
        HeldOutHeads(tmp_path / "some", 2, SIZE)
    make_heads(tmp_path / "none", {1000: 0})
    with pytest.raises(UserError, match="no held-out heads"):
        HeldOutHeads(tmp_path / "none", 1, SIZE)


def test_another_size_or_rig_is_refused(heads, tmp_path):
    with pytest.raises(UserError, match=r"64 x 64 pixels, the model's views 32 x 32.*--size 32"):
        HeldOutHeads(heads, 1, 32)
    make_heads(tmp_path / "train", {1000: 0}, views=VIEWS + 1)
    with pytest.raises(UserError, match=f"{VIEWS} views of the orbit rig"):
        evaluate(FakeFaceLift(0), heads, tmp_path / "out", tmp_path / "train", people=1)
    assert not (tmp_path / "out").exists()
    (heads / "canonical").rename(heads / "both")
    (heads / "orbit").rename(heads / "canonical")
    (heads / "both").rename(heads / "orbit")
    with pytest.raises(UserError, match="6 views of the canonical rig"):
        HeldOutHeads(heads, 1, SIZE)


# --- real classes


def tiny_model():
    torch.manual_seed(0)
    blocks = {"block_out_channels": [8, 8], "layers_per_block": 1}
    views = ViewGeneratorConfig(
        image_size=SIZE,
        fold=2,
        autoencoder={
            **blocks,
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "latent_channels": 4,
            "norm_num_groups": 4,
            "mid_block_add_attention": False,
        },
        unet={
            **blocks,
            "sample_size": 16,
            "in_channels": 8,
            "out_channels": 4,
            "down_block_types": ["CrossAttnDownBlock2D"] * 2,
            "up_block_types": ["CrossAttnUpBlock2D"] * 2,
            "cross_attention_dim": 8,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
        },
        steps=2,
        guidance=1.0,
    )
    reconstructor = GSLRM(
        GSLRMConfig(image_size=SIZE, patch_size=16, width=32, layers=1, head_dim=16, grid=4)
    )
    return FaceLift(ViewGenerator(views).eval(), reconstructor.eval(), torch.device("cpu"))


def test_a_real_model_goes_through(heads, tmp_path):
    model = tiny_model()
    report = evaluate(model, heads, tmp_path / "out", people=1)
    assert all(math.isfinite(v) for v in report.people("reconstruction", "model", "psnr"))
    six = HeadFolder(heads / "canonical", held_out=True).load(folder_name(0)).images
    gaussians = model.reconstruct(six)
    direct = Head(six[0], six, gaussians, 0).render(orbit_rig(VIEWS, SIZE))
    truth = HeadFolder(heads / "orbit", held_out=True).load(folder_name(0)).images
    assert report.views("reconstruction", "model", "psnr") == pytest.approx(
        psnr(direct, truth).tolist(), abs=1e-4
    )

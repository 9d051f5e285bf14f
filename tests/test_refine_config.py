"""The settings of the fit travel with the model, and those of version 0.1 are still read."""

import json
from dataclasses import replace

import pytest
import torch

from facelift.cameras import orbit
from facelift.errors import UserError
from facelift.gaussians import Gaussians
from facelift.refine import RefineConfig, refine
from facelift.weights import Settings, save_settings


def test_settings_are_saved_whole(tmp_path):
    settings = Settings(refinement=RefineConfig(steps=7, flatness=0.0))
    save_settings(settings, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert written["refinement"]["flatness"] == 0.0
    assert Settings.from_dict(**written) == settings


def test_version_0_1_wrote_the_steps_alone():
    assert Settings.from_dict(refinement=12).refinement == RefineConfig(steps=12)
    assert Settings.from_dict().refinement == RefineConfig()


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"boundary": 4}, {"smoothness_neighbors": 17}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError):
        RefineConfig(**wrong)


def test_settings_are_changed_by_name():
    changed = RefineConfig(steps=7).changed(["flatness=0", "recolor=false", "smoothness_neighbors=3"])
    assert changed == RefineConfig(steps=7, flatness=0.0, recolor=False, smoothness_neighbors=3)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("flat=0", "The fit has no setting 'flat'"),
        ("flatness", "The fit's flatness is a number, not ''"),
        ("recolor=maybe", "The fit's recolor is true or false, not 'maybe'"),
        ("steps=1.5", "The fit's steps is a whole number, not '1.5'"),
        ("boundary=4", "The fit cannot be set so: boundary must be an odd number"),
    ],
)
def test_a_setting_that_cannot_be_changed_so_is_one_sentence(setting, sentence):
    with pytest.raises(UserError, match=sentence):
        RefineConfig().changed([setting])


def test_without_any_loss_nothing_moves():
    """Each weight at 0 switches its loss off, that of the pictures as well."""
    rng = torch.Generator().manual_seed(0)
    means = torch.rand(40, 3, generator=rng) - 0.5
    turned = torch.nn.functional.normalize(torch.randn(40, 4, generator=rng), dim=-1)
    cloud = Gaussians(
        means, turned, torch.full((40, 3), 0.05), torch.full((40,), 0.5), torch.rand(40, 3, generator=rng)
    )
    cameras = orbit([0, 90], [0, 0], size=16)
    views = torch.rand(2, 3, 16, 16, generator=rng)
    off = RefineConfig(
        steps=2, image_weight=0.0, color_smoothness=0.0, flatness=0.0, color_prior=0.0, gap_growth=1.0
    )
    for config, moves in ((off, False), (replace(off, image_weight=1.0), True)):
        fitted = refine(cloud, views, cameras, config)
        assert torch.equal(fitted.means, cloud.means) != moves
        assert torch.allclose(fitted.sh0, cloud.sh0) != moves

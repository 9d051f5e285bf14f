"""The settings of the fit travel with the model, and those of version 0.1 are still read."""

import json

import pytest

from facelift.refine import RefineConfig
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

"""One file from the hub, when the hub cannot be reached."""

from pathlib import Path

import huggingface_hub
import pytest

from facelift.errors import UserError
from facelift.evaluate import identity
from facelift.hub import fetch_file


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch, tmp_path):
    """Without the look beforehand, the client tries for minutes."""

    def unreachable(self, repository, timeout):
        assert timeout <= 10
        raise ConnectionError("no route to host")

    def download(repository, name, local_files_only=False):
        assert local_files_only, "nothing is fetched from a hub that is not there"
        raise FileNotFoundError(name)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(UserError, match=r"net\.onnx of some/one .* cannot be reached \(no route to host\)"):
        fetch_file("some/one", "net.onnx")
    with pytest.raises(UserError, match="cannot be reached"):
        identity.arcface_measure(fetch=True)


def test_a_file_in_the_cache_needs_no_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, local_files_only: str(tmp_path / "a"))
    assert fetch_file("some/one", "a") == Path(tmp_path / "a")

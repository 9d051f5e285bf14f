"""Models on the hub: fetched once, read from the cache afterwards, and every failure one sentence.

A small server on this machine stands in for the hub, so that the real client is what is tested.
"""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from facelift import FaceLift, hub, weights
from facelift.errors import UserError

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server(BaseHTTPRequestHandler):
    """Answers as the hub does for one repository, someone/mini, with the files of the packaged model."""

    folder = weights.PACKAGED / "mini"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path, _, _ = self.path.partition("?")
        if not path.startswith(("/api/models/someone/mini", "/someone/mini")):
            return self.answer(404, b"", **{"X-Error-Code": "RepoNotFound"})
        if "/nonsense" in path:
            return self.answer(404, b"", **{"X-Error-Code": "RevisionNotFound"})
        if "/resolve/" in path:
            file = self.folder / path.split(f"/resolve/{COMMIT}/")[-1]
            return self.answer(200, file.read_bytes(), **{"X-Repo-Commit": COMMIT, "ETag": f'"{oid(file)}"'})
        files = [p for p in sorted(self.folder.rglob("*")) if p.is_file()]
        names = [str(p.relative_to(self.folder)) for p in files]
        if "/tree/" in path:
            entries = zip(names, files, strict=True)
            listing = [
                {"type": "file", "path": n, "size": p.stat().st_size, "oid": oid(p)} for n, p in entries
            ]
        else:
            listing = {"id": "someone/mini", "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
        return self.answer(200, json.dumps(listing).encode(), **{"Content-Type": "application/json"})

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def oid(file):
    return f"{abs(hash(file)):040x}"


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def find(endpoint, cache, *models):
    """What finding each (model, revision) says; in a process of its own, whose hub is `endpoint`."""
    code = (
        "import sys\nfrom facelift.weights import find_model\nfrom facelift.errors import UserError\n"
        f"for model in {models!r}:\n"
        "    try: print(find_model(*model))\n    except UserError as error: print('refused:', error)"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    env |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


NOWHERE = "http://127.0.0.1:9"


def test_a_model_is_fetched_once_and_what_is_not_there_is_named(address, tmp_path):
    models = ("someone/mini", None), ("someone/mini", "nonsense"), ("nobody/nothing", None)
    (folder, revision, repository), _ = find(address, tmp_path, *models)
    assert COMMIT in folder and FaceLift.from_pretrained(folder, device="cpu").size == 256
    assert revision == "refused: someone/mini has no revision nonsense: check --revision."
    assert repository.startswith("refused: There is no folder nobody/nothing")

    (offline, released), shown = find(NOWHERE, tmp_path, ("someone/mini", None), ("wlyu/OpenFaceLift", None))
    assert offline == folder
    assert released.startswith("refused: wlyu/OpenFaceLift is not in the cache yet")
    assert "non-commercial research only" in shown, "the licence"

    Path(folder, "views/model.safetensors").unlink()  # as an interrupted download leaves it
    (partial,), _ = find(NOWHERE, tmp_path, ("someone/mini", None))
    assert partial.startswith("refused: someone/mini")


def test_the_released_weights_are_pinned_and_their_licence_comes_first(monkeypatch, tmp_path, capsys):
    """Shown before the first download, and not again."""
    import huggingface_hub

    for part in weights.RELEASED:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
    asked = []

    def snapshot_download(repository, revision, local_files_only=False, allow_patterns=None):
        asked.append((repository, revision, local_files_only, "non-commercial" in capsys.readouterr().err))
        if not local_files_only:
            assert set(weights.RELEASED) <= set(allow_patterns)
            for part in weights.RELEASED:
                (tmp_path / part).touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    for _ in range(2):
        assert weights.find_model("wlyu/OpenFaceLift") == tmp_path
    name, pinned = "wlyu/OpenFaceLift", hub.PINNED["wlyu/OpenFaceLift"].revision
    assert len(pinned) == 40
    assert asked == [(name, pinned, True, False), (name, pinned, False, True), (name, pinned, True, False)]


def test_a_folder_has_no_revisions():
    with pytest.raises(UserError, match="no revisions"):
        weights.find_model("mini", "main")


@pytest.mark.parametrize("name", ["../x", "a/b/c", "a", "/etc/passwd", "a/../b", "https://x/y"])
def test_only_owner_and_model_are_asked_for_on_the_hub(name):
    assert not hub.is_repository(name)


def test_a_model_goes_up_whole(monkeypatch):
    """What arrives at the hub is a folder that `from_pretrained` reads."""
    import huggingface_hub

    seen = []

    class Api:
        def create_repo(self, repository, private, exist_ok):
            assert (repository, private, exist_ok) == ("me/head", True, True)
            return "https://huggingface.co/me/head"

        def upload_folder(self, repo_id, folder_path, commit_message):
            seen.append(FaceLift.from_pretrained(folder_path, device="cpu"))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    model = FaceLift.from_pretrained(device="cpu")
    assert model.push_to_hub("me/head", private=True) == "https://huggingface.co/me/head"
    for name, tensor in model.views.state_dict().items():
        assert (seen[0].views.state_dict()[name] == tensor).all()


def test_a_refused_upload_is_one_sentence(monkeypatch):
    import huggingface_hub

    class Api:
        def create_repo(self, *_, **__):
            raise OSError("401 Client Error\nlong story")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(UserError, match="me/head could not be written") as caught:
        hub.upload(ROOT, "me/head")
    assert "\n" not in str(caught.value)

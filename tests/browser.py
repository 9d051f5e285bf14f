"""Headless Chromium for tests: the system's own, drawing WebGL in software."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PHOTO = Path(__file__).parents[1] / "examples/portrait.jpg"
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def headless() -> Iterator:
    """Playwright's browser with a camera; the test is skipped where there is no Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra `test`")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    flags = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
    with tempfile.TemporaryDirectory() as folder, playwright.sync_playwright() as started:
        camera = shutil.copy(PHOTO, Path(folder) / "camera.mjpeg")  # which sees this photo for ever
        flags += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}"]
        flags += ["--use-fake-ui-for-media-stream"]  # and needs no permission
        root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox refuses root
        browser = started.chromium.launch(executable_path=program, args=flags, chromium_sandbox=not root)
        try:
            yield browser
        finally:
            browser.close()

"""Headless Chromium for tests: the system's own, drawing WebGL in software."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def headless() -> Iterator:
    """Playwright's browser; the test is skipped where there is no Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra `test`")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    flags = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
    with playwright.sync_playwright() as started:
        root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox refuses root
        browser = started.chromium.launch(executable_path=program, args=flags, chromium_sandbox=not root)
        try:
            yield browser
        finally:
            browser.close()

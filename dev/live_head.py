"""For `mkdocs build`: the example's head as a page of the site, which docs/sharing.md shows.

It takes as long as a photo takes. LIVE_HEAD=false leaves it out, see mkdocs.yml.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

PHOTO = Path(__file__).resolve().parents[1] / "examples/portrait.jpg"


def on_post_build(config: Any) -> None:
    """Write live/head.html into the built site."""
    if config["extra"]["live_head"]:
        folder = Path(config["site_dir"]) / "live"
        folder.mkdir(exist_ok=True)
        (folder / "head.html").write_text(live_page(), encoding="utf-8")


@cache  # `mkdocs serve` builds again and again
def live_page() -> str:
    """The page of the example's head."""
    from facelift import FaceLift
    from facelift.page import html_page

    return html_page(FaceLift.from_pretrained()(PHOTO).gaussians, title="Made from one photo")

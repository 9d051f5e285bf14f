"""For `mkdocs build`: the example's head as a page of the site, docs/sharing.md shows it.

It takes as long as a photo takes. LIVE_HEAD=false leaves it out, see mkdocs.yml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

PHOTO = Path(__file__).resolve().parents[1] / "examples/portrait.jpg"


def on_post_build(config: Any) -> None:
    """Write live/head.html into the built site."""
    if not config["extra"]["live_head"]:
        return
    from facelift import FaceLift

    folder = Path(config["site_dir"]) / "live"
    folder.mkdir(exist_ok=True)
    FaceLift.from_pretrained()(PHOTO).save(folder / "head.html", title="Made from one photo")

"""Makes the pictures of README and docs with this version of the product: python dev/pictures.py

From examples/portrait.jpg and the packaged model, in two minutes on two cores, into docs/images: portrait.png
(what `facelift reconstruct` writes as output.png), turntable.webp, output_types.jpg (what `facelift render`
draws), page.webp (head.html on a laptop and a phone, which takes Chromium), and architecture.svg with its
thumbnails.
"""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
from pathlib import Path
from typing import get_args

import torch
from PIL import Image
from torch import Tensor

from facelift import FaceLift, Head
from facelift.camera_paths import camera_path
from facelift.cameras import canonical_rig, turntable_rig
from facelift.choices import OutputType
from facelift.formats.png import tile, write_png
from facelift.gaussians import Gaussians
from facelift.pictures import write_pictures
from facelift.portrait import prepare_portrait
from facelift.views.warp import warp_views

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
PHOTO = ROOT / "examples/portrait.jpg"
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 490" font-family="Helvetica, sans-serif">
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto">
<path d="M0 0L8 4L0 8z" fill="#3949ab"/></marker></defs>
<rect width="1000" height="490" rx="12" fill="#ffffff"/>
{}
</svg>
"""
FRAMES, SIDE, MILLISECONDS = 72, 320, 60  # of the turntable


def main() -> None:
    """Make all of them."""
    model = FaceLift.from_pretrained()
    head, unrefined = model(PHOTO), model(PHOTO, refinement=0)
    renders = head.render(canonical_rig(head.views.shape[-1]))
    write_png(IMAGES / "portrait.png", tile(torch.cat([head.views, renders]), columns=len(head.views)))
    write_turntable(head)
    write_page(head)
    write_output_types(head.gaussians)
    portrait = prepare_portrait(PHOTO, model.size, network=model.portrait_network)
    with model.autocast():
        warped = warp_views(model.reconstructor.distances, portrait.image, portrait.alpha).images
    photo, rig = Image.open(PHOTO).convert("RGB"), canonical_rig(320)[[1]]
    before, after = unrefined.render(rig)[0], head.render(rig)[0]
    write_architecture(photo, head.portrait, warped[[1, 2, 5]], head.views, before, after)


def write_turntable(head: Head) -> None:
    """One turn as an animated WebP, which README pages play without a click."""
    frames = [picture(x) for x in head.render(turntable_rig(FRAMES, SIDE, elevation=10.0))]
    frames[0].save(
        IMAGES / "turntable.webp",
        save_all=True,
        append_images=frames[1:],
        duration=MILLISECONDS,
        loop=0,
        quality=75,
        method=6,
    )


def write_page(head: Head) -> None:
    """The page that `head.save("head.html")` writes, on a laptop and a phone, beside each other."""
    from playwright.sync_api import sync_playwright

    screens = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "head.html"
        head.save(page, title="Made from one photo")
        flags = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for width, scheme, turns in ((760, "light", 3), (280, "dark", 0)):
            context = browser.new_context(
                viewport={"width": width, "height": 520}, color_scheme=scheme, reduced_motion="reduce"
            )
            tab = context.new_page()
            tab.goto(page.as_uri())
            tab.wait_for_selector("body[data-state=ready]")
            for _ in range(turns):
                tab.keyboard.press("ArrowRight")
            tab.wait_for_timeout(1000)
            screens.append(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"))
        browser.close()
    both = Image.new("RGB", (sum(screen.width for screen in screens) + 20, 520), "#8a8f98")
    both.paste(screens[0], (0, 0))
    both.paste(screens[1], (screens[0].width + 20, 0))
    both.save(IMAGES / "page.webp", quality=80, method=6)


def write_output_types(gaussians: Gaussians) -> None:
    """Colour, depth and normals from one camera, side by side."""
    camera, panels = camera_path("still", size=(SIDE, SIDE), azimuth=30.0, elevation=10.0, fov=36.0), []
    with tempfile.TemporaryDirectory() as folder:
        for output_type in get_args(OutputType):
            path = Path(folder) / f"{output_type}.webp"  # where depth is grey
            write_pictures(path, gaussians, camera, output_type, supersample=3)
            panels.append(Image.open(path).convert("RGB"))
    sheet = Image.new("RGB", (len(panels) * SIDE, SIDE))
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number * SIDE, 0))
    sheet.save(IMAGES / "output_types.jpg", quality=88, optimize=True)


def picture(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] as a PIL image."""
    return Image.fromarray(image.mul(255).round().byte().movedim(0, -1).cpu().numpy())


def thumbnail(image: Image.Image | Tensor, x: float, y: float, side: float) -> str:
    """An SVG element that holds the image itself, so that the file needs nothing beside it."""
    image = picture(image) if isinstance(image, Tensor) else image
    image = image.copy()
    image.thumbnail((160, 160))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    data = base64.b64encode(file.getvalue()).decode()
    place = f'x="{x}" y="{y}" width="{side}" height="{side}"'
    return (
        f'<image {place} href="data:image/jpeg;base64,{data}"/><rect {place} fill="none" stroke="#c5cae9"/>'
    )


def write_architecture(
    photo: Image.Image, portrait: Tensor, warped: Tensor, views: Tensor, before: Tensor, after: Tensor
) -> None:
    """The rooms, and what goes from one to the next."""
    parts = [
        room(16, 40, 168, 232, "portrait/", "find the face, frame it,", "cut it out"),
        room(
            206,
            40,
            330,
            232,
            "views/",
            "stage 1: warp the photo's pixels to each view,",
            "generate the rest by diffusion",
        ),
        room(558, 40, 128, 232, "reconstruct/", "stage 2: six views", "to Gaussians"),
        room(708, 40, 128, 232, "refine/", "fit them to", "the views"),
        room(858, 40, 126, 52, "formats/", "PLY, SPZ, SOG, …"),
        room(858, 100, 126, 52, "mesh/", "a textured surface"),
        room(858, 160, 126, 52, "page/", "HTML with a viewer"),
        room(858, 220, 126, 52, "pictures.py", "stills and videos"),
        room(16, 330, 168, 74, "synth/", "people, scenes, pictures", "from CC0 assets"),
        room(206, 330, 150, 74, "data/", "heads on disk:", "layout, reader, split"),
        room(378, 330, 158, 74, "train/", "one task for each", "network"),
        room(558, 330, 128, 74, "evaluate/", "measures, baselines,", "reports"),
        room(708, 330, 128, 74, "render/", "Gaussians to pixels,", "differentiable"),
        room(858, 330, 126, 74, "cameras.py", "gaussians.py,", "devices.py, …"),
        room(16, 422, 168, 52, "cli/", "the facelift command"),
        room(206, 422, 174, 52, "app/", "a web page, an HTTP API"),
        room(392, 422, 144, 52, "batch/", "photos by the thousand"),
        room(558, 422, 426, 52, "integrations/", "ComfyUI, Blender, the source of the viewer in pages"),
    ]
    parts += [thumbnail(photo, 26, 112, 68), thumbnail(portrait, 106, 112, 68)]
    parts += [caption(60, 196, "photo"), caption(140, 196, "portrait")]
    parts += [thumbnail(x, 216 + 53 * i, 112, 50) for i, x in enumerate(warped)]
    parts += [caption(292, 176, "warped views, unknown in blue")]
    parts += [thumbnail(x, 216 + 53 * i, 196, 50) for i, x in enumerate(views)]
    parts += [caption(372, 260, "six views, the portrait first")]
    parts += [thumbnail(before, 574, 112, 96), thumbnail(after, 724, 112, 96)]
    parts += [caption(622, 226, "3D Gaussians"), caption(772, 226, "the head")]
    arrows = [(184, 156, 206, 156), (536, 156, 558, 156), (686, 156, 708, 156)]
    arrows += [(836, y, 858, y) for y in (66, 126, 186, 246)]
    arrows += [(184, 367, 206, 367), (356, 367, 378, 367)]
    arrows += [(457, 330, 457, 272), (622, 272, 622, 330), (772, 330, 772, 272)]
    parts += [
        f'<path d="M{a} {b}L{c} {d}" stroke="#3949ab" stroke-width="2" marker-end="url(#tip)"/>'
        for a, b, c, d in arrows
    ]
    parts += [caption(482, 304, "weights"), caption(652, 304, "heads"), caption(808, 304, "gradients")]
    parts += [caption(500, 26, "pipeline.py: a photo becomes a head", 15)]
    svg = SVG.format("\n".join(parts))
    (IMAGES / "architecture.svg").write_text(svg, encoding="utf-8")


def room(x: int, y: int, width: int, height: int, name: str, *lines: str) -> str:
    """A box with a room's name and what happens there."""
    box = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="#f5f6fc" stroke="#9fa8da"/>'
    head = f'<text x="{x + 10}" y="{y + 22}" font-size="14" font-weight="bold" fill="#1a237e">{name}</text>'
    rest = [
        f'<text x="{x + 10}" y="{y + 40 + 16 * i}" font-size="12" fill="#333333">{line}</text>'
        for i, line in enumerate(lines)
    ]
    return "".join([box, head, *rest])


def caption(x: float, y: float, text: str, size: int = 11) -> str:
    """A line of text about its middle."""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="#555555" text-anchor="middle">{text}</text>'


if __name__ == "__main__":
    main()

"""`facelift render`: a file of Gaussians becomes pictures and videos."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from facelift.choices import CameraPath, OutputType
from facelift.cli.options import CAMERA, OUTPUT, DeviceOption, FrameOption, finite
from facelift.cli.splats import read_drawable
from facelift.cli.terminal import status, tell, track

if TYPE_CHECKING:
    from facelift.cameras import Cameras


def pixels(size: str) -> str:
    """Refuse what is neither a side nor width x height; for `callback`.

    Raises:
        typer.BadParameter: it is not.
    """
    if size and not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5})?", size):
        raise typer.BadParameter(f"{size!r} is no size; give 512 or 1920x1080")
    return size


def render(
    file: Annotated[Path, typer.Argument(help="A file of Gaussians, of any tool.", metavar="FILE")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Where to write; its end says what: .png a still; .mp4, .webm, .mov a video; .gif, .webp an "
            "animation; no suffix a folder of PNG files. All but .mp4 keep alpha.",
            rich_help_panel=OUTPUT,
            show_default="FILE's name with .mp4, in this folder",
        ),
    ] = None,
    output_type: Annotated[
        OutputType,
        typer.Option(
            help="What is shown. Depth in PNG files is 16 bits, in ten-thousandths of a unit; normals are "
            "along the world's axes.",
            rich_help_panel=OUTPUT,
        ),
    ] = "color",
    size: Annotated[
        str,
        typer.Option(
            metavar="PIXELS",
            callback=pixels,
            help="One side of a square, or width x height: 1920x1080.",
            rich_help_panel=OUTPUT,
            show_default="512, or that of the cameras' file",
        ),
    ] = "",
    supersample: Annotated[
        int,
        typer.Option(min=1, max=8, help="Draw so many times as fine, and average.", rich_help_panel=OUTPUT),
    ] = 1,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="COLOR",
            help="A colour as white or #20242a, or transparent.",
            rich_help_panel=OUTPUT,
            show_default="white; black for depth and normals",
        ),
    ] = None,
    fps: Annotated[
        float,
        typer.Option(min=0.1, max=240, callback=finite, help="Frames a second.", rich_help_panel=OUTPUT),
    ] = 30.0,
    path: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help=f"How the camera moves: {', '.join(get_args(CameraPath))}, or a JSON file of cameras, as a "
            "data set's opencv_cameras.json.",
            rich_help_panel=CAMERA,
            show_default="still for .png, else turntable",
        ),
    ] = "",
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Length of the path.", rich_help_panel=CAMERA, show_default="150"),
    ] = None,
    azimuth: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            help="Degrees from the front towards the subject's right, where the path starts.",
            rich_help_panel=CAMERA,
            show_default="0",
        ),
    ] = None,
    elevation: Annotated[
        float | None,
        typer.Option(
            min=-90.0,
            max=90.0,
            callback=finite,
            help="Degrees above the horizon.",
            rich_help_panel=CAMERA,
            show_default="20 for a turntable, else 0",
        ),
    ] = None,
    distance: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            help="From the target, in units of the file; a head is about 1 high.",
            rich_help_panel=CAMERA,
            show_default="2.7",
        ),
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=170.0,
            callback=finite,
            help="Field of view across the shorter side, in degrees.",
            rich_help_panel=CAMERA,
            show_default="50",
        ),
    ] = None,
    target: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            metavar="X Y Z",
            help="The point to look at; x is to the subject's left, z up.",
            rich_help_panel=CAMERA,
            show_default="0 0 0",
        ),
    ] = None,
    frame: FrameOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Draw a head, or any other Gaussians: a still, a video, an animation, a folder of pictures."""
    options: dict[str, Any] = {
        "frames": frames,
        "azimuth": azimuth,
        "elevation": elevation,
        "distance": distance,
        "fov": fov,
        "target": target,
    }
    options = {name: value for name, value in options.items() if value is not None}
    with status(f"Reading {file}"):
        from facelift.devices import choose_device, geometry_device
        from facelift.pictures import check_in_view, check_outside, write_pictures

        gaussians = read_drawable(file, frame)
    out = out or Path(f"{file.stem}.mp4")
    path = path or ("still" if out.suffix.lower() == ".png" else "turntable")
    if path in get_args(CameraPath):
        cameras = _cameras_along(path, size, options)
        check_outside(gaussians, cameras)
    else:
        cameras = _cameras_of_file(path, size, options)
    check_in_view(gaussians, cameras)
    write_pictures(
        out,
        gaussians.to(geometry_device(choose_device(device))),
        cameras,
        output_type,
        background,
        supersample,
        fps,
        partial(track, total=len(cameras), what=f"Rendering {out}"),
    )
    tell(f"{file} -> {out}")


def _cameras_along(path: Any, size: str, options: dict[str, Any]) -> Cameras:
    """A path that has a name."""
    from facelift.camera_paths import camera_path

    width, _, height = (size or "512").partition("x")
    return camera_path(path, size=(int(width), int(height or width)), **options)


def _cameras_of_file(path: str, size: str, options: dict[str, Any]) -> Cameras:
    """The cameras of a file as they are, or with another number of pixels."""
    from facelift.data.camera_file import read_cameras
    from facelift.errors import UserError

    if not path.endswith(".json"):
        known = ", ".join(get_args(CameraPath))
        raise UserError(f"There is no camera path {path!r}: choose {known} or a file that ends in .json.")
    if options:
        raise UserError(f"The cameras of {path} are fixed: leave out --{next(iter(options))}.")
    cameras = read_cameras(path)
    if not size:
        return cameras
    width, _, height = size.partition("x")
    resized = cameras.resized(int(width))
    if height and int(height) != resized.height:
        raise UserError(
            f"Pictures of {path} that are {width} pixels wide are {resized.height} high, not {height}."
        )
    return resized

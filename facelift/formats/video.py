"""Videos by suffix: MP4 (H.264), WebM (VP9, with alpha) and MOV (ProRes 4444, with alpha), colours BT.709.

MP4 plays everywhere and has its index in front, for streaming. WebM is what browsers lay over a page; its
alpha is a second picture, which FFmpeg reads with libvpx only (`-c:v libvpx-vp9` before `-i`). ProRes 4444 is
what video editors take: ten bits, no subsampling, alpha without loss. Alpha is straight in both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.reformatter import Colorspace

from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path

_BT709 = 1  # H.273's code for primaries, transfer and matrix alike
_LIMITED = 1  # FFmpeg's code for luma from 16 to 235


@dataclass(frozen=True)
class Codec:
    """How a kind of video is written.

    Attributes:
        container: FFmpeg's name of the file format.
        encoder: FFmpeg's name.
        opaque: pixel format of frames without alpha.
        alpha: pixel format of frames with alpha; None where the codec has none.
        multiple: width and height must be multiples of this.
        options: of the encoder.
        container_options: of the file format.
    """

    container: str
    encoder: str
    opaque: str
    alpha: str | None
    multiple: int
    options: dict[str, str]
    container_options: dict[str, str] = field(default_factory=dict)


CODECS = {
    ".mp4": Codec(
        "mp4",
        "libx264",
        "yuv420p",
        None,
        2,
        {"crf": "18"},  # visually lossless
        {"movflags": "+faststart"},
    ),
    ".webm": Codec(
        "webm",
        "libvpx-vp9",
        "yuv420p",
        "yuva420p",
        2,
        # libvpx refuses reference frames that are never shown beside alpha.
        {"crf": "22", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"},
    ),
    ".mov": Codec(
        "mov", "prores_ks", "yuv444p10le", "yuva444p10le", 1, {"profile": "4444", "vendor": "apl0"}
    ),
}


def write_video(path: PathLike, frames: Iterable[np.ndarray], fps: float = 30) -> None:
    """Write frames as they come, holding one at a time.

    Args:
        path: where to write; its suffix is one of CODECS.
        frames: uint8 RGB images (H, W, 3) or straight-alpha RGBA images (H, W, 4), all of one shape. Where
            the codec needs even sizes, odd ones gain one row or column, a copy of the last.
        fps: frames per second.

    Raises:
        UserError: `path` cannot be written or has another suffix, there are no frames, or alpha for a codec
            that has none.
    """
    codec = CODECS.get(Path(path).suffix.lower())
    if codec is None:
        raise UserError(f"{path} is no video that is known here: let it end in {', '.join(CODECS)}.")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise UserError("A video needs at least one frame.")
    source, target = ("rgba", codec.alpha) if first.shape[-1] == 4 else ("rgb24", codec.opaque)
    if target is None:
        raise UserError(f"{path} cannot be transparent: choose .webm or .mov, or a background.")
    height, width = first.shape[:2]
    padding = ((0, -height % codec.multiple), (0, -width % codec.multiple), (0, 0))
    with (
        atomic_path(path) as aside,
        av.open(str(aside), "w", format=codec.container, options=codec.container_options) as container,
    ):
        rate = Fraction(fps).limit_denominator(1001)
        stream = cast(av.VideoStream, container.add_stream(codec.encoder, rate=rate, options=codec.options))
        stream.width, stream.height = width + padding[1][1], height + padding[0][1]
        stream.pix_fmt = target
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED
        for image in chain([first], frames):
            if image.shape != first.shape:
                raise ValueError(f"a frame of shape {image.shape} follows frames of shape {first.shape}")
            frame = av.VideoFrame.from_ndarray(np.pad(image, padding, mode="edge"), format=source)
            # One thread, for several leave garbage where their slices of 10-bit frames meet (FFmpeg 8.1).
            frame = frame.reformat(format=target, dst_colorspace=Colorspace.ITU709, threads=1)
            frame.color_primaries = frame.color_trc = _BT709  # which ProRes takes from each frame
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

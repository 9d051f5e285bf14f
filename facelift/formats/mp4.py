"""MP4 video that plays everywhere: H.264, 4:2:0, BT.709 colours, the index in front for streaming."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import av
import numpy as np
from av.video.reformatter import Colorspace

from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path

_BT709 = 1  # H.273's code for primaries, transfer and matrix alike
_CRF = 18  # visually lossless


def write_mp4(path: PathLike, frames: Iterable[np.ndarray], fps: int = 30) -> None:
    """Write frames as they come, holding one at a time.

    Args:
        path: where to write.
        frames: uint8 RGB images, each (H, W, 3) and all of one size. Odd sizes gain one row or column, a
            copy of the last, because 4:2:0 needs even ones.
        fps: frames per second.

    Raises:
        UserError: `path` cannot be written, or there are no frames.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise UserError("A video needs at least one frame.")
    height, width = first.shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    with (
        atomic_path(path) as aside,
        av.open(str(aside), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(_CRF)})
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        for image in chain([first], frames):
            if image.shape != first.shape:
                raise ValueError(f"a frame of shape {image.shape} follows frames of shape {first.shape}")
            frame = av.VideoFrame.from_ndarray(np.pad(image, padding, mode="edge"), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

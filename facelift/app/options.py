"""What a visitor may say besides the photo, the limits of the server, and what visitors are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from facelift.app.queue import State
from facelift.choices import Matting, Scheduler
from facelift.portrait import Framing
from facelift.portrait.framing import MAX_SHIFT, MAX_TILT, MAX_ZOOM, MIN_ZOOM


@dataclass(frozen=True)
class Limits:
    """What one server takes and keeps.

    Attributes:
        upload: bytes of a request.
        pixels: of a photo.
        kept: heads that are kept at once; of more, the oldest go.
        minutes: after which a head that is done is deleted.
        per_visitor: heads that one visitor may have made at a time; None is any number.
        grace: seconds after which whoever attends a head and does not ask for it has left. A page that is
            loaded again is back before.
    """

    upload: int = 30_000_000
    pixels: int = 120_000_000
    kept: int = 200
    minutes: float = 60.0
    grace: float = 10.0
    per_visitor: int | None = None


class HeadOptions(BaseModel):
    """The options of `POST /heads`: those of the pipeline, and two of the server."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    seed: int = Field(0, ge=0, le=2**63 - 1, description="Another seed generates another head.")
    refinement: int | None = Field(
        None, ge=0, le=2000, description="Steps that fit the head to the photo; the model's own if left out."
    )
    matting: Matting = Field("auto", description="How the background is removed.")
    prepared: bool = Field(False, description="The photo is a centred square portrait on white already.")
    face: int | None = Field(None, ge=0, description="Which of several faces, as they stand in `faces`.")
    tilt: float = Field(
        0.0, ge=-MAX_TILT, le=MAX_TILT, description="Degrees clockwise by which the head leans in the photo."
    )
    zoom: float = Field(1.0, ge=MIN_ZOOM, le=MAX_ZOOM, description="How much larger to frame the head.")
    shift_x: float = Field(
        0.0, ge=-MAX_SHIFT, le=MAX_SHIFT, description="Share of the portrait by which to move it right."
    )
    shift_y: float = Field(
        0.0, ge=-MAX_SHIFT, le=MAX_SHIFT, description="Share of the portrait by which to move it down."
    )
    steps: int | None = Field(None, ge=1, le=1000, description="Denoising steps.")
    guidance: float | None = Field(None, ge=0, le=100, description="Guidance scale.")
    eta: float | None = Field(None, ge=0, le=1, description="Noise between DDIM steps.")
    scheduler: Scheduler = Field("ddim", description="How to denoise.")
    only_portrait: bool = Field(
        False, description="Stop after the portrait, to look at its framing and its matte."
    )
    attended: bool = Field(False, description="Cancel when nobody has asked for the status for some seconds.")

    @property
    def framing(self) -> Framing | None:
        """How the portrait departs from what is found; None if it does not."""
        framing = Framing(self.face, self.tilt, self.zoom, (self.shift_x, self.shift_y))
        return None if framing == Framing() else framing

    @property
    def preparation(self) -> dict[str, Any]:
        """Arguments of `FaceLift.prepare`."""
        return {"matting": self.matting, "prepared": self.prepared, "framing": self.framing}

    @property
    def generation(self) -> dict[str, Any]:
        """Arguments of a call of `FaceLift` with a portrait."""
        return self.model_dump(include={"seed", "refinement", "steps", "guidance", "eta", "scheduler"})


class HeadWarning(BaseModel):
    """What in the photo may spoil the head."""

    kind: str = Field(description="One word, for programs.")
    text: str = Field(description="A sentence, for people.")


class File(BaseModel):
    """A file of a head."""

    name: str
    url: str = Field(description="Relative to the server's address.")
    made: bool = Field(description="Whether it lies ready; else it is made when it is first asked for.")
    what: str = Field(description="What it is good for.")


class HeadStatus(BaseModel):
    """How far a head is."""

    id: str = Field(description="Keep it: whoever knows it sees the head.")
    state: State
    position: int | None = Field(
        description="In the queue: 1 is next, 0 is being made; null when it is over."
    )
    seconds: int | None = Field(description="About how long until its turn, as far as earlier heads tell.")
    stage: str | None = Field(
        description="What is being done: portrait, views, reconstruction, refinement, detail, files."
    )
    step: tuple[int, int] | None = Field(
        description="Of how many steps of that stage which one, if it has any."
    )
    faces: list[tuple[float, float, float, float]] = Field(
        description="Left, top, right and bottom of each face, as shares of photo.jpg; the largest first."
    )
    warnings: list[HeadWarning]
    files: list[File]
    error: str | None = Field(description="What went wrong and what to do about it, in one sentence.")
    options: HeadOptions


class Info(BaseModel):
    """What this server runs."""

    version: str
    model: str = Field(description="The model's name.")
    license: str = Field(description="Of the model's weights.")
    size: int = Field(description="Side of the portrait, pixels.")
    refinement: int = Field(description="Steps of the fit, unless an option says otherwise.")
    max_upload: int = Field(description="Bytes.")
    max_pixels: int
    minutes: float = Field(description="After which a head is deleted.")


class Health(BaseModel):
    """Whether the server works."""

    status: Literal["ok", "restarting", "stopping"] = Field(
        description="restarting: a worker has died and comes back; stopping: it takes no new photos."
    )
    waiting: int = Field(description="Length of the queue.")
    running: int


class Refusal(BaseModel):
    """Why a request was not served."""

    detail: str = Field(description="One sentence that says what to do.")


def refusal_of(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first of pydantic's errors about options, as a sentence."""
    first = errors[0]
    name = first["loc"][-1] if first["loc"] else "The request"
    if first["type"] == "extra_forbidden":
        return f"{name} is no option of this server."
    return f"{name} is refused: {first['msg']}."

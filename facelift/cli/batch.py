"""What `facelift reconstruct` shows of a batch, and the options that only a batch has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facelift.choices import Storage
from facelift.cli.options import BATCH, finite
from facelift.cli.terminal import complain, say, tell

if TYPE_CHECKING:
    from facelift.batch.index import Row

WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes that make heads side by side, each with its models. The same command goes on where "
        "it was, and index.parquet tells what became of each photo.",
        rich_help_panel=BATCH,
        show_default="one photo after the other in this process",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A Ray cluster that does the work instead: auto, HOST:6379, ray://HOST:10001.",
        rich_help_panel=BATCH,
    ),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        callback=finite,
        help="GPUs that each worker on Ray takes; 0.5 puts two on one.",
        rich_help_panel=BATCH,
        show_default="1 where there are any",
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Photos that a worker takes at once.",
        rich_help_panel=BATCH,
        show_default="as many as a GPU's memory takes; 1 on a CPU",
    ),
]
StorageOption = Annotated[
    Storage | None,
    typer.Option(
        help="Where results go: a folder a photo, or WebDataset shards of fifty photos.",
        rich_help_panel=BATCH,
        show_default="folders",
    ),
]


def show_batch(rows: Iterator[Row], out: Path) -> None:
    """Tell what becomes of each photo as it is done; exits with 1 if the index has some without a head."""
    from facelift.batch.index import TABLE, statuses

    for row in rows:
        for warning in row.warnings:
            say(f"{row.photo}: {warning}")
        if row.status == "done":
            tell(f"{row.photo} -> {out / (row.shard or row.name)}")
        else:
            complain(f"{row.photo}: {(row.error or '').removeprefix(f'{row.photo} ')}")
    count = statuses(out)
    tell(f"{count['done']} photos done, {count['refused']} refused, {count['failed']} failed: {out / TABLE}")
    if count["refused"] or count["failed"]:
        raise typer.Exit(1)

"""How `--help` shows a command: plain text that fits 80 columns, with options in groups."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class GroupedCommand(TyperCommand):
    """A command whose help lists each option under its `rich_help_panel`, without rich's frames.

    In 80 columns the frames leave so little that names and choices are broken in the middle, and a screen
    reader or a pipe has no use for them.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section a group, in the order of their first options; what has no group comes last."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        others: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            group = getattr(parameter, "rich_help_panel", None)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                sections["Arguments"].append(record)
            elif group is None:
                others.append(record)
            else:
                sections.setdefault(group, []).append(record)
        for title, records in [*sections.items(), ("Options", others)]:
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

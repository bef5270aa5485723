"""Progress of a run on standard error: a table drawn in place on a terminal, else a line when something is decided."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from qcheck.cli.messages import Messages
from qcheck.jobs.compare import Moment
from qcheck.jobs.manifest import RunManifest
from qcheck.report.console import STYLES, as_power_of_ten
from qcheck.report.paper import cell, count
from qcheck.run.execute import Stopped, Tried

__all__ = ["follow"]

REDRAWS_PER_S = 4


@contextlib.contextmanager
def follow(manifest: RunManifest, messages: Messages) -> Iterator[Callable[[Moment], None]]:
    """Within the block, tell the user of every moment that is handed to what this gives."""
    needed = as_power_of_ten(manifest.rules.log_threshold)

    def decided(moment: Moment) -> None:
        event = moment.event
        if isinstance(event, Stopped) and moment.verdict != "reference":
            evidence = f"e-value {as_power_of_ten(moment.log_e)} of {needed} needed"
            messages.note(f"{moment.provider}: {moment.verdict} after {count(moment.answered, 'answer')}, {evidence}")

    def failed(moment: Moment) -> None:
        if isinstance(moment.event, Tried) and (error := moment.event.attempt.error):
            messages.detail(f"{moment.provider}: request {moment.event.attempt.seq}: {error}")

    if not messages.live or messages.verbose:
        messages.note(f"asking {', '.join(e.name for e in manifest.everyone)}")

        def tell(moment: Moment) -> None:
            failed(moment)
            decided(moment)

        yield tell
        return

    board = _Board(manifest, needed)
    # Transient: the report that follows says it all again.
    with Live(
        get_renderable=board.draw, console=Console(stderr=True), refresh_per_second=REDRAWS_PER_S, transient=True
    ):
        yield board.update


class _Board:
    """Where everybody stands."""

    def __init__(self, manifest: RunManifest, needed: str) -> None:
        self._needed = needed
        self._last: dict[str, Moment | None] = dict.fromkeys(e.name for e in manifest.everyone)
        self._ended: dict[str, str] = {}

    def update(self, moment: Moment) -> None:
        self._last[moment.provider] = moment
        if isinstance(moment.event, Stopped):
            self._ended[moment.provider] = moment.verdict

    def draw(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("provider", "answers", f"e-value (of {self._needed})", "state"):
            table.add_column(heading, justify="left" if heading in ("provider", "state") else "right")
        for name, moment in self._last.items():
            answers = str(moment.answered) if moment and moment.verdict != "reference" else ""
            evidence = as_power_of_ten(moment.log_e) if answers and moment else ""
            table.add_row(cell(name), answers, evidence, self._state(name, moment))
        return table

    def _state(self, name: str, moment: Moment | None) -> Text:
        if name in self._ended:
            return cell(self._ended[name], STYLES.get(self._ended[name], ""))
        if moment and moment.verdict == "reference":
            return cell("reference")
        return cell("asking" if moment else "waiting", "dim")

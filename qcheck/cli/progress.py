"""Progress of a run on standard error: a table drawn in place on a terminal, else a line when something is decided."""

from __future__ import annotations

import contextlib
from collections import Counter
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
from qcheck.run.execute import Settled, Stopped, Tried

__all__ = ["follow"]

REDRAWS_PER_S = 4


@contextlib.contextmanager
def follow(manifest: RunManifest, messages: Messages) -> Iterator[Callable[[Moment], None]]:
    """Within the block, tell the user of every moment that is handed to what this gives."""
    board = _Board(manifest)
    if messages.live and not messages.verbose:
        # Transient: the report that follows says it all again.
        console = Console(stderr=True)
        with Live(get_renderable=board.draw, console=console, refresh_per_second=REDRAWS_PER_S, transient=True):
            yield board.update
        return

    def tell(moment: Moment) -> None:
        board.update(moment)
        if isinstance(moment.event, Tried) and (error := moment.event.attempt.error):
            messages.detail(f"{moment.provider}: request {moment.event.attempt.seq}: {error}")
        elif isinstance(moment.event, Stopped) and moment.provider in manifest.names:
            messages.note(board.describe(moment.provider))

    if asked := [entry.name for entry in manifest.planned if not manifest.unasked(entry)]:
        messages.note(f"asking {', '.join(asked)}")
    yield tell


class _Board:
    """Where everybody stands."""

    def __init__(self, manifest: RunManifest) -> None:
        self._needed = as_power_of_ten(manifest.rules.log_threshold)
        self._judging = manifest.has_reference  # else there are e-values of pairs only
        self._compared = frozenset(manifest.names)
        self._names = [entry.name for entry in manifest.planned if not manifest.unasked(entry)]
        self._answers: Counter[str] = Counter()
        self._last: dict[str, Moment] = {}
        self._ended: set[str] = set()

    def update(self, moment: Moment) -> None:
        self._last[moment.provider] = moment
        if isinstance(moment.event, Settled):
            self._answers[moment.provider] += moment.event.attempt.outcome == "answered"
        elif isinstance(moment.event, Stopped):
            self._ended.add(moment.provider)

    def describe(self, name: str) -> str:
        evidence = f", e-value {self._evidence(name)} of {self._needed} needed" if self._judging else ""
        return f"{name}: {self._last[name].verdict} after {count(self._answers[name], 'answer')}{evidence}"

    def draw(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("provider")
        table.add_column("answers", justify="right")
        table.add_column(f"e-value (of {self._needed})", justify="right")
        table.add_column("state")
        for name in self._names:
            table.add_row(cell(name), str(self._answers[name]), self._evidence(name), self._state(name))
        return table

    def _evidence(self, name: str) -> str:
        moment = self._last.get(name)
        return as_power_of_ten(moment.log_e) if moment and self._judging and name in self._compared else ""

    def _state(self, name: str) -> Text:
        if name not in self._compared:
            return cell("reference")
        if name in self._ended:
            verdict = self._last[name].verdict
            return cell(verdict, STYLES.get(verdict, ""))
        return cell("asking" if name in self._last else "waiting", "dim")

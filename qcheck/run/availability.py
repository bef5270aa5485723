"""The rule by which a provider counts as unavailable: no more is sent, and its verdict says so."""

from __future__ import annotations

from qcheck.records import Attempt

__all__ = ["Availability"]

FAILURES_IN_A_ROW = 5


class Availability:
    """Folds a provider's settled requests.

    reason: why it is unavailable, once it is. error: of the last request that failed. in_a_row: how many failed last.
    """

    def __init__(self) -> None:
        self.requests = self.failures = self.in_a_row = 0
        self.reason: str | None = None
        self.error: str | None = None

    def update(self, attempt: Attempt) -> None:
        """Count one settled attempt."""
        self.count(None if attempt.outcome == "answered" else attempt.error or "requests failed", fatal=attempt.fatal)

    def count(self, error: str | None, *, fatal: bool = False) -> None:
        """Count one request, which failed if there is an error."""
        self.requests += 1
        if error is None:
            self.in_a_row = 0
            return
        self.failures += 1
        self.error = error
        self.in_a_row += 1
        if fatal or self.in_a_row >= FAILURES_IN_A_ROW:
            self.reason = error

    def end(self) -> None:
        """No more is asked: who has answered nothing is unavailable, however little that was."""
        if self.failures == self.requests:
            self.reason = self.error

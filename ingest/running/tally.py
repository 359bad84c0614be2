"""The counts of a run while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from ingest.running.planning import Plan, Work
from ingest.running.report import Progress, Report
from ingest.sources import Reject

OnReject: TypeAlias = Callable[[Reject], None]


class Tally:
    """The report so far, and who is told of it."""

    def __init__(self, on_reject: OnReject, on_progress: Progress | None) -> None:
        self._on_reject = on_reject
        self._on_progress = on_progress
        self._started = time.monotonic()
        self._counts = Report()

    @property
    def report(self) -> Report:
        return replace(self._counts, seconds=time.monotonic() - self._started)

    def add(self, counts: Report) -> None:
        self._counts += counts
        if self._on_progress:
            self._on_progress(self.report)

    def reject(self, reject: Reject) -> None:
        self._on_reject(reject)
        self.add(Report(failed=1, bytes=reject.size))

    def planned(self, plan: Plan) -> None:
        """Count what was read; what changed is done with only when it is written."""
        read = len(plan.changed) + len(plan.unchanged) + len(plan.rejects)
        read = 0 if plan.again else read
        unchanged = sum(item.size for item in plan.unchanged)
        self.add(Report(documents=read, unchanged=len(plan.unchanged), bytes=unchanged))
        for reject in plan.rejects:
            self.reject(reject)


def written_report(work: Work, reused: int = 0) -> Report:
    return Report(
        written=1,
        replaced=int(work.stored),
        chunks=len(work.passages),
        reused=reused,
        truncated=int(any(passage.truncated for passage in work.passages)),
        bytes=work.parsed.size,
    )

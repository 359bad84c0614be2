"""How many documents something may happen to: a number, or a share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from ingest.running.report import Report
from m3.errors import InvalidInput

_LEAST_READ = 100
"""Documents before a share of them says anything."""


def number_or_share(flag: str, given: str) -> tuple[int | None, float | None]:
    """One of both, from `N` or `P%`. Raises InvalidInput for anything else."""
    found = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", given.strip(), re.ASCII)
    if found is None or (found[2] and float(found[2]) > 100):
        raise InvalidInput(f"{flag} {given}: expected a number, or 0% to 100%")
    return (int(found[1]), None) if found[1] else (None, float(found[2]) / 100)


@dataclass(frozen=True, slots=True)
class MaxErrors:
    """Failures before a run stops: so many, or such a share of the documents that were read."""

    count: int | None = None
    share: float | None = None

    @classmethod
    def parsed(cls, given: str) -> Self:
        """From `N` or `P%`. Raises InvalidInput for anything else."""
        return cls(*number_or_share("--max-errors", given))

    def exceeded(self, report: Report) -> bool:
        if self.count is not None:
            return report.failed > self.count
        read = max(report.documents, _LEAST_READ)
        return self.share is not None and report.failed > self.share * read

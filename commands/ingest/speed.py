"""How fast the nodes have been of late, by their own measure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import httpx

from m3.calling import bearer
from m3.settings import Settings

_SECONDS = 5.0
_RATE = re.compile(r'^m3_tokens_per_second\{lane="passage"\} (\S+)$', re.MULTILINE)
_WORKERS = re.compile(r"^m3_workers_up (\S+)$", re.MULTILINE)


def tokens_per_second(settings: Settings) -> float | None:
    """Of all nodes together; None where none has computed passages yet, or none says."""
    rate = sum(_rate(text) for text in _metrics(settings.embedder_url, settings))
    return rate or None


def _metrics(urls: Sequence[str], settings: Settings) -> list[str]:
    headers = bearer(settings.client_key)
    texts: list[str] = []
    with httpx.Client(trust_env=False, timeout=_SECONDS, headers=headers) as client:
        for url in urls:
            try:
                answer = client.get(f"{url}/metrics")
            except httpx.HTTPError:
                continue
            texts += [answer.text] if answer.is_success else []
    return texts


def _rate(text: str) -> float:
    rate, workers = _RATE.search(text), _WORKERS.search(text)
    return float(rate[1]) * (float(workers[1]) if workers else 1.0) if rate else 0.0

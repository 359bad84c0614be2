"""A node under three times the load it can carry, and queries while passages saturate it."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.checkpoints import checkpoint, described
from bench.load import Generator, Load, Sent, p
from bench.measure import Result
from bench.node import Metrics, Node, cores, node, pinned, quantile, total
from bench.texts import sample_texts, texts_of
from embedder.model.checkpoint import open_checkpoint

_TOKENS = 120
_TEXTS = 2000
_AT_ONCE = (8, 32)
_QUERIES_A_SECOND = 4.0
_OVER = 3.0
_SAMPLE_SECONDS = 0.5
_DRAIN_SECONDS = 120.0


def run(
    *,
    model: Annotated[str, typer.Option(help="full, layers, stand-in or DIR.")] = "stand-in",
    precision: Annotated[str, typer.Option(help="fp32, bf16, int8, …")] = "auto",
    seconds: Annotated[float, typer.Option(help="Of each phase.", min=2)] = 30,
    deadline_ms: Annotated[int, typer.Option(help="Of each request of the overload.")] = 5000,
) -> Result:
    """Passages of 120 tokens, one a request. The load generator has a core of its own."""
    folder = checkpoint(model)
    texts = _Texts(folder)
    available = cores()
    served, loading = available[:-1] or available, available[-1:]
    with node(folder, precision=precision, cores=served) as running, pinned(loading):
        drill = _Drill(running, texts, seconds)
        peak = drill.peak()
        rows = [
            {"what": "peak, goodput tokens/s", "value": peak},
            *drill.overload(_OVER * peak / _TOKENS, peak, deadline_ms),
            *drill.queries(),
        ]
    notes = {
        "model": f"{described(model)}, {precision}",
        "cores": f"node {served}, load generator {loading}",
        "deadline": f"{deadline_ms} ms a request in the overload",
    }
    return Result("overload" if model == "stand-in" else f"overload-{model}", rows, notes)


@dataclass(frozen=True, slots=True)
class _Texts:
    """Passages, none twice, and the tokens of each."""

    folder: Path
    passages: list[str] = field(init=False)
    tokens: list[int] = field(init=False)

    def __post_init__(self) -> None:
        passages = list(dict.fromkeys(texts_of(self.folder, [_TOKENS] * _TEXTS)))
        tokenizer = open_checkpoint(self.folder).tokenizer
        lengths = [len(text.ids) for text in tokenizer.tokenize(passages, 512)]
        object.__setattr__(self, "passages", passages)
        object.__setattr__(self, "tokens", lengths)

    def answered(self, sent: Sequence[Sent]) -> int:
        """Tokens of the requests that were."""
        return sum(self.tokens[one.text] for one in sent if one.status == 200)


@dataclass(frozen=True, slots=True)
class _Drill:
    node: Node
    texts: _Texts
    seconds: float

    def peak(self) -> float:
        """Tokens a second that callers get who wait for their answers: the best of a few."""
        self._closed(_AT_ONCE[-1], self.seconds / 4)
        return max(self._closed(count, self.seconds / 2) for count in _AT_ONCE)

    def overload(self, rate: float, peak: float, deadline_ms: int) -> list[dict[str, Any]]:
        before = self.node.metrics()
        load = Generator(
            Load(
                self.node.url,
                self.texts.passages,
                "passage",
                self.seconds,
                rate=rate,
                deadline_ms=deadline_ms,
            )
        )
        memory = self._memory_while(load)
        sent = load.outcome()
        self._drained()
        begun = _begun(self.node.metrics()) - _begun(before)
        answered = self.texts.answered(sent)
        # Answers after the last request belong to the backlog, not to the load.
        in_time = self.texts.answered([one for one in sent if one.at + one.took <= self.seconds])
        refused = [1e3 * one.took for one in sent if one.status == 429]
        return [
            {"what": "overload, requests/s", "value": rate},
            {"what": "overload, goodput % of peak", "value": 100 * in_time / self.seconds / peak},
            {"what": "overload, answers by status", "value": _statuses(sent)},
            {"what": "overload, refused in ms, p50", "value": p(refused, 50)},
            {"what": "overload, refused in ms, p99", "value": p(refused, 99)},
            {"what": "overload, refused in ms, longest", "value": max(refused, default=0.0)},
            {
                "what": "overload, begun in time but answered too late, % of tokens",
                "value": 100 * (begun - answered) / begun,
            },
            {"what": "overload, memory (PSS) MB", "value": statistics.median(memory) / 1e6},
            {"what": "overload, memory growth %", "value": 100 * _growth(memory)},
        ]

    def queries(self) -> list[dict[str, Any]]:
        """Queries on the idle node, then beside passages that keep it busy."""
        idle = self._query_ms()
        before = self.node.metrics()
        passages = Generator(
            Load(
                self.node.url,
                self.texts.passages,
                "passage",
                self.seconds * 1.5,
                at_once=_AT_ONCE[-1],
            )
        )
        time.sleep(self.seconds / 4)
        busy = self._query_ms()
        sent = passages.outcome()
        batch = 1e3 * _batch_seconds(before, self.node.metrics())
        return [
            {"what": "queries, idle, p95 ms", "value": p(idle, 95)},
            {"what": "queries, beside passages, p95 ms", "value": p(busy, 95)},
            {"what": "a batch, p99 ms (bucket's upper end)", "value": batch},
            {"what": "queries' limit: 2 x idle + a batch, ms", "value": 2 * p(idle, 95) + batch},
            {"what": "passages meanwhile, by status", "value": _statuses(sent)},
        ]

    def _closed(self, at_once: int, seconds: float) -> float:
        load = Load(self.node.url, self.texts.passages, "passage", seconds, at_once=at_once)
        sent = Generator(load).outcome()
        return self.texts.answered(sent) / max(one.at + one.took for one in sent)

    def _query_ms(self) -> list[float]:
        load = Load(
            self.node.url,
            sample_texts("queries.jsonl"),
            "query",
            self.seconds,
            rate=_QUERIES_A_SECOND,
        )
        sent = Generator(load).outcome()
        return [1e3 * one.took for one in sent if one.status == 200]

    def _memory_while(self, load: Generator) -> list[int]:
        samples: list[int] = []
        while load.running:
            samples.append(self.node.pss())
            time.sleep(_SAMPLE_SECONDS)
        return samples

    def _drained(self) -> None:
        deadline = time.monotonic() + _DRAIN_SECONDS
        while total(self.node.metrics(), "m3_queue_tokens") and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(1.0)  # a batch may still be under way


def _begun(metrics: Metrics) -> float:
    """Tokens that were given to a worker."""
    return total(metrics, "m3_batch_tokens_sum")


def _batch_seconds(before: Metrics, after: Metrics) -> float:
    return quantile(before, after, "m3_phase_seconds", 0.99, phase="compute")


def _statuses(sent: Sequence[Sent]) -> str:
    counts = Counter(one.status for one in sent)
    return ", ".join(f"{status}: {count}" for status, count in sorted(counts.items()))


def _growth(memory: Sequence[int]) -> float:
    """The last quarter over the second: the first is the queue filling up."""
    quarter = max(1, len(memory) // 4)
    return statistics.median(memory[-quarter:]) / statistics.median(memory[quarter:][:quarter]) - 1

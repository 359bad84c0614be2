"""A fleet that no machine here could run, simulated: what a way of choosing nodes is worth.

Nodes compute one request after the other, for as long as a measured curve says of its tokens, and
refuse what would wait too long. Requests come by chance, at a share of what the nodes can do.

What is compared is how long 99 of 100 wait beside their own work. The p99 of whole times jumps
where one text in a hundred is long: it is the time of the unluckiest short one, or of a long one.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any, TypeAlias

import numpy as np
import orjson
import typer

from bench.load import p
from bench.measure import RESULTS, Result

_MEASURED = {"120 tokens, 8 a call": 120, "512 tokens, 8 a call": 512}
"""Mixes of `bench encode`, and the tokens of their texts."""
_LONGEST = 8192
_REPORT_SECONDS = 1.0
_TRIES = 2
_MOST_NODES = 64


def run(
    *,
    nodes: Annotated[int, typer.Option(min=1)] = 3,
    load: Annotated[float, typer.Option(help="Share of what the nodes can do.", min=0.01)] = 0.5,
    shorts: Annotated[int, typer.Option(help="Short texts for each long one.", min=1)] = 100,
    tokens: Annotated[tuple[int, int], typer.Option(help="Of a short and a long text.")] = (
        120,
        8192,
    ),
    trace: Annotated[
        Path | None, typer.Option(help="Tokens, one a line, in place of these.")
    ] = None,
    engine: Annotated[str, typer.Option(help="fp32, bf16 or int8, one thread.")] = "bf16",
    long_seconds: Annotated[float, typer.Option(help="What 8,192 tokens took.")] = 30.0,
    queue_seconds: Annotated[float, typer.Option(help="M3_MAX_QUEUE_SECONDS.")] = 60.0,
    goal: Annotated[
        float, typer.Option(help="Seconds that 99 of 100 may wait, to find a node count for.")
    ] = 5.0,
    requests: Annotated[int, typer.Option(min=100)] = 50_000,
    draws: Annotated[int, typer.Option(help="Arrivals and places drawn anew.", min=1)] = 5,
    seed: int = 0,
) -> Result:
    """What each way to choose brings, the median of some draws, and the nodes it needs."""
    curve = measured(engine, long_seconds)
    given = _lengths(trace) if trace else None

    def drawn(seed: int) -> Work:
        lengths = given or mix(shorts, tokens, requests, seed)
        seconds = [curve(length) for length in lengths]
        rate = load * nodes * len(seconds) / sum(seconds)
        return Work(by_chance(rate, len(lengths), seed), lengths, seconds)

    works = [drawn(seed + draw) for draw in range(draws)]
    rows = [
        {
            "what": name,
            **_of_draws(
                figures(work, simulate(work, nodes, choose, queue_seconds=queue_seconds, seed=seed))
                for work in works
            ),
            f"nodes for {goal:g} s": _needed(works[0], choose, goal, queue_seconds, seed),
        }
        for name, choose in POLICIES.items()
    ]
    rate = len(works[0].arrivals) / works[0].arrivals[-1]
    notes = {
        "lengths": str(trace or f"{shorts} of {tokens[0]} tokens to one of {tokens[1]}"),
        "load": f"{load:.0%} of {nodes} nodes: {rate:.3g} requests/s",
        "curve": f"{engine}, one thread, bench/results/encode.json; 8,192 tokens in "
        f"{long_seconds:g} s",
    }
    return Result("fleet", rows, notes)


@dataclass(frozen=True, slots=True)
class Work:
    """Requests: when each comes, its tokens, and the seconds it takes a node."""

    arrivals: Sequence[float]
    tokens: Sequence[int]
    seconds: Sequence[float]


@dataclass(slots=True)
class Node:
    """What waits at a node or is computed there: when it ends, and its tokens.

    Attributes:
        under_way: tokens that a balancer has sent and not had back.
        reported: what the node said of that, up to a second ago.
    """

    ends: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    free_at: float = 0.0
    under_way: int = 0
    reported: int = 0

    def until(self, now: float) -> None:
        while self.ends and self.ends[0][0] <= now:
            self.under_way -= self.ends.popleft()[1]

    def take(self, now: float, tokens: int, seconds: float) -> float:
        """When it will be done."""
        self.free_at = max(now, self.free_at) + seconds
        self.ends.append((self.free_at, tokens))
        self.under_way += tokens
        return self.free_at


Policy: TypeAlias = Callable[[Sequence[Node], random.Random], Node]


def _least(of: Callable[[Node], float]) -> Policy:
    return lambda nodes, rng: min(nodes, key=lambda node: (of(node), rng.random()))


def _two_choices(nodes: Sequence[Node], rng: random.Random) -> Node:
    drawn = rng.sample(nodes, min(_TRIES, len(nodes)))
    return min(drawn, key=lambda node: node.under_way)


POLICIES: dict[str, Policy] = {
    "least connections": _least(lambda node: len(node.ends)),
    "least tokens": _least(lambda node: node.under_way),
    "least tokens of two": _two_choices,
    "least tokens, as nodes said a second ago": _least(lambda node: node.reported),
}


def simulate(
    work: Work, count: int, choose: Policy, *, queue_seconds: float = 60.0, seed: int = 0
) -> list[tuple[float, int]]:
    """Seconds that each request took and its tokens; infinite where it was refused."""
    nodes, rng = [Node() for _ in range(count)], random.Random(seed)
    outcome: list[tuple[float, int]] = []
    said = 0.0
    for now, tokens, seconds in zip(work.arrivals, work.tokens, work.seconds, strict=True):
        for node in nodes:
            node.until(now)
        if now >= said + _REPORT_SECONDS:
            said = now
            for node in nodes:
                node.reported = node.under_way
        node = choose(nodes, rng)
        if node.free_at - now > queue_seconds:
            outcome.append((float("inf"), tokens))
        else:
            outcome.append((node.take(now, tokens, seconds) - now, tokens))
    return outcome


def figures(work: Work, outcome: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Of the answered: percentiles in seconds; of all: the share of tokens that were."""
    took = [seconds for seconds, _ in outcome if seconds < float("inf")]
    waited = [seconds for seconds in _waits(work, outcome) if seconds < float("inf")]
    answered = sum(tokens for seconds, tokens in outcome if seconds < float("inf"))
    offered = sum(tokens for _, tokens in outcome)
    return {
        "p50 s": p(took, 50),
        "p99 s": p(took, 99),
        "waits p99 s": p(waited, 99),
        "goodput %": 100 * answered / offered,
    }


def _waits(work: Work, outcome: Sequence[tuple[float, int]]) -> list[float]:
    """Seconds that each waited beside its own work; infinite where it was refused."""
    return [took - own for (took, _), own in zip(outcome, work.seconds, strict=True)]


def _of_draws(each: Iterable[dict[str, float]]) -> dict[str, Any]:
    """The medians, and between what the waits lie."""
    draws = list(each)
    waits = [one["waits p99 s"] for one in draws]
    medians = {name: median(one[name] for one in draws) for name in draws[0]}
    return {**medians, "of draws": f"{min(waits):.2f} to {max(waits):.2f}"}


def measured(engine: str, long_seconds: float) -> Callable[[int], float]:
    """Seconds by tokens, between what `bench encode` measured of texts of one length."""
    saved = orjson.loads((RESULTS / "encode.json").read_bytes())["figures"]
    speeds = {
        _MEASURED[row["mix"]]: row["tokens/CPU s"]
        for row in saved
        if row["mix"] in _MEASURED and (row["what"], row["threads"]) == (engine, 1)
    }
    if len(speeds) < len(_MEASURED):
        raise typer.BadParameter(f"bench/results/encode.json has no figures of {engine!r}")
    points = {0: 0.0, **{n: n / speed for n, speed in speeds.items()}, _LONGEST: long_seconds}
    known = sorted(points.items())
    return lambda tokens: float(np.interp(tokens, *zip(*known, strict=True)))


def mix(shorts: int, tokens: tuple[int, int], count: int, seed: int) -> list[int]:
    """One long text among every `shorts`, at a place drawn for each of them."""
    rng, short, long = random.Random(seed), *tokens
    lengths: list[int] = []
    while len(lengths) < count:
        part = [short] * shorts
        part.insert(rng.randrange(shorts + 1), long)
        lengths += part
    return lengths[:count]


def by_chance(rate: float, count: int, seed: int) -> list[float]:
    """When requests come that do not know of each other: a Poisson process."""
    rng, now, arrivals = random.Random(seed), 0.0, list[float]()
    for _ in range(count):
        now += rng.expovariate(rate)
        arrivals.append(now)
    return arrivals


def _needed(work: Work, choose: Policy, goal: float, queue: float, seed: int) -> int | None:
    """The fewest nodes with which 99 of 100 are answered, and wait no longer than the goal."""
    for count in range(1, _MOST_NODES + 1):
        waits = _waits(work, simulate(work, count, choose, queue_seconds=queue, seed=seed))
        if heapq.nlargest(len(waits) // 100 + 1, waits)[-1] <= goal:
            return count
    return None


def _lengths(trace: Path) -> list[int]:
    return [int(line) for line in trace.read_text().split()]

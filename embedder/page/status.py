"""What the node says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from embedder.api.node import Node
from m3.types import ModelInfo


@dataclass(frozen=True, slots=True)
class Status:
    """A moment of the node.

    Attributes:
        engine: which code computes, in one line.
        queued: tokens that wait, of `room` that may.
        computed: tokens since the start; rate: a second of computing, 0 before the first.
        uptime: seconds.
    """

    model: ModelInfo
    engine: str
    queued: int
    room: int
    computed: int
    rate: float
    uptime: float


def status_of(node: Node, uptime: float) -> Status:
    """Raises NotReady while the model is loading."""
    service = node.service
    computed = _sum(node.registry, "m3_tokens_total", "lane", ("query", "passage"))
    seconds = _sum(node.registry, "m3_phase_seconds_sum", "phase", ("compute",))
    return Status(
        model=service.info,
        engine=service.engine,
        queued=node.queued_tokens,
        room=node.settings.max_queue_tokens,
        computed=int(computed),
        rate=computed / seconds if seconds else 0.0,
        uptime=uptime,
    )


def _sum(registry: CollectorRegistry, name: str, label: str, values: tuple[str, ...]) -> float:
    """As `/metrics` has it, so that the page and a dashboard tell one story."""
    samples = (registry.get_sample_value(name, {label: value}) for value in values)
    return sum(sample or 0.0 for sample in samples)

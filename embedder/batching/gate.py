"""Whether more may wait: a refusal comes at once, and says when to come back."""

from __future__ import annotations

from collections.abc import Mapping

from embedder.batching.dispatch import Dispatcher
from embedder.metrics import NodeMetrics
from m3.errors import M3Error, Overloaded, PayloadTooLarge
from m3.types import Kind

_SHARES: Mapping[Kind, float] = {"query": 1.0, "passage": 0.875}
"""Of the queue that a lane may fill, so that a flood of passages leaves room for queries."""
_MAX_RETRY_AFTER = 60.0
_DEADLINE_SHARE = 0.75
"""Of the time a caller allows that what was measured may fill: measures err, and under a load that
keeps the queue full every answer would else be computed just too late."""


class Gate:
    """Limits what waits, in tokens and in seconds of work at the rate that was measured."""

    def __init__(
        self, queue: Dispatcher, *, max_tokens: int, max_seconds: float, metrics: NodeMetrics
    ) -> None:
        self._queue = queue
        self._max_tokens = max_tokens
        self._max_seconds = max_seconds
        self._metrics = metrics

    def refuse_too_large(self, kind: Kind, tokens: int) -> None:
        """Raises PayloadTooLarge for more tokens than ever may wait."""
        limit = self._limit(kind)
        if tokens > limit:
            what = f"{tokens} tokens at once; this node takes at most {limit}: split it"
            raise self._counted("too_large", PayloadTooLarge(what))

    def refuse_if_full(self, kind: Kind, tokens: int, timeout: float | None = None) -> None:
        """Return if so many tokens may wait now. An empty queue takes any.

        Raises:
            Overloaded: full, or the answer could come later than `timeout` seconds.
        """
        waiting = sum(self._queue.tokens.values())
        if not waiting:
            return
        seconds = self._queue.seconds(self._queue.tokens)
        if waiting + tokens > self._limit(kind):
            raise self._full("queue_tokens", f"{waiting} tokens are waiting", seconds)
        if seconds + self._queue.seconds({kind: tokens}) > _SHARES[kind] * self._max_seconds:
            raise self._full("queue_seconds", f"{seconds:.0f} s of work are waiting", seconds)
        wait = self._wait(kind) + self._queue.seconds({kind: tokens})
        if timeout is not None and wait > _DEADLINE_SHARE * timeout:
            what = f"the wait is {wait:.1f} s, too long for the {timeout:.3g} s allowed"
            raise self._full("deadline", what, wait)

    def _limit(self, kind: Kind) -> int:
        return int(_SHARES[kind] * self._max_tokens)

    def _wait(self, kind: Kind) -> float:
        """Seconds until a request of `kind` would be begun: queries pass passages by."""
        tokens = self._queue.tokens
        if kind == "query":
            return self._queue.seconds({kind: tokens[kind]})
        return self._queue.left() + self._queue.seconds(tokens)

    def _full(self, reason: str, what: str, seconds: float) -> M3Error:
        retry_after = min(seconds, _MAX_RETRY_AFTER) or 1.0
        return self._counted(reason, Overloaded(f"{what}: come back later", retry_after))

    def _counted(self, reason: str, error: M3Error) -> M3Error:
        self._metrics.refused.labels(reason).inc()
        return error

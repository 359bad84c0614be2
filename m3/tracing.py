"""Spans of what is being done. Without a tracer, a span is nothing and costs next to nothing.

Any room says here what it does; who listens is installed from above (`serving/tracing.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, NewType, Protocol, Self, TypeAlias

Attributes: TypeAlias = Mapping[str, str | int | float | bool | Sequence[str]]
"""Names and sizes of things, never anybody's texts."""
SpanKind: TypeAlias = Literal["internal", "client", "server"]
Parent = NewType("Parent", object)
"""A span that others can be put under, also from elsewhere and later."""


class Span(Protocol):
    """What is being done, as long as its block lasts; an error that ends the block is named."""

    def add(self, attributes: Attributes) -> None: ...

    def rename(self, name: str) -> None: ...

    def fail(self, reason: str) -> None:
        """It failed, although nothing was raised."""
        ...


class Tracer(Protocol):
    """Who listens."""

    def span(
        self, name: str, kind: SpanKind, attributes: Attributes, caller: Mapping[str, str] | None
    ) -> AbstractContextManager[Span]: ...

    def past(
        self, name: str, began: float, ended: float, attributes: Attributes, under: Parent
    ) -> Parent: ...

    def parent(self) -> Parent | None: ...

    def headers(self) -> Mapping[str, str]: ...

    def trace_id(self) -> str | None: ...


class _Nothing:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add(self, attributes: Attributes) -> None:
        pass

    def rename(self, name: str) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass


NOTHING = _Nothing()
"""The span of what is not traced."""


class _Listening:
    tracer: Tracer | None = None


def install(tracer: Tracer | None) -> None:
    """Have this process's spans go to `tracer`, or nowhere."""
    _Listening.tracer = tracer


def on() -> bool:
    """Whether anybody listens."""
    return _Listening.tracer is not None


def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: SpanKind = "internal",
    caller: Mapping[str, str] | None = None,
) -> AbstractContextManager[Span]:
    """What the block does, under the span that it is in.

    Args:
        caller: headers of a request that came in, whose trace goes on here.
    """
    tracer = _Listening.tracer
    return NOTHING if tracer is None else tracer.span(name, kind, attributes or {}, caller)


def past(name: str, began: float, ended: float, attributes: Attributes, under: Parent) -> Parent:
    """What was done between two times of the monotonic clock, under a span of then."""
    tracer = _Listening.tracer
    return under if tracer is None else tracer.past(name, began, ended, attributes, under)


def parent() -> Parent | None:
    """The span that we are in, if it is traced."""
    tracer = _Listening.tracer
    return None if tracer is None else tracer.parent()


def headers() -> Mapping[str, str]:
    """What a request has to carry for its trace to go on over there: W3C's `traceparent`."""
    tracer = _Listening.tracer
    return {} if tracer is None else tracer.headers()


def trace_id() -> str | None:
    """32 hexadecimal digits that name the trace, for logs."""
    tracer = _Listening.tracer
    return None if tracer is None else tracer.trace_id()

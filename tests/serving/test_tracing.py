"""Traces: nothing without the setting, and with it what a collector should be told."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from m3 import tracing
from m3.errors import InvalidConfiguration, NotFound
from m3.settings import Settings
from serving.tracing import ENDING, traced
from tests.collector import Collector, collecting

ON = Settings(tracing=True)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """One that is waited for as long as a busy machine takes."""
    monkeypatch.setattr("serving.tracing._LAST_SECONDS", 60)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with collecting() as collector:
        for name, value in collector.settings.items():
            monkeypatch.setenv(name, value)
        yield collector


_PROGRAM = """
import sys
import embedder.client, search.service, serving.application
from m3.settings import Settings
from serving.tracing import ENDING, traced
with traced(Settings(), "any"):
    pass
theirs = "opentelemetry.sdk", "opentelemetry.exporter", "requests"
print([name for name in sys.modules if name.startswith(theirs)])
"""


def test_without_the_setting_nothing_is_imported():
    """FastAPI itself imports OpenTelemetry's interface, which does nothing."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_without_the_setting_a_span_is_nothing():
    with traced(Settings(), "any"), tracing.span("outer", {"m3.n": 1}) as span:
        assert span is tracing.NOTHING
        assert tracing.parent() is None
        assert tracing.trace_id() is None
        assert not tracing.headers()


def test_without_the_packages_the_setting_is_refused(monkeypatch):
    monkeypatch.setattr("serving.tracing._PACKAGES", ("no_such_package.sdk",))
    refused = pytest.raises(InvalidConfiguration, match=r"M3_TRACING.*m3-retrieval\[otel\]")
    with refused, traced(ON, "any"):
        pass


def test_spans_nest_and_the_past_is_put_under_them(collector):
    with traced(ON, "program"):
        with tracing.span("outer") as outer:
            outer.rename("renamed")
            parent = tracing.parent()
            assert parent is not None
            early, now, late = time.time(), time.monotonic(), time.time()
            middle = tracing.past("middle", now - 2, now - 1, {"m3.n": 7}, parent)
            tracing.past("inner", now - 2, now - 1.5, {}, middle)
        assert tracing.parent() is None
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"renamed", "middle", "inner"}
    assert spans["middle"].parent == spans["renamed"].id
    assert spans["inner"].parent == spans["middle"].id
    assert spans["middle"].attributes == {"m3.n": 7}
    assert spans["middle"].ended - spans["middle"].began == pytest.approx(1e9, rel=1e-3)
    assert early - 5 < spans["middle"].ended / 1e9 + 1 < late + 5
    assert {span.service for span in collector.spans} == {"program"}


class _Paused:
    """The clocks, with an hour's pause after the first look at the wall's."""

    late = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.late

    def time(self) -> float:
        wall = time.time() + self.late
        self.late = 3600.0
        return wall


def test_a_pause_between_two_clocks_moves_no_span(collector, monkeypatch):
    ahead = time.time() - time.monotonic()
    with traced(ON, "program"):
        monkeypatch.setattr("serving.spans.time", _Paused())
        with tracing.span("outer"):
            parent = tracing.parent()
            assert parent is not None
            tracing.past("inner", 1000.0, 2000.0, {}, parent)
    inner = next(span for span in collector.spans if span.name == "inner")
    assert inner.ended / 1e9 == pytest.approx(2000 + ahead, abs=600)


def test_a_trace_goes_on_by_its_headers(collector):
    with traced(ON, "program"):
        with tracing.span("client", kind="client"):
            carried = tracing.headers()
            trace = tracing.trace_id()
        with tracing.span("server", kind="server", caller=carried):
            assert tracing.trace_id() == trace
        with tracing.span("stranger", kind="server", caller={"traceparent": "nonsense"}):
            assert tracing.trace_id() != trace
    client, server, stranger = collector.spans
    assert (server.parent, server.trace) == (client.id, client.trace)
    assert stranger.parent == ""


def test_an_error_is_told_by_its_code_alone(collector):
    with traced(ON, "program"), pytest.raises(NotFound), tracing.span("looking"):
        raise NotFound("no document 'secret'")
    [span] = collector.spans
    assert span.failed
    assert span.attributes == {"error.type": NotFound.code}
    assert b"secret" not in b"".join(collector.raw)


def test_the_variables_of_opentelemetry_hold(collector, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "theirs")
    with traced(ON, "program"), tracing.span("any"):
        pass
    assert [span.service for span in collector.spans] == ["theirs"]
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with traced(ON, "program"), tracing.span("unseen"):
        assert tracing.parent() is None
        flags = tracing.headers()["traceparent"].rpartition("-")[2]
        assert int(flags, 16) & 1 == 0, "the node does not sample it either"
    assert len(collector.spans) == 1


def ending() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == ENDING]


def test_a_collector_that_hangs_holds_up_no_end(collector, monkeypatch):
    awake = threading.Event()
    monkeypatch.setattr(collector, "take", lambda _: awake.wait(60))
    monkeypatch.setattr("serving.tracing._LAST_SECONDS", 0.1)
    with traced(ON, "program"), tracing.span("any"):
        pass
    waiting = ending()
    awake.set()
    assert waiting, "it is still waited for, beside what comes after the end"
    for thread in waiting:
        thread.join()


def test_the_environments_proxies_are_not_asked(collector, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with traced(ON, "program"), tracing.span("any"):
        pass
    assert len(collector.spans) == 1

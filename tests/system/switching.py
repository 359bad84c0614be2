"""A collection rebuilt for another model and other chunks, promoted and rolled back under load."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.system.conftest import Machine

NAME = "docs"
PATIENCE = 120
"""Seconds that a call may take, and that what must come is waited for."""
QUERIES = ("a text about cats", "what is number 7", "the moon", "nothing else happened")


@dataclass
class Traffic:
    """Writers and searchers that hardly rest, through a running search API.

    They leave a slow machine half of its time for the switch that they run beside.

    Attributes:
        written: texts by document, as the API acknowledged them.
        failures: what was answered otherwise than it should have been.
    """

    url: str
    written: dict[str, str] = field(default_factory=dict[str, str])
    deleted: set[str] = field(default_factory=set[str])
    failures: list[str] = field(default_factory=list[str])
    searches: int = 0
    writes: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def __enter__(self) -> Traffic:
        for work in (self._search, self._write):
            thread = threading.Thread(target=self._told, args=(work,))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, seconds: float) -> None:
        """Wait for so long, and for some searches and writes that are begun and done meanwhile."""
        searches, writes = self.searches + 8, self.writes + 3
        time.sleep(seconds)
        deadline = time.monotonic() + PATIENCE
        while self.searches < searches or self.writes < writes:
            assert not self.failures
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _told(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a thread that dies would be no traffic
            self.failures.append(repr(error))

    def _search(self) -> None:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE) as http:
            took = 0.0
            for query in itertools.cycle(QUERIES):
                if self._stop.wait(max(0.02, took)):
                    return
                began = time.monotonic()
                answer = http.post("/v1/search", json={"query": query, "collection": NAME})
                took = time.monotonic() - began
                self.searches += 1
                if answer.status_code != 200 or not answer.json()["hits"]:
                    self.failures.append(f"search: {answer.status_code} {answer.text[:200]}")

    def _write(self) -> None:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE) as http:
            took = 0.0
            for number in itertools.count():
                if self._stop.wait(max(0.2, took)):
                    return
                began = time.monotonic()
                id_, text = f"w{number % 40}", f"{number:06} is written about the moon. " * 6
                path = f"/v1/collections/{NAME}/documents/{id_}"
                if number % 7 == 6:
                    answer = http.delete(path)
                    if answer.status_code in {204, 404}:
                        self.written.pop(id_, None)
                        self.deleted.add(id_)
                else:
                    answer = http.put(path, json={"text": text})
                    if answer.status_code in {200, 201}:
                        self.written[id_] = text
                        self.deleted.discard(id_)
                took = time.monotonic() - began
                self.writes += 1
                if answer.status_code not in {200, 201, 204, 404}:
                    self.failures.append(f"write: {answer.status_code} {answer.text[:200]}")

    def texts(self) -> dict[str, str]:
        """What the API has of every document that was written, whole."""
        found: dict[str, str] = {}
        with httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE) as http:
            for id_ in self.written:
                answer = http.get(f"/v1/collections/{NAME}/documents/{id_}")
                if answer.status_code == 200:
                    found[id_] = " ".join(chunk["text"] for chunk in answer.json()["chunks"])
        return found


def switched(machine: Machine, command: str, *flags: str) -> dict[str, Any]:
    done = machine.run("m3-ingest", command, NAME, *flags, "--json")
    return json.loads(done.stdout)


def generation(machine: Machine) -> int:
    return json.loads(machine.run("m3-ingest", "generations", NAME, "--json").stdout)["current"]


def switch_under_load(machine: Machine, url: str, seconds: float) -> Traffic:
    """Rebuild, promote and roll back while others search and write; what they saw.

    Args:
        seconds: that each generation serves at least; some calls that it answers come on top.
    """
    with Traffic(url) as traffic:
        traffic.go_on(seconds)
        switched(machine, "rebuild", "--max-tokens", "32", "--overlap", "0")
        before = generation(machine)
        for command, serving in (("promote", before + 1), ("rollback", before)):
            done = switched(machine, command)
            assert generation(machine) == serving
            print(f"{command}: writers waited {done['writers_waited']} s at most")
            traffic.go_on(seconds)
    return traffic

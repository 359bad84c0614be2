"""The connection to Milvus, embedded or server, and what its errors mean."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol, TypeVar

import grpc
from pymilvus import MilvusClient, MilvusException

from m3.errors import (
    DeadlineExceeded,
    IndexMissing,
    M3Error,
    MilvusRefused,
    MilvusUnreachable,
    StorageFull,
)
from m3.settings import Settings
from store.index.engine import Engine

# pymilvus logs every failed call with its traceback, before it raises it.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

T = TypeVar("T")

_SERVER = "server"
_UNAVAILABLE = 2
_COLLECTION_NOT_FOUND = 100
_GRPC_OPTIONS = {
    # The embedded engine hangs up on clients that ping an idle connection more often.
    "grpc.keepalive_time_ms": 300_000,
    # A fresh client must not wait out the back-off of the one that lost its connection.
    "grpc.use_local_subchannel_pool": 1,
}


class Place(Protocol):
    """Where a Milvus is found."""

    @property
    def embedded(self) -> bool: ...

    def identity(self) -> str:
        """Which Milvus it is; servers are not told apart."""
        ...

    def attach(self) -> str:
        """Its address, reachable as far as can be told."""
        ...

    def detach(self) -> None: ...

    def lost(self) -> str:
        """What to tell someone whose call found nobody there."""
        ...

    def erase(self) -> None:
        """Take the bytes of deleted rows out of its files, where that is not its own affair."""
        ...


class EmbeddedPlace:
    """The engine of a state directory."""

    embedded = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def identity(self) -> str:
        return self._engine.identity()

    def attach(self) -> str:
        return self._engine.attach()

    def detach(self) -> None:
        self._engine.detach()

    def lost(self) -> str:
        return (
            "the embedded Milvus stopped in the middle of a call; nothing published is lost: "
            f"run this again, it starts anew (its log: {self._engine.log})"
        )

    def erase(self) -> None:
        self._engine.erase()


class ServerPlace:
    """A Milvus server or cluster."""

    embedded = False

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def identity(self) -> str:
        return _SERVER

    def attach(self) -> str:
        return self._uri

    def detach(self) -> None:
        """Nothing is held."""

    def lost(self) -> str:
        return f"Milvus does not answer at {self._uri}: check M3_MILVUS_URI and that it runs"

    def erase(self) -> None:
        """A server's compaction does."""


class Milvus:
    """One client for all collections of a process; made anew after the other side was gone."""

    def __init__(self, place: Place, *, token: str = "", timeout: float = 30.0) -> None:
        self.place = place
        self._token = token
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: MilvusClient | None = None
        self.connections = 0
        """How often a client was made: what was loaded before may have to be loaded again."""

    @classmethod
    def of(cls, settings: Settings) -> Milvus:
        place = (
            ServerPlace(settings.milvus_uri)
            if settings.milvus_uri
            else EmbeddedPlace(Engine.of(settings))
        )
        token = settings.milvus_token.get_secret_value() if settings.milvus_token else ""
        return cls(place, token=token, timeout=settings.milvus_timeout)

    @cached_property
    def identity(self) -> str:
        """What a generation's record remembers of where its index is."""
        return self.place.identity()

    def call(self, function: Callable[[Any, float], T], *, within: float | None = None) -> T:
        """`function(client, timeout)`, its errors said in our words.

        Args:
            within: seconds that the caller has, where they are fewer than a call's own.

        Raises:
            MilvusUnreachable, IndexMissing, StorageFull, MilvusRefused
            DeadlineExceeded: no answer within the caller's seconds.
        """
        hurried = within is not None and within < self._timeout
        timeout = within if within is not None and hurried else self._timeout
        client = self._connected(timeout)
        try:
            return function(client, timeout)
        except (MilvusException, grpc.RpcError) as error:
            # That one caller could not wait says nothing of the connection that all share.
            if hurried and "DEADLINE" in str(error):
                raise DeadlineExceeded(f"Milvus did not answer within {timeout:.3g} s") from error
            raise self._translated(client, error) from error

    def _connected(self, timeout: float) -> MilvusClient:
        if not self._lock.acquire(timeout=timeout):
            raise MilvusUnreachable(self.place.lost())
        try:
            if self._client is None:
                address = self.place.attach()
                try:
                    self._client = MilvusClient(
                        uri=address,
                        token=self._token,
                        timeout=self._timeout,
                        grpc_options=_GRPC_OPTIONS,
                        # A shared one would be handed out again after it broke.
                        dedicated=True,
                    )
                except MilvusException as error:
                    raise MilvusUnreachable(self.place.lost()) from error
                self.connections += 1
            return self._client
        finally:
            self._lock.release()

    def _translated(self, client: MilvusClient, error: Exception) -> M3Error:
        text = " ".join(str(error).split())
        code = getattr(error, "code", None)
        if code == _COLLECTION_NOT_FOUND or "collection not found" in text.lower():
            return IndexMissing(
                "the index of this collection is not in Milvus: rebuild it from the table with "
                "`m3-ingest verify COLLECTION --repair`"
            )
        if code == _UNAVAILABLE or isinstance(error, grpc.RpcError) or "DEADLINE" in text:
            with self._lock:
                if self._client is client:
                    self._client = None
            return MilvusUnreachable(self.place.lost())
        if "No space left" in text or "disk" in text.lower():
            return StorageFull(f"Milvus has no room left: {text}")
        return MilvusRefused(f"Milvus refused a call: {text}")

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
            self.place.detach()

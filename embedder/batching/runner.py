"""What the queue and those who compute for it say to each other; all of it on one event loop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from embedder.encoders.encoder import Encoded
from embedder.model.tokens import SpecialTokens
from m3.errors import M3Error
from m3.types import Codec, Kind, ModelInfo, Output


@dataclass(frozen=True, slots=True)
class Hello:
    """What a worker says of itself once it is warm.

    Attributes:
        engine: see `Encoder.engine`.
        tokenizer: as `TextTokenizer.to_json` writes it.
        capacity: tokens it may compute at once.
        device: where it computes: `cpu`, `cuda:0`, …
        devices: how many devices of this kind the machine has.
        rate: tokens a second when it was warmed up.
    """

    info: ModelInfo
    engine: str
    special: SpecialTokens
    tokenizer: str
    capacity: int
    device: str
    devices: int
    rate: float


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of a batch.

    Attributes:
        computing: that the device was busy with it, and with no other.
        finishing: from its launch's end to its columns; a GPU is waited for in them.
    """

    computing: float
    finishing: float


class Runner(Protocol):
    """Computes batches, of each lane one at a time; a query's in between a passage's layers."""

    @property
    def capacity(self) -> int:
        """Tokens that a batch of several texts may have."""
        ...

    def run(
        self,
        number: int,
        lane: Kind,
        ids: Sequence[bytes],
        outputs: Collection[Output],
        codec: Codec,
    ) -> None:
        """Begin with a batch.

        Args:
            ids: int32, of each text.
        """
        ...

    def drop(self, number: int) -> None:
        """Give a batch up: nobody waits for it."""
        ...

    def close(self) -> None:
        """End, with nothing left to do; the listener hears `lost`."""
        ...

    def kill(self) -> None:
        """End at once; the listener hears `lost`."""
        ...


class Listener(Protocol):
    """Told what became of batches. A number that it no longer knows is passed over."""

    def attach(self, runner: Runner, rate: float) -> None:
        """A runner is ready; `rate` is what it computed in tokens a second."""
        ...

    def free(self, runner: Runner, number: int, interruptions: int) -> None:
        """It is launched, after so many interruptions: the next may come.

        The result follows, or was told before.
        """
        ...

    def done(self, runner: Runner, number: int, encoded: Encoded, took: Took) -> None:
        """The result, and the time it took."""
        ...

    def failed(self, runner: Runner, number: int, error: M3Error) -> None:
        """The batch was not computed; the runner goes on."""
        ...

    def dropped(self, runner: Runner, number: int) -> None:
        """The batch was given up."""
        ...

    def retire(self, runner: Runner) -> None:
        """It is worn out: no more batches, and an end when its last is done.

        Told with each of its results, as it may have to wait until another's successor is ready.
        """
        ...

    def lost(self, runner: Runner, reason: str) -> None:
        """The runner ended, and with it all that it had."""
        ...

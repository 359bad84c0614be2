"""A name server of a few lines, whose one name has the addresses that a test says."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_A, _NO_SUCH_NAME = 1, 3
_TO_THE_NAME_ASKED = b"\xc0\x0c"


@dataclass
class Names:
    """What it answers, to whoever asks for whatever name.

    Attributes:
        addresses: IPv4; with none of them there is no such name.
        asked: how often it was asked for them.
    """

    address: str = ""
    addresses: list[str] = field(default_factory=list)
    asked: int = 0

    def answer(self, asked: bytes) -> bytes:
        end = asked.index(b"\0", 12) + 5
        wants_a = struct.unpack(">H", asked[end - 4 : end - 2])[0] == _A
        found = self.addresses if wants_a else []
        self.asked += wants_a
        flags = 0x8180 | (0 if self.addresses else _NO_SUCH_NAME)
        head = asked[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0)
        record = struct.pack(">HHIH", _A, 1, 1, 4)
        records = [_TO_THE_NAME_ASKED + record + socket.inet_aton(each) for each in found]
        return head + asked[12:end] + b"".join(records)


@contextmanager
def names(*addresses: str) -> Iterator[Names]:
    """A name server at a free port of this machine, for the length of a block."""
    served = Names(addresses=list(addresses))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(0.1)
        served.address = f"127.0.0.1:{listening.getsockname()[1]}"
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    asked, who = listening.recvfrom(4096)
                except TimeoutError:
                    continue
                listening.sendto(served.answer(asked), who)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield served
        finally:
            ended.set()
            thread.join()

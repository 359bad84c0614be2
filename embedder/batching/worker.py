"""A worker process: loads the model on one device, says hello, and computes until told to end.

It is started with the numbers of two sockets: small frames go both ways on the first, results
on the second. It ends with the process that started it, whatever ends that.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import structlog

from embedder.batching.computing import Computer, Inbox, Send, Task
from embedder.batching.device import DeviceMemory, check_device
from embedder.batching.relay import Relay
from embedder.batching.wire import Buffer, Head, receive, send
from embedder.encoders import loading
from embedder.encoders.encoder import Encoder, encode
from m3.errors import M3Error
from m3.settings import Settings, load_settings
from m3.types import OUTPUTS, Codec, offsets_of
from serving.logs import configure

Load: TypeAlias = Callable[[Settings, loading.EncoderName, int | None], Encoder]
Devices: TypeAlias = Callable[[], Sequence[int | None]]
Capacity: TypeAlias = Callable[[Encoder, int], int]
Check: TypeAlias = Callable[[int | None], None]

_SWITCH_SECONDS = 0.0005
"""A thread waits at most so long for another's Python code: the default is five milliseconds."""
_NICE = 5
"""Lower priority than the server's, which has to answer and refuse while this computes."""
_WARM_TOKENS = 128
_PR_SET_PDEATHSIG = 1
_log = structlog.stdlib.get_logger("m3.embedder")


def _capacity(encoder: Encoder, wanted: int) -> int:
    from embedder.encoders.probe import capacity  # noqa: PLC0415 - torch takes seconds

    return capacity(encoder, wanted)


def main(
    load: Load = loading.load_encoder,
    devices: Devices = loading.devices,
    capacity: Capacity = _capacity,
    check: Check = check_device,
) -> None:
    """The process's whole life.

    Args:
        load: makes the encoder on one of `devices`.
        capacity: how many tokens, of those wanted, one launch of it may hold.
        check: raises where a device computes nothing more in this process.
    """
    control, results = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    begun = receive(control)
    if begun is None:
        return
    order, _ = begun
    _die_with(order["parent"])
    os.nice(_NICE)
    sys.setswitchinterval(_SWITCH_SECONDS)
    tell, answer = _sender(control), _sender(results)
    inbox = Inbox()
    # From here on: the server may be gone before the model is loaded.
    _in_background(partial(_listen, control, inbox))
    try:
        settings = load_settings(**order["settings"])
        _log_through(tell, settings)
        places = devices()
        place: int = order["place"]
        encoder = load(settings, order["encoder"], places[place])
        room = capacity(encoder, settings.max_batch_tokens)
        _greet(encoder, places[place], len(places), room, answer)
    except Exception as error:  # noqa: BLE001 - travels to the server, which ends with it
        if not isinstance(error, M3Error):
            _log.exception("the model cannot be loaded")
        code = error.code if isinstance(error, M3Error) else M3Error.code
        message = str(error) if isinstance(error, M3Error) else f"loading failed: {error!r}"
        answer({"event": "failed", "code": code, "message": message})
        return
    computer = Computer(
        encoder,
        inbox,
        tell=tell,
        answer=answer,
        memory=DeviceMemory(places[place]).used_and_total,
        examine=partial(_end_unless, partial(check, places[place])),
    )
    _in_background(computer.finish)
    computer.compute()


def _greet(encoder: Encoder, device: int | None, devices: int, capacity: int, answer: Send) -> None:
    """Warm up, and say hello."""
    rate = _warm_up(encoder)
    where = "cpu" if device is None else f"cuda:{device}"
    _log.info(
        "worker is warm",
        device=where,
        pid=os.getpid(),
        tokens_per_second=round(rate),
        capacity=capacity,
    )
    head = {
        "event": "hello",
        "info": asdict(encoder.info),
        "engine": encoder.engine,
        "special": encoder.tokenizer.special.as_tuple(),
        "capacity": capacity,
        "device": where,
        "devices": devices,
        "rate": rate,
    }
    answer(head, encoder.tokenizer.to_json().encode("utf-8"))


def _warm_up(encoder: Encoder) -> float:
    """Set up threads, kernels and buffers, which no caller should wait for.

    Returns:
        Tokens a second of a short text.

    Raises:
        InvalidCheckpoint: the model computes values that are not finite.
    """
    special = encoder.tokenizer.special
    size = min(_WARM_TOKENS, encoder.info.max_tokens)
    ids = [special.cls, *[special.unk] * (size - 2), special.eos]
    for codec in Codec:
        encode(encoder, [ids[-2:]], OUTPUTS, codec)
    for output in OUTPUTS:
        encode(encoder, [ids[-2:]], [output])
    encode(encoder, [ids], OUTPUTS)
    began = time.perf_counter()
    encode(encoder, [ids], OUTPUTS)
    return size / (time.perf_counter() - began)


def _listen(control: socket.socket, inbox: Inbox) -> None:
    """Take in batches until the server closes its end; then there is nothing left to do."""
    while (frame := receive(control)) is not None:
        head, body = frame
        if head["event"] == "drop":
            inbox.drop(head["batch"])
        else:
            inbox.put(_task(head, body))
    os._exit(0)


def _task(head: Head, body: memoryview) -> Task:
    ids = np.frombuffer(body, np.int32)
    bounds = offsets_of(head["lengths"]).tolist()
    return Task(
        number=head["batch"],
        lane=head["lane"],
        token_ids=[ids[start:stop].tolist() for start, stop in pairwise(bounds)],
        outputs=head["outputs"],
        codec=Codec(head["codec"]),
    )


def _sender(sock: socket.socket) -> Send:
    """Writes whole frames, whichever thread they come from."""
    lock = threading.Lock()

    def locked(head: Head, *body: Buffer) -> None:
        with lock:
            send(sock, head, *body)

    return locked


def _log_through(tell: Send, settings: Settings) -> None:
    configure(settings.model_copy(update={"log_file": None}))
    logging.getLogger().handlers = [Relay(tell)]


def _in_background(work: Callable[[], None]) -> None:
    """In a thread whose failure ends the process: half a worker is worse than none."""

    def run() -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever it is
            _log.exception("a worker's thread failed")
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()


def _end_unless(usable: Callable[[], None]) -> None:
    """End the process where its device is not usable: the next one may find it so."""
    try:
        usable()
    except Exception:  # noqa: BLE001 - whatever it is
        _log.exception("a worker's device fails")
        os._exit(1)


def _die_with(parent: int) -> None:
    """Be killed when the server is, however it ends; on Linux, as elsewhere EOF has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


if __name__ == "__main__":
    main()

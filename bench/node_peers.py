"""A node over HTTP beside Infinity over HTTP and sentence-transformers in process, in one run.

Those two compute the dense vector alone, in fp32, and the node all three outputs. Each has one core
and one thread, and the same texts; whoever asks has another core where there is one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import psutil
import typer

from bench.checkpoints import checkpoint, described
from bench.measure import Result, Seconds, Timing, interleaved
from bench.node import cores, node, pinned
from bench.texts import texts_of
from bench.worker import thread_limits
from m3.codec import MEDIA_TYPE

_FOLDER = Path(__file__).with_name("peers")
_MAX_LENGTH = 512
_READY_SECONDS = 300.0
_ANSWER_SECONDS = 600.0
_END_SECONDS = 5.0


def run(
    *,
    python: Annotated[Path, typer.Option(help="Has bench/peers/node-requirements.txt installed.")],
    model: Annotated[str, typer.Option(help="full, layers, stand-in or DIR.")] = "full",
    precisions: Annotated[str, typer.Option(help="Of nodes, comma-separated.")] = "bf16,int8",
    texts: Annotated[int, typer.Option(help="Of a request.", min=1)] = 8,
    tokens: Annotated[int, typer.Option(help="Of a text.", min=8, max=_MAX_LENGTH)] = _MAX_LENGTH,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
) -> Result:
    """CPU seconds of all that answers a request, and seconds by the clock."""
    folder, available = checkpoint(model), cores()
    served, asking = available[:1], available[-1:]
    sent = texts_of(folder, [tokens] * texts)
    with ExitStack() as stack:
        ask: dict[str, Callable[[Sequence[str]], Seconds]] = {
            "sentence-transformers": stack.enter_context(_sentences(python, folder, served)),
            "Infinity, HTTP": stack.enter_context(_infinity(python, folder, served)),
        }
        for precision in precisions.split(","):
            ours = stack.enter_context(node(folder, precision=precision, cores=served))
            ask[f"node, {precision}, HTTP"] = _Server(
                f"{ours.url}/v1/encode",
                {"Accept": f"{MEDIA_TYPE};codec=int8"},
                {"kind": "passage"},
                ours.process,
            )
        stack.enter_context(pinned(asking))
        asked = {name: _asking(one, sent) for name, one in ask.items()}
        timings = interleaved(asked, repeats=rounds)
    notes = {
        "texts": f"{texts} of {tokens} tokens a request",
        "model": described(model),
        "outputs": "the node: dense, sparse and ColBERT in int8 codes; its peers: dense alone",
        "peers": (_FOLDER / "node-requirements.txt").read_text().splitlines()[1:],
    }
    return Result("node-peers", _figures(timings, texts * tokens), notes)


def _figures(timings: Sequence[Timing], tokens: int) -> list[dict[str, Any]]:
    """Under `x` a contender: times faster than it, the median of the rounds."""
    first, second, *_ = timings
    return [
        {
            "what": timing.name,
            "CPU s": timing.median_cpu,
            "wall s": timing.median_wall,
            "tokens/CPU s": tokens / timing.median_cpu,
            f"x {_short(first)}": first.cpu_ratio(timing),
            f"x {_short(second)}": second.cpu_ratio(timing),
            "runs": len(timing.cpu),
        }
        for timing in timings
    ]


def _short(timing: Timing) -> str:
    return timing.name.split(",")[0]


def _asking(ask: Callable[[Sequence[str]], Seconds], texts: Sequence[str]) -> Callable[[], Seconds]:
    return lambda: ask(texts)


@dataclass(frozen=True, slots=True)
class _Server:
    """Texts under `input` to an address, and what all processes behind it take."""

    url: str
    headers: Mapping[str, str]
    members: Mapping[str, str]
    process: psutil.Process

    def __call__(self, texts: Sequence[str]) -> Seconds:
        body = orjson.dumps({"input": list(texts), **self.members})
        headers = {"Content-Type": "application/json", **self.headers}
        cpu, wall = _cpu(self.process), time.perf_counter()
        answer = httpx.post(
            self.url, content=body, headers=headers, trust_env=False, timeout=_ANSWER_SECONDS
        )
        wall = time.perf_counter() - wall
        answer.raise_for_status()
        return Seconds(wall, _cpu(self.process) - cpu)


@dataclass(frozen=True, slots=True)
class _Library:
    """A process that answers lines of JSON."""

    process: subprocess.Popen[bytes]

    def __call__(self, texts: Sequence[str]) -> Seconds:
        assert self.process.stdin is not None
        line = orjson.dumps(list(texts)) + b"\n"
        measured = psutil.Process(self.process.pid)
        cpu, wall = _cpu(measured), time.perf_counter()
        self.process.stdin.write(line)
        self.process.stdin.flush()
        answer = self.read()
        wall = time.perf_counter() - wall
        assert answer == {"vectors": len(texts)}, answer
        return Seconds(wall, _cpu(measured) - cpu)

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise typer.BadParameter("sentence-transformers ended: what it said is above")
        return orjson.loads(line)


@contextmanager
def _sentences(python: Path, model: Path, served: Sequence[int]) -> Generator[_Library]:
    arguments = [str(python), str(_FOLDER / "sentences.py"), str(model), str(_MAX_LENGTH)]
    with _process(arguments, served, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        library = _Library(process)
        library.read()
        yield library


@contextmanager
def _infinity(python: Path, model: Path, served: Sequence[int]) -> Generator[_Server]:
    port = _free_port()
    arguments = [
        *(str(python.with_name("infinity_emb")), "v2", "--model-id", str(model)),
        *("--engine", "torch", "--device", "cpu", "--dtype", "float32"),
        *("--no-model-warmup", "--host", "127.0.0.1", "--port", str(port)),
    ]
    with _process(arguments, served, stdout=subprocess.DEVNULL) as process:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", process)
        members = {"model": model.name}
        url = f"http://127.0.0.1:{port}/embeddings"
        yield _Server(url, {}, members, psutil.Process(process.pid))


@contextmanager
def _process(
    arguments: Sequence[str], served: Sequence[int], *, stdin: int | None = None, stdout: int
) -> Generator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **thread_limits(len(served)), "HF_HUB_OFFLINE": "1"}
    with pinned(served):
        process = subprocess.Popen(arguments, env=environment, stdin=stdin, stdout=stdout)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise typer.BadParameter("Infinity ended: what it said is above")
        try:
            if httpx.get(url, trust_env=False, timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise typer.BadParameter(f"Infinity was not ready within {_READY_SECONDS:g} s")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and of those it started."""
    tree = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in tree)

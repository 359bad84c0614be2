"""The client: splitting, choosing a node by its model, trying again, refusing in plain words."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pytest
from tokenizers import Tokenizer

from embedder import transport
from embedder.client import EmbedderClient
from embedder.encoders.columns import assemble
from m3.codec import to_bytes
from m3.errors import (
    DeadlineExceeded,
    EmbedderUnreachable,
    InvalidConfiguration,
    InvalidInput,
    ModelMismatch,
    Overloaded,
)
from m3.settings import Settings
from m3.types import Codec, ModelInfo
from tests.processes import COMMANDS, server

pytestmark = pytest.mark.anyio
FIRST = ModelInfo("first", "1" * 32, "fp32", 4, 512)
SECOND = ModelInfo("second", "2" * 32, "fp32", 4, 512)
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class ScriptedNode:
    """A node that answers as a test says, over real sockets. Without a model it is not up yet."""

    model: ModelInfo | None = FIRST
    models: Callable[[], Answer] | None = None
    script: list[Callable[[], Answer | None]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    noted: asyncio.Event = field(default_factory=asyncio.Event)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    url: str = ""
    stalls: bool = False

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.headers.append(head)
        length = next(
            (
                int(line.split(":")[1])
                for line in head.lower().splitlines()
                if "content-len" in line
            ),
            0,
        )
        body, path = await reader.readexactly(length), head.split()[1]
        self.paths.append(path)
        self.noted.set()
        answer = self.answer(path, body)
        if path in self.gates:
            await self.gates[path].wait()
        if self.stalls:
            await reader.read()  # until the caller hangs up
        elif answer is not None:
            status, headers, body = answer
            lines = [f"{name}: {value}" for name, value in headers.items()]
            lines += [f"Content-Length: {len(body)}", "Connection: close"]
            writer.write(f"HTTP/1.1 {status} X\r\n".encode() + "\r\n".join(lines).encode())
            writer.write(b"\r\n\r\n" + body)
            await writer.drain()
        writer.close()

    async def asked(self, path: str, times: int) -> None:
        """Return once a path has been asked for so many times."""
        while self.paths.count(path) < times:
            self.noted.clear()
            await self.noted.wait()

    def answer(self, path: str, body: bytes) -> Answer | None:
        if self.model is None:
            return 404, {}, b"<html>a proxy's page</html>"
        if path == "/v1/models":
            if self.models is not None:
                return self.models()
            members = {name: getattr(self.model, name) for name in ModelInfo.__slots__}
            return 200, {}, orjson.dumps({"data": [members]})
        self.requests.append(orjson.loads(body))
        if self.script:
            return self.script.pop(0)()
        texts = self.requests[-1]["input"]
        # A text's vector is its number in the test's list.
        vectors = [[int(text.split()[0])] * 4 for text in texts]
        batch = assemble([[0, 1]] * len(texts), self.model, dense=np.array(vectors, np.float32))
        return 200, {}, to_bytes(batch)


@asynccontextmanager
async def serving(*nodes: ScriptedNode) -> AsyncIterator[None]:
    servers = [await asyncio.start_server(node.handle, "127.0.0.1", 0) for node in nodes]
    for node, listening in zip(nodes, servers, strict=True):
        node.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield
    finally:
        for listening in servers:
            listening.close()


def problem(status: int, code: str, detail: str = "why", **headers: str) -> Callable[[], Answer]:
    body = orjson.dumps({"status": status, "code": code, "detail": detail})
    return lambda: (status, {"Content-Type": "application/problem+json", **headers}, body)


def hang_up() -> None:
    return None


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedNode]:
    node = ScriptedNode()
    async with serving(node):
        yield node


@pytest.fixture
async def client(scripted: ScriptedNode) -> AsyncIterator[EmbedderClient]:
    async with EmbedderClient([scripted.url], timeout=60) as client:
        yield client


class Clock:
    """Time that passes where somebody waits between two tries, and only there."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of whoever sends requests."""
    clock = Clock()
    for name in ("time", "asyncio"):
        monkeypatch.setattr(transport, name, clock)
    return clock


async def test_a_real_node_answers_all_three(node):
    texts = ["What is BGE M3?", "Milvus is a vector database.", "語言"]
    async with EmbedderClient([node]) as client:
        model = await client.model()
        batch = await client.encode(texts, "passage", codec=Codec.FP32)
        query = await client.encode(texts[:1], "query", fingerprint=model.fingerprint)
        tokenizer = Tokenizer.from_str(await client.tokenizer(model.fingerprint))
    assert batch.fingerprint == query.fingerprint == model.fingerprint
    assert query.codec is Codec.FP32
    np.testing.assert_allclose(query.dense[0], batch.dense[0], atol=1e-5)
    assert batch.tokens.tolist() == [len(tokenizer.encode(text).ids) for text in texts]
    assert batch.row(1).token_ids.tolist() == tokenizer.encode(texts[1]).ids[1:]


async def test_many_texts_travel_in_parts_and_return_in_order(scripted, client):
    texts = [f"{number} " + "word " * 100 for number in range(300)]
    batch = await client.encode(texts, "passage", outputs=["dense"])
    assert batch.dense[:, 0].tolist() == list(range(300))
    assert len(scripted.requests) > 5
    for request in scripted.requests:
        assert sum(len(text) for text in request["input"]) < 5 * 4096


async def test_one_long_text_is_one_request(scripted, client):
    texts = ["0 " + "word " * 50_000, "1"]
    assert len(await client.encode(texts, "passage", outputs=["dense"])) == 2
    assert [len(request["input"]) for request in scripted.requests] == [1, 1]


async def test_many_short_texts_are_few_requests(scripted, client):
    await client.encode(["1"] * 1000, "passage", outputs=["dense"])
    assert len(scripted.requests) == 4


@pytest.mark.parametrize(
    "failure",
    [
        hang_up,
        problem(502, "bad_gateway"),
        problem(503, "not_ready"),
        lambda: (504, {}, b"<html>a proxy's page</html>"),
    ],
)
async def test_a_passing_failure_is_tried_again(scripted, client, clock, failure):
    scripted.script = [failure, failure]
    batch = await client.encode(["7"], "query", outputs=["dense"])
    assert batch.dense[0, 0] == 7
    assert len(scripted.requests) == 3
    assert 0.3 <= clock.now <= 0.375


async def test_a_full_node_is_waited_for_as_long_as_it_says(scripted, client, clock):
    scripted.script = [problem(429, "overloaded", **{"Retry-After": "1"})]
    await client.encode(["7"], "passage", outputs=["dense"])
    assert 1 <= clock.now <= 1.25


async def test_a_node_is_asked_again_sooner_than_it_says_where_that_is_long(
    scripted, client, clock
):
    scripted.script = [problem(429, "overloaded", **{"Retry-After": "60"})]
    await client.encode(["7"], "passage", outputs=["dense"])
    assert len(scripted.requests) == 2
    assert 10 <= clock.now <= 12.5


async def test_a_node_that_stays_full_is_an_overload_within_the_timeout(
    scripted, clock, monkeypatch
):
    monkeypatch.setattr(transport, "_LONGEST_WAIT", 1000)
    scripted.script = [problem(429, "overloaded", **{"Retry-After": "1000"})] * 100
    async with EmbedderClient([scripted.url], timeout=1900) as client:
        with pytest.raises(Overloaded):
            await client.encode(["7"], "passage")
    # A second wait would have been too long.
    assert len(scripted.requests) == 2
    assert 1000 <= clock.now <= 1250


async def test_a_node_that_stays_silent_is_unreachable_in_one_line(clock):
    async with EmbedderClient(["http://127.0.0.1:9"]) as client:
        with pytest.raises(EmbedderUnreachable) as error:
            await client.encode(["7"], "query")
    assert 3 <= clock.now < 4
    assert "http://127.0.0.1:9" in error.value.message
    assert "`m3-embedder serve`" in error.value.message
    assert "\n" not in error.value.message


async def test_a_node_that_hangs_is_given_up_at_the_timeout(scripted):
    scripted.stalls = True
    async with EmbedderClient([scripted.url], timeout=0.5) as client:
        with pytest.raises(EmbedderUnreachable, match="M3_EMBEDDER_TIMEOUT"):
            await client.encode(["7"], "query")


async def test_a_refusal_is_not_tried_again_and_keeps_its_class(scripted, client):
    for refusal, kind in [
        (problem(400, "invalid_input"), InvalidInput),
        (problem(504, "deadline_exceeded"), DeadlineExceeded),
        (problem(401, "unauthorized"), InvalidConfiguration),
    ]:
        scripted.script, scripted.requests = [refusal], []
        with pytest.raises(kind):
            await client.encode(["7"], "query")
        assert len(scripted.requests) == 1


async def test_a_refused_item_is_numbered_as_the_caller_counts(scripted, client):
    scripted.script = [problem(400, "invalid_input", "input[3]: the text is empty")] * 2
    with pytest.raises(InvalidInput) as error:
        await client.encode(["1"] * 500, "passage")
    assert error.value.message in {"input[3]: the text is empty", "input[259]: the text is empty"}
    with pytest.raises(InvalidInput, match=r"input\[1\]: not a valid text"):
        await client.encode(["fine", "\ud800"], "passage")
    with pytest.raises(InvalidInput, match="no text"):
        await client.encode([], "passage")


async def test_a_fingerprint_chooses_the_node():
    first, second = ScriptedNode(FIRST), ScriptedNode(SECOND)
    async with serving(first, second), EmbedderClient([first.url, second.url]) as client:
        for number in range(3):
            batch = await client.encode(
                [str(number)], "query", outputs=["dense"], fingerprint=SECOND.fingerprint
            )
            assert batch.fingerprint == SECOND.fingerprint
        assert (len(first.requests), len(second.requests)) == (0, 3)
        assert await client.model(SECOND.fingerprint) == SECOND
        assert await client.model() == FIRST
        await client.encode(["1"], "query", outputs=["dense"])
        assert len(first.requests) == 1


async def test_a_model_that_nobody_serves_is_a_mismatch(scripted, client):
    with pytest.raises(ModelMismatch, match="M3_EMBEDDER_URL"):
        await client.encode(["1"], "query", fingerprint="3" * 32)
    with pytest.raises(ModelMismatch):
        await client.tokenizer("3" * 32)
    assert scripted.requests == []


async def test_a_node_that_changed_its_model_is_noticed():
    first, second = ScriptedNode(FIRST), ScriptedNode(SECOND)
    async with serving(first, second), EmbedderClient([first.url, second.url]) as client:
        await client.encode(["1"], "query", outputs=["dense"], fingerprint=FIRST.fingerprint)
        first.model, second.model = SECOND, FIRST
        batch = await client.encode(
            ["1"], "query", outputs=["dense"], fingerprint=FIRST.fingerprint
        )
        assert batch.fingerprint == FIRST.fingerprint
        second.model = SECOND
        with pytest.raises(ModelMismatch):
            await client.encode(["1"], "query", outputs=["dense"], fingerprint=FIRST.fingerprint)


async def test_one_node_that_changed_its_model_serves_the_other(scripted, client):
    await client.encode(["1"], "query", outputs=["dense"], fingerprint=FIRST.fingerprint)
    assert await client.model() == FIRST
    scripted.model = SECOND
    batch = await client.encode(["1"], "query", outputs=["dense"], fingerprint=SECOND.fingerprint)
    assert batch.fingerprint == SECOND.fingerprint
    assert await client.model() == SECOND


async def test_tasks_that_look_for_models_at_once_do_not_disturb_each_other():
    first, second = ScriptedNode(FIRST), ScriptedNode(SECOND)

    async def ask(model: ModelInfo) -> None:
        fingerprint = model.fingerprint
        batch = await client.encode(["1"], "query", outputs=["dense"], fingerprint=fingerprint)
        assert batch.fingerprint == fingerprint

    async with (
        serving(first, second),
        EmbedderClient([first.url, second.url]) as client,
        asyncio.timeout(60),
    ):
        await ask(SECOND)
        first.model, second.model = SECOND, FIRST
        first.gates["/v1/encode"] = asyncio.Event()
        second.gates["/v1/models"] = asyncio.Event()
        # One task is about to find another model than it wants.
        surprised = asyncio.create_task(ask(FIRST))
        await first.asked("/v1/encode", 1)
        # Another has found that already, and looks: it waits for the second node's answer.
        looking = asyncio.create_task(ask(SECOND))
        await first.asked("/v1/models", 2)
        first.gates["/v1/models"] = asyncio.Event()
        first.gates.pop("/v1/encode").set()
        await first.asked("/v1/models", 3)
        second.gates.pop("/v1/models").set()
        await looking
        first.gates.pop("/v1/models").set()
        await surprised


async def test_a_node_that_comes_up_late_or_changes_its_model_gets_its_share(monkeypatch):
    monkeypatch.setattr("embedder.client._LOOK_SECONDS", 0.0)
    nodes = [ScriptedNode(FIRST), ScriptedNode(None), ScriptedNode(SECOND)]
    async with serving(*nodes), EmbedderClient([node.url for node in nodes]) as client:
        await client.encode(["1"], "query", outputs=["dense"])
        nodes[1].model = nodes[2].model = FIRST
        async with asyncio.timeout(60):
            while not all(node.requests for node in nodes):
                await client.encode(["1"], "query", outputs=["dense"])


async def test_nodes_of_one_model_take_turns_and_cover_for_each_other(clock):
    nodes = [ScriptedNode(), ScriptedNode()]
    async with serving(*nodes), EmbedderClient([node.url for node in nodes]) as client:
        for _ in range(4):
            await client.encode(["1"], "query", outputs=["dense"])
        assert [len(node.requests) for node in nodes] == [2, 2]
        nodes[0].script = [hang_up] * 100
        for _ in range(4):
            await client.encode(["1"], "query", outputs=["dense"])


async def test_every_request_gets_to_the_node_that_lives_however_many_there_are(monkeypatch):
    # Each may fail once: whoever asks the dead node must ask the other one next.
    monkeypatch.setattr("embedder.transport._FAILURES", 2)
    nodes = [ScriptedNode(), ScriptedNode()]
    async with serving(*nodes), EmbedderClient([node.url for node in nodes]) as client:
        await client.model(FIRST.fingerprint)
        nodes[0].script = [hang_up] * 1000
        for count in (20, 21):
            asked = (client.encode(["1"], "query", outputs=["dense"]) for _ in range(count))
            await asyncio.gather(*asked)


async def test_a_request_that_a_full_node_refuses_goes_to_the_next():
    nodes = [ScriptedNode(), ScriptedNode()]
    for node in nodes:
        node.script = [problem(429, "overloaded", **{"Retry-After": "0"})]
    async with serving(*nodes), EmbedderClient([node.url for node in nodes]) as client:
        await client.encode(["1"], "query", outputs=["dense"])
    assert [len(node.requests) for node in nodes] in ([2, 1], [1, 2])


async def test_a_node_that_is_down_does_not_keep_others_from_answering(clock):
    up = ScriptedNode()
    async with serving(up), EmbedderClient(["http://127.0.0.1:9", up.url]) as client:
        assert await client.model() == FIRST
        assert len(await client.encode(["1"], "query", outputs=["dense"])) == 1


async def test_a_key_is_sent_and_proxies_are_not_used(scripted, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    settings = Settings(embedder_url=(scripted.url,), api_key="secret\n")
    async with EmbedderClient.from_settings(settings) as client:
        await client.encode(["1"], "query", outputs=["dense"])
    assert "authorization: bearer secret" in scripted.headers[-1].lower()


async def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(scripted):
    for key in ("sec\nret", "sécret"):
        with pytest.raises(InvalidInput, match="API key") as caught:
            EmbedderClient([scripted.url], api_key=key)
        assert key not in caught.value.message


async def test_a_real_node_with_keys_lets_only_their_holders_in(stand_in, tmp_path):
    from hashlib import sha256

    keys = tmp_path / "keys"
    keys.write_text(sha256(b"secret").hexdigest())
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    with server(arguments, {"M3_API_KEYS_FILE": str(keys)}) as (url, _):
        async with EmbedderClient([url], api_key="secret") as client:
            assert len(await client.encode(["a"], "query")) == 1
        async with EmbedderClient([url]) as client:
            with pytest.raises(InvalidConfiguration, match="M3_API_KEY") as caught:
                await client.encode(["a"], "query")
            # A search API that asks for it answers with this, which is not its own caller's doing.
            assert caught.value.status == 500


@pytest.mark.parametrize(
    "models",
    [
        b"<html>welcome</html>",
        b"[]",
        b'{"data": {"id": "x"}}',
        b'{"data": []}',
        b'{"data": ["x"]}',
        b'{"object": "list", "data": [{"id": "llm", "owned_by": "someone"}]}',
    ],
)
async def test_another_server_in_the_nodes_place_is_told(scripted, client, models):
    scripted.models = lambda: (200, {}, models)
    with pytest.raises(EmbedderUnreachable, match="M3_EMBEDDER_URL"):
        await client.model()


async def test_what_another_server_has_not_is_no_fault_of_the_callers(scripted, client):
    scripted.models = problem(404, "not_found")
    with pytest.raises(EmbedderUnreachable, match="M3_EMBEDDER_URL"):
        await client.model()


@pytest.mark.parametrize(
    "url",
    [
        "localhost:7860",
        "http://",
        "http:///v1",
        "http://:7860",
        "http://host:port",
        "http://host:0",
        "http://host:70000",
        "http://[::1",
        "http://ho\nst",
        "ftp://host",
    ],
)
def test_what_is_no_url_is_refused(url):
    with pytest.raises(InvalidConfiguration, match="M3_EMBEDDER_URL"):
        EmbedderClient([url])


def test_importing_the_client_imports_no_model_library():
    code = (
        "import sys, embedder.client;"
        "heavy = {'torch', 'transformers', 'FlagEmbedding', 'fastapi', 'tokenizers'};"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""`/v1/embeddings`: OpenAI's shape, and OpenAI's own client over a real node."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.embedder.held_workers import standing, worker_of
from tests.processes import COMMANDS, server, wait_until

TEXTS = ["What is BGE M3?", "Milvus is a vector database.", "one two two three"]


@pytest.fixture(scope="module")
def http(node: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def dense(http: httpx.Client) -> list[list[float]]:
    answer = http.post("/v1/encode", json={"input": TEXTS, "outputs": ["dense"]}).json()
    return [item["dense"] for item in answer["data"]]


@pytest.fixture
def client(node: str) -> Iterator[openai.OpenAI]:
    with client_of(node) as client:
        yield client


def client_of(url: str, **options: Any) -> openai.OpenAI:
    http = httpx.Client(trust_env=False, timeout=120)
    return openai.OpenAI(api_key="any", base_url=f"{url}/v1", http_client=http, **options)


def post(http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post("/v1/embeddings", json={"model": "any", **body})


def test_a_text_or_token_ids_are_taken(http):
    ids = http.post("/v1/tokenize", json={"input": [TEXTS[0]]}).json()["data"][0]["ids"]
    vectors = [
        post(http, input=form).json()["data"][0]["embedding"]
        for form in (TEXTS[0], [TEXTS[0]], ids, [ids], ids[1:-1])
    ]
    for vector in vectors[1:]:
        assert vector == pytest.approx(vectors[0], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": []}, "at least one text"),
        ({"input": ""}, "item 0 is empty"),
        ({"input": ["a", " "]}, "item 1 is empty"),
        ({"input": [[5], []]}, "item 1 is empty"),
        ({"input": ["a", 5]}, "item 1 is neither"),
        ({"input": None}, "item 0 is neither"),
        ({"input": {"text": "a"}}, "item 0 is neither"),
        ({"input": [10**7]}, "no token 10000000"),
        ({"input": [-1]}, "item 0 is neither"),
        ({"input": [True]}, "item 0 is neither"),
        ({"input": ["a", "word " * 600]}, "input[1]: the text is longer"),
        ({"input": "a", "dimensions": 64}, "dimensions: the model has 384"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format: "),
        ({}, "input: Field required"),
    ],
)
def test_errors_have_openais_shape(http, body, words):
    answer = post(http, **body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["param"] == next((name for name in reversed(body) if name != "input"), "input")


def test_long_texts_are_cut_when_told(http):
    assert post(http, input="word " * 600, truncate=True).json()["usage"]["total_tokens"] == 512


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_openais_client_reads_each_encoding(client, dense, encoding):
    chosen = {"encoding_format": encoding} if encoding else {}
    answer = client.embeddings.create(model="any", input=TEXTS, **chosen)
    vectors = [item.embedding for item in answer.data]
    if encoding == "base64":
        # Asked for by name, it is left as it travels.
        vectors = [np.frombuffer(base64.b64decode(vector), "<f4") for vector in vectors]
    np.testing.assert_allclose(vectors, dense, atol=1e-5)
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


def test_an_encoding_that_is_null_is_the_one_of_none(http):
    unset, null = (post(http, input="a", **more) for more in ({}, {"encoding_format": None}))
    assert unset.status_code == null.status_code == 200
    assert unset.json()["data"] == null.json()["data"]


def test_openais_client_sends_token_ids(client, dense, http):
    items = http.post("/v1/tokenize", json={"input": TEXTS}).json()["data"]
    answer = client.embeddings.create(model="any", input=[item["ids"] for item in items])
    np.testing.assert_allclose([item.embedding for item in answer.data], dense, atol=1e-5)
    assert answer.usage.total_tokens == sum(len(item["ids"]) for item in items)


def test_openais_client_is_told_that_dimensions_cannot_be_cut(client):
    with pytest.raises(openai.BadRequestError, match="cannot be cut to 64") as refused:
        client.embeddings.create(model="any", input=TEXTS, dimensions=64)
    assert refused.value.type == "invalid_request_error"
    assert refused.value.code == "invalid_input"
    assert refused.value.param == "dimensions"
    whole = client.embeddings.create(model="any", input=TEXTS, dimensions=384)
    assert len(whole.data[0].embedding) == 384


def test_openais_client_is_told_of_an_encoding_there_is_not(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="any", input=TEXTS, encoding_format="int8")
    assert refused.value.param == "encoding_format"


def test_openais_client_finds_the_model(client):
    listed = client.models.list().data[0]
    assert client.models.retrieve(listed.id) == listed
    with pytest.raises(openai.NotFoundError, match="does not serve"):
        client.models.retrieve("org/other")


def test_openais_client_comes_back_after_429(stand_in: Path):
    """Others fill a small queue, until the client was refused; then it gets its turn."""
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    statuses: list[int] = []

    def queued() -> str | None:
        tokens = httpx.get(f"{url}/livez", trust_env=False, timeout=60).headers["x-queue-tokens"]
        return tokens if int(tokens) > 5000 else None

    with server(arguments, {"M3_MAX_QUEUE_TOKENS": "8192"}) as (url, node), ExitStack() as held:
        worker = held.enter_context(standing(worker_of(node)))
        # The worker has one's, three more have room.
        crowd = [threading.Thread(target=crowd_in, args=(url, name)) for name in range(6)]
        for one in crowd:
            one.start()
        wait_until(queued, node)

        def told(answer: httpx.Response) -> None:
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                worker.resume()

        http = httpx.Client(trust_env=False, event_hooks={"response": [told]})
        with openai.OpenAI(
            api_key="any", base_url=f"{url}/v1", http_client=http, max_retries=20
        ) as client:
            answer = client.embeddings.create(
                model="any", input=[f"{i} " + "word " * 400 for i in range(8)]
            )
        assert len(answer.data) == 8
        for one in crowd:
            one.join()
    assert statuses[0] == 429
    assert statuses[-2:] == [429, 200]


def crowd_in(url: str, name: int) -> None:
    """Ask for much, no text twice."""
    texts = [f"{name} {i} " + "word " * 480 for i in range(4)]
    body = {"input": texts, "outputs": ["dense"]}
    httpx.post(f"{url}/v1/encode", json=body, trust_env=False, timeout=120)

"""The node's HTTP faces, over a real process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from tokenizers import Tokenizer

from m3.codec import MEDIA_TYPE, decode_tokens, from_bytes
from m3.types import Codec
from tests.embedder.held_workers import Gate, standing, until_queued, worker_of
from tests.processes import COMMANDS, Running, running, server, wait_for_server, wait_until

TEXTS = ["What is BGE M3?", "Milvus is a vector database.", "one two two three"]


@pytest.fixture(scope="module")
def http(node: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def own(stand_in: Path) -> Iterator[tuple[str, Running]]:
    """A node of this file alone, with a small queue and a log that is structured."""
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    settings = {"M3_MAX_QUEUE_TOKENS": "8192", "M3_LOG_FORMAT": "json"}
    with server(arguments, settings) as started:
        yield started


def encode(http: httpx.Client, accept: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Accept": accept} if accept else {}
    return http.post("/v1/encode", json={"input": TEXTS, **body}, headers=headers)


def test_json_has_all_three_of_every_text(http):
    answer = encode(http, kind="query").json()
    model = http.get("/v1/models").json()["data"][0]
    assert (answer["model"], answer["fingerprint"]) == (model["id"], model["fingerprint"])
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    for item in answer["data"]:
        assert len(item["dense"]) == model["dimension"]
        assert sum(value**2 for value in item["dense"]) == pytest.approx(1, abs=1e-5)
        indices = item["sparse"]["indices"]
        assert indices == sorted(set(indices))
        assert all(value > 0 for value in item["sparse"]["values"])
        assert len(item["colbert"]) == item["tokens"] - 1
        assert item["truncated"] is False
    assert answer["usage"]["total_tokens"] == sum(item["tokens"] for item in answer["data"])


@pytest.mark.parametrize("codec", list(Codec))
def test_the_binary_form_holds_the_same_values(http, codec):
    answer = encode(http, f"{MEDIA_TYPE};codec={codec}")
    assert answer.headers["content-type"] == MEDIA_TYPE
    batch = from_bytes(answer.content)
    assert batch.codec is codec
    coarse = {Codec.FP32: 1e-6, Codec.BF16: 5e-3, Codec.INT8: 5e-3}[codec]
    for row, item in zip(batch, encode(http).json()["data"], strict=True):
        np.testing.assert_allclose(row.dense, item["dense"], atol=max(coarse / 5, 1e-6))
        np.testing.assert_allclose(decode_tokens(row.codes, codec), item["colbert"], atol=coarse)
        assert row.sparse_ids.tolist() == item["sparse"]["indices"]
        np.testing.assert_allclose(row.sparse_weights, item["sparse"]["values"], atol=1e-6)


@pytest.mark.parametrize(("encoding", "dtype"), [("base64", "<f4"), ("base64-fp16", "<f2")])
def test_base64_holds_the_same_values(http, encoding, dtype):
    packed = encode(http, encoding=encoding).json()["data"]
    for item, plain in zip(packed, encode(http).json()["data"], strict=True):
        assert item["sparse"]["indices"] == plain["sparse"]["indices"]
        atol = 1e-5 if dtype == "<f4" else 1e-3
        for name in ("dense", "colbert"):
            values = np.frombuffer(base64.b64decode(item[name]), dtype)
            np.testing.assert_allclose(values, np.ravel(plain[name]), atol=atol)


def test_queries_travel_as_fp32_whatever_the_codec(http):
    answer = encode(http, f"{MEDIA_TYPE};codec=int8", kind="query")
    assert from_bytes(answer.content).codec is Codec.FP32


def test_the_binary_form_is_int8_unless_said_otherwise(http):
    batch = from_bytes(encode(http, f"text/html, {MEDIA_TYPE}").content)
    assert batch.codec is Codec.INT8
    assert batch.dense.dtype == np.float16


def test_outputs_that_are_not_asked_for_are_absent(http):
    item = encode(http, outputs=["sparse"]).json()["data"][0]
    assert item.keys() == {"index", "tokens", "truncated", "sparse"}
    batch = from_bytes(encode(http, MEDIA_TYPE, outputs=["dense"]).content)
    assert (len(batch), len(batch.sparse_ids), len(batch.token_ids)) == (3, 0, 0)


def test_long_texts_are_cut_and_say_so(http):
    answer = encode(http, input=["short", "word " * 600], outputs=["dense"]).json()["data"]
    assert [(item["tokens"], item["truncated"]) for item in answer] == [(3, False), (512, True)]
    cut = encode(http, input=["word " * 50], max_length=12, outputs=["dense"]).json()["data"][0]
    assert (cut["tokens"], cut["truncated"]) == (12, True)
    same = encode(http, input=["word " * 10], outputs=["dense"]).json()["data"][0]
    assert cut["dense"] == pytest.approx(same["dense"], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": []}, "input: List should have at least 1 item"),
        ({"input": ["a", ""]}, r"input[1]: the text is empty"),
        ({"input": ["a", " \n"]}, r"input[1]: the text is empty"),
        ({"input": ["a", None]}, "input[1]: Input should be a valid string"),
        ({"input": "a"}, "input: Input should be a valid list"),
        ({"input": ["a"] * 2049}, "input: 2049 texts; one request may have 2048"),
        ({"kind": "document"}, "kind: Input should be 'query' or 'passage'"),
        ({"outputs": ["dense", "splade"]}, "outputs[1]: Input should be 'dense'"),
        ({"outputs": []}, "outputs: "),
        ({"max_length": 513}, "max_length: 513 is not within 3 and 512"),
        ({"max_length": 2}, "max_length: Input should be greater than or equal to 3"),
        ({"max_length": "9"}, "max_length: Input should be a valid integer"),
        ({"deadline_ms": 0}, "deadline_ms: "),
        ({"max_lenght": 9}, "max_lenght: Extra inputs are not permitted"),
        ({"input": ["a", "word " * 600], "truncate": False}, "input[1]: the text is longer"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(http, body, words):
    answer = encode(http, **body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_an_unknown_codec_is_refused(http):
    answer = encode(http, f"{MEDIA_TYPE};codec=int4")
    assert answer.status_code == 400
    assert "int8, bf16, fp32" in answer.json()["detail"]


def test_every_answer_has_an_id_and_the_load(http):
    for answer in (encode(http), http.get("/nowhere"), http.get("/livez")):
        assert answer.headers["x-request-id"]
        assert answer.headers["x-queue-tokens"].isdigit()


def test_the_log_says_how_much_a_request_asked_for_under_the_callers_id(own):
    url, process = own
    for path, body in (
        ("encode", {"input": ["a b", "c"]}),
        ("embeddings", {"input": ["a b", "c"]}),
        ("rerank", {"query": "a b", "documents": ["c"]}),
    ):
        headers = {"X-Request-Id": f"mine-{path}"}
        httpx.post(f"{url}/v1/{path}", json=body, headers=headers, trust_env=False, timeout=60)

    def lines() -> list[str]:
        whole = process.output().rpartition("\n")[0]
        return [line for line in whole.splitlines() if "mine-" in line]

    # A line is written when its answer has been sent.
    wait_until(lambda: "all" if len(lines()) >= 3 else None, process)
    logged = [orjson.loads(line) for line in lines()]
    told = [(line["request_id"], line["texts"], line["tokens"]) for line in logged]
    assert told == [("mine-encode", 2, 7), ("mine-embeddings", 2, 7), ("mine-rerank", 1, 7)]


def test_a_deadline_that_passes_is_504(http):
    answer = encode(http, input=long_texts(64), deadline_ms=1)
    assert answer.status_code == 504
    assert answer.json()["code"] == "deadline_exceeded"


def test_the_tokenizer_cuts_as_the_node_does(http):
    answer = http.get("/v1/tokenizer")
    fingerprint = answer.headers["x-model-fingerprint"]
    assert fingerprint == http.get("/v1/models").json()["data"][0]["fingerprint"]
    tokenizer = Tokenizer.from_str(answer.text)
    long = "word " * 600
    assert len(tokenizer.encode(long).ids) == 602
    items = http.post("/v1/tokenize", json={"input": [*TEXTS, long]}).json()["data"]
    for text, item in zip(TEXTS, items, strict=False):
        assert item["ids"] == tokenizer.encode(text).ids
        assert item["pieces"] == tokenizer.encode(text).tokens
    assert (len(items[3]["ids"]), items[3]["truncated"]) == (512, True)
    again = http.get("/v1/tokenizer", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_metrics_tell_of_tokens_and_phases(http):
    encode(http)
    text = http.get("/metrics").text
    for name in (
        'm3_queue_tokens{lane="query"}',
        'm3_tokens_total{lane="passage"}',
        "m3_batch_tokens_bucket",
        'm3_phase_seconds_count{phase="compute"}',
        'm3_phase_seconds_count{phase="tokenize"}',
        'm3_phase_seconds_count{phase="queue"}',
        'm3_phase_seconds_count{phase="write"}',
        'm3_http_requests_total{method="POST",route="/v1/encode",status="200"}',
    ):
        assert name in text


def test_batch_mates_do_not_change_an_answer_over_http(http):
    alone = encode(http, input=[TEXTS[0]]).json()["data"][0]
    beside = encode(http, input=["word " * 300, TEXTS[0], "x"]).json()["data"][1]
    np.testing.assert_allclose(alone["dense"], beside["dense"], atol=1e-5)
    np.testing.assert_allclose(alone["colbert"], beside["colbert"], atol=1e-5)


def long_texts(count: int, name: int = 0) -> list[str]:
    """No two alike, as texts that are alike are computed once."""
    return [f"{name} {i} " + "word " * 500 for i in range(count)]


def client_of(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=120)


@pytest.mark.anyio
async def test_a_caller_that_hangs_up_frees_the_queue(own):
    url, process = own
    async with client_of(url) as client:
        with standing(worker_of(process)):
            # The worker has one of them, so the other waits.
            asked = [
                asyncio.create_task(client.post("/v1/encode", json={"input": long_texts(6, name)}))
                for name in (1, 2)
            ]
            await until_queued(client, lambda tokens: tokens > 3000)
            for one in asked:
                one.cancel()
            await until_queued(client, lambda tokens: tokens == 0)


@pytest.mark.anyio
async def test_a_full_node_answers_429_with_retry_after(own):
    url, process = own
    bodies = [{"input": long_texts(6, name), "outputs": ["dense"]} for name in range(3, 11)]
    async with client_of(url) as client:
        with standing(worker_of(process)):
            asked = [asyncio.create_task(client.post("/v1/encode", json=body)) for body in bodies]
            # Nothing is computed, so whoever is answered was refused.
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["code"] == "overloaded"


def test_a_loading_node_lives_but_is_not_ready(stand_in, tmp_path):
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    gate = Gate(tmp_path)
    gate.close()
    with running([*arguments, "--encoder", "reference"], gate.env) as process:
        url = wait_for_server(process, ready=False)
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
            ready = http.get("/readyz")
            assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
            refused = encode(http)
            assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
            assert "loading" in refused.json()["detail"]
            gate.open()
            wait_for_server(process)
            item = encode(http, input=["a b"]).json()
        assert len(item["data"][0]["colbert"]) == 3


def test_the_stand_in_says_what_it_is(node, stand_in: Path):
    model = httpx.get(f"{node}/v1/models", trust_env=False).json()["data"][0]
    assert model["stand_in"] is True
    assert model["id"] == "m3-stand-in-minilm"
    assert model["engine"]

"""What the node's page computes and draws, without a browser and without Gradio."""

from __future__ import annotations

import re
from hashlib import sha256
from html import unescape
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tokenizers import Tokenizer, models, pre_tokenizers

from embedder.api.app import create_node_app
from embedder.model.tokens import SpecialTokens, TextTokenizer
from embedder.page import door, drawing
from embedder.page.alignment import align
from embedder.page.desk import MAX_COLUMNS, MAX_PASSAGES, MAX_QUERY, MAX_ROWS, MAX_TEXT, Desk
from embedder.page.scores import Row, score, table
from embedder.page.status import Status
from embedder.page.terms import Segment, by_weight, segments
from m3.codec import encode_tokens
from m3.errors import DeadlineExceeded, InvalidInput, Overloaded
from m3.settings import Settings
from m3.types import Codec, ModelInfo, Representation, batch_of
from scoring.definition import fused_score, scores
from scoring.fusion import PRESETS
from serving.keys.ring import KeyRing

SCORED = {"passages": ["a"], "scores": [[0.1, 0.2, 0.3]]}
HOSTILE = "<script>alert(1)</script>\"'&"
MODEL = ModelInfo("m", "f" * 32, "fp32", 4, 64, stand_in=True)


def representation(seed: int, tokens: int) -> Representation:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=8).astype(np.float32)
    vectors = rng.normal(size=(tokens, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Representation(
        dense=dense / np.linalg.norm(dense),
        sparse_ids=np.sort(rng.choice(20, 6, replace=False)).astype(np.int32),
        sparse_weights=rng.random(6).astype(np.float32),
        token_ids=rng.integers(0, 20, tokens).astype(np.int32),
        codes=encode_tokens(vectors, Codec.FP32),
        codec=Codec.FP32,
    )


def pieces(ids: Any) -> list[str]:
    return [f"p{i}" for i in ids]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_has_the_scores_as_defined_best_first(preset):
    query, passages = representation(0, 4), [representation(i, i + 1) for i in range(1, 7)]
    names = [f"passage {i}" for i in range(6)]
    rows = table(names, score(query, batch_of(passages)), PRESETS[preset])
    assert [row.fused for row in rows] == sorted((row.fused for row in rows), reverse=True)
    for row in rows:
        expected = scores(query, passages[names.index(row.passage)])
        assert (row.dense, row.sparse, row.colbert) == pytest.approx(expected, abs=1e-5)
        fused = fused_score(expected, PRESETS[preset].as_tuple())
        assert row.fused == pytest.approx(fused, abs=1e-5)


def test_equal_passages_keep_their_order():
    query, same = representation(0, 4), representation(1, 3)
    names = [f"{i}" for i in range(12)]
    rows = table(names, score(query, batch_of([same] * 12)), PRESETS["mkqa"])
    assert [row.passage for row in rows] == names


def test_an_alignment_finds_what_maxsim_sums():
    query, passage = representation(0, 5), representation(1, 9)
    aligned = align(query, passage, pieces)
    assert aligned.similarity.shape == (5, 9)
    assert aligned.query == pieces(query.token_ids)
    assert aligned.passage == pieces(passage.token_ids)
    found = [row[best] for row, best in zip(aligned.similarity, aligned.best, strict=True)]
    assert found == pytest.approx(aligned.similarity.max(axis=1))
    assert aligned.score == pytest.approx(np.mean(found), abs=1e-6)
    assert aligned.score == pytest.approx(scores(query, passage)[2], abs=1e-6)


def test_nothing_can_be_aligned_with_a_text_without_tokens():
    with pytest.raises(InvalidInput, match="no token"):
        align(representation(0, 5), representation(1, 0), pieces)


@given(
    st.text("ab <&\n", max_size=20),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=8),
)
def test_segments_are_the_text_whatever_the_spans(text, spans):
    spans = sorted((min(start, len(text)), min(end, len(text))) for start, end in spans)
    ids = list(range(len(spans)))
    runs = segments(text, spans, ids, dict.fromkeys(ids, 0.5))
    assert "".join(run.text for run in runs) == text
    assert all(run.text for run in runs)
    drawn = re.sub("<[^>]+>", "", drawing.weighed_text(runs))
    assert unescape(drawn) == text


def test_a_token_has_its_weight_and_space_has_none():
    runs = segments("the  cat sat", [(0, 3), (3, 8), (9, 12)], [5, 6, 7], {5: 0.1, 6: 0.9})
    assert runs == [
        Segment("the", 0.1),
        Segment("  "),
        Segment("cat", 0.9),
        Segment(" "),
        Segment("sat", 0.0),
    ]


def test_tokens_of_one_character_show_the_heaviest_of_them():
    runs = segments("é!", [(0, 1), (0, 1), (0, 1), (1, 2)], [1, 2, 3, 4], {2: 0.7, 3: 0.2})
    assert runs == [Segment("é", 0.7), Segment("!", 0.0)]


def test_what_the_model_does_not_read_is_shown_without_weight():
    runs = segments("one two three", [(0, 3), (4, 7), (8, 13)], [1, 2], {1: 0.5, 2: 0.5, 3: 0.5})
    assert [run.weight for run in runs] == [0.5, None, 0.5, None]
    assert runs[-1].text == " three"


def test_spans_of_a_tokenizer_that_counts_the_space_before_as_the_tokens():
    terms = ["<s>", "<pad>", "</s>", "<unk>", "▁the", "▁cat", "▁", "s", "at", "語"]
    vocabulary = [(term, -1.0 - i) for i, term in enumerate(terms)]
    unigram = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = TextTokenizer(unigram, SpecialTokens(cls=0, eos=2, pad=1, unk=3))
    text = "the cat  sat 語🙂"
    ids = tokenizer.tokenize([text], 50)[0].ids[1:-1]
    weights = {terms.index("▁the"): 0.1, terms.index("▁cat"): 0.9, terms.index("語"): 0.5}
    runs = segments(text, tokenizer.spans(text), ids, weights)
    assert "".join(run.text for run in runs) == text
    weighed = [(run.text, run.weight) for run in runs if run.weight]
    assert weighed == [("the", 0.1), ("cat", 0.9), ("語", 0.5)]


def test_terms_are_listed_heaviest_first():
    expected = [("b", 0.3), ("c", 0.3), ("a", 0.1)]
    assert by_weight(["a", "b", "c"], [0.1, 0.3, 0.3]) == expected


def test_every_weight_and_similarity_is_written_and_results_are_announced():
    terms = [(f"term{i}", 1 - i / 20) for i in range(15)]
    drawn = drawing.term_table(terms)
    assert all(f"{weight:.4f}" in drawn for _, weight in terms)
    shown, _, lighter = drawn.partition("<details>")
    assert (shown.count("<code>"), lighter.count("<code>")) == (12, 3)
    assert "3 lighter terms" in lighter
    aligned = align(representation(0, 3), representation(1, 4), pieces)
    heat = drawing.heat_map(aligned)
    assert heat.count("<span>") == 4 + 3 * 4
    assert all(f">{value:.2f}<" in heat for value in aligned.similarity.flat)
    scores = drawing.score_table([Row("a", 0.1, 0.2, 0.3, 0.4)])
    assert 'role="status"' in drawn
    assert 'role="status"' in scores
    # An `output` is announced by itself.
    assert "<output>" in heat
    for scrolled in (heat, scores):
        assert re.search('tabindex="0" role="region" aria-label="[^"]+"', scrolled)


def drawings() -> dict[str, str]:
    aligned = align(representation(0, 2), representation(1, 2), lambda ids: [HOSTILE] * len(ids))
    model = ModelInfo(HOSTILE, HOSTILE, HOSTILE, 4, 64, stand_in=True)
    return {
        "alert": drawing.alert(HOSTILE),
        "notes": drawing.notes([HOSTILE]),
        "banner": drawing.banner(model),
        "scores": drawing.score_table([Row(HOSTILE, 0.1, 0.2, 0.3, 0.4)]),
        "text": drawing.weighed_text([Segment(HOSTILE, 0.5), Segment(HOSTILE)]),
        "terms": drawing.term_table([(HOSTILE, 0.5)]),
        "heat": drawing.heat_map(aligned),
        "status": drawing.status_table(Status(model, HOSTILE, 0, 1, 0, 0.0, 1.0)),
    }


@pytest.mark.parametrize("name", drawings())
def test_words_that_are_not_ours_are_escaped(name):
    drawn = drawings()[name]
    assert "<script" not in drawn
    assert "\"'&<" not in drawn
    assert HOSTILE in unescape(drawn)


def test_bars_stay_within_their_cells():
    rows = [Row("a", -0.5, 0.0, 1.0, 0.2), Row("b", -0.1, 0.0, 0.5, 0.1)]
    shares = [float(share) for share in re.findall(r"--v:([^\"]+)", drawing.score_table(rows))]
    assert shares == [0, 0, 1, 1, 0, 0, 0.5, 0.5]


class FakeService:
    """Fails every encoding with `error`."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.info = MODEL
        self.tokenizer = SimpleNamespace(pieces=pieces)

    async def tokenize(self, texts: list[str]) -> list[Any]:
        return [SimpleNamespace(ids=[0, 1, 2], truncated=False) for _ in texts]

    async def encode(self, *_: Any, **__: Any) -> Any:
        raise self.error


class CuttingService(FakeService):
    """Reads `length` tokens of every text and cuts each, or those of several that `cut` says."""

    def __init__(self, length: int, cut: list[bool] | None) -> None:
        super().__init__(AssertionError())
        self.length = length
        self.cut = cut

    async def tokenize(self, texts: list[str]) -> list[Any]:
        return [SimpleNamespace(ids=[0] * self.length, truncated=True) for _ in texts]

    async def encode(self, texts: list[str], *_: Any, **__: Any) -> Any:
        rows = [representation(i, 3) for i in range(len(texts))]
        cut = self.cut if self.cut and len(texts) > 1 else [True] * len(texts)
        return batch_of(rows, truncated=np.array(cut))


def desk_of(error: Exception) -> Desk:
    return Desk(SimpleNamespace(service=FakeService(error)), None, 0.0)  # pyright: ignore


def cutting_desk(length: int, cut: list[bool] | None = None) -> Desk:
    return Desk(SimpleNamespace(service=CuttingService(length, cut)), None, 0.0)  # pyright: ignore


FAILURES = [
    (Overloaded("9 tokens are waiting: come back later"), "9 tokens are waiting"),
    (DeadlineExceeded("no result within 30 s"), "no result within 30 s"),
    (RuntimeError("secret"), "a bug in m3-retrieval"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("error", "words"), FAILURES)
async def test_what_goes_wrong_is_said_in_plain_words(error, words):
    desk = desk_of(error)
    with capture_logs():
        told, scored = await desk.compare("", "query", "passage")
        answers = [told, await desk.align("", "q", "p")]
    assert scored is None
    assert await desk.rank("", None, 1, 1, 1) == ""
    for answer in answers:
        assert 'role="alert"' in answer
        assert words in answer
        assert "secret" not in answer


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "passages", "words"),
    [
        (" ", "a", "the query is empty"),
        ("q", " \n \n", "there are no passages"),
        ("q", "a\n" * (MAX_PASSAGES + 1), f"33 passages; this page compares up to {MAX_PASSAGES}"),
        ("q" * (MAX_QUERY + 1), "a", "the query has 2,001 characters"),
        ("q", "a\n" + "b" * (MAX_TEXT + 1), "passage 2 has 8,001 characters"),
    ],
)
async def test_what_is_too_much_or_nothing_is_refused_before_the_model_sees_it(
    query, passages, words
):
    told, scored = await desk_of(AssertionError("encoded")).compare("", query, passages)
    assert words in told
    assert scored is None


@pytest.mark.anyio
async def test_a_text_that_was_cut_is_named():
    told, scored = await cutting_desk(64).compare("", "q", "a\n\nb")
    for name in ("the query", "passages 1 to 2"):
        assert f"Of {name} the model reads the first 64 tokens only." in told
    assert scored["passages"] == ["a", "b"]
    told, _ = await cutting_desk(64).compare("", "q", "a")
    assert "Of passage 1 the model" in told


@pytest.mark.anyio
async def test_many_texts_that_were_cut_are_one_note():
    told, _ = await cutting_desk(64, [True, False, True, True, True, False, True]).compare(
        "", "q", "\n".join("abcdefg")
    )
    assert told.count("<p") == 2
    assert "Of passages 1, 3 to 5, 7 the model reads" in told


def test_a_text_without_terms_has_no_empty_table():
    drawn = drawing.term_table([])
    assert "No term" in drawn
    assert "<table" not in drawn


@pytest.mark.anyio
async def test_a_map_that_would_not_fit_is_refused():
    drawn = await cutting_desk(MAX_COLUMNS + 1).align("", "q", "p")
    assert f"the query has 161 tokens; the map has room for {MAX_ROWS}" in drawn
    drawn = await cutting_desk(MAX_ROWS).align("", "q", "p")
    assert "MaxSim" in drawn


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["", "wrong", "s\u00e9cret"])
async def test_without_a_known_key_nothing_is_answered(key, tmp_path):
    node = SimpleNamespace(service=CuttingService(8, None))
    file = tmp_path / "keys"
    file.write_text(sha256(b"secret").hexdigest())
    desk = Desk(node, KeyRing(file), 0.0)  # pyright: ignore
    answers = [
        (await desk.compare(key, "q", "p"))[0],
        await desk.weigh(key, "text"),
        await desk.align(key, "q", "p"),
        await desk.status(key),
        await desk.rank(key, SCORED, 1, 1, 1),
    ]
    assert all("needs a key" in answer for answer in answers)
    assert "MaxSim" in await desk.align("secret", "q", "p")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "scored",
    [
        3,
        {},
        {"passages": [], "scores": []},
        {"passages": ["a"], "scores": []},
        {"passages": ["a"], "scores": [[1, 2]]},
        {"passages": ["a"], "scores": [[1, 2, float("nan")]]},
        {"passages": ["a"] * (MAX_PASSAGES + 1), "scores": [[1, 2, 3]] * (MAX_PASSAGES + 1)},
        {"passages": ["a" * (MAX_TEXT + 1)], "scores": [[1, 2, 3]]},
    ],
)
async def test_scores_that_a_browser_made_up_are_refused(scored):
    assert "compare again" in await desk_of(AssertionError()).rank("", scored, 1, 1, 1)


@pytest.mark.anyio
async def test_weights_that_are_all_zero_are_refused():
    desk = desk_of(AssertionError())
    assert "at least one weight" in await desk.rank("", SCORED, 0, 0, 0)
    assert "0.2000" in await desk.rank("", SCORED, 0, 1, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("weight", [None, -0.1, 7])
async def test_a_weight_that_a_slider_does_not_have_is_told(weight):
    told = await desk_of(AssertionError()).rank("", SCORED, 1, weight, 1)
    assert "a weight is a number from 0 to 1" in told


async def home_of(settings: Settings | None = None) -> httpx.Response:
    app = create_node_app(settings or Settings(model="somewhere/else"))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as client:
        return await client.get("/")


@pytest.mark.anyio
async def test_without_gradio_the_page_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(door, "find_spec", lambda _: None)
    answer = await home_of()
    assert answer.status_code == 200
    assert "m3-retrieval[page]" in answer.text
    assert 'href="/docs"' in answer.text
    assert "refresh" not in answer.text


@pytest.mark.anyio
async def test_while_the_model_loads_the_page_waits_for_it(monkeypatch):
    monkeypatch.setattr(door, "find_spec", lambda _: True)
    answer = await home_of()
    assert "somewhere/else is loading" in answer.text
    assert 'http-equiv="refresh"' in answer.text
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.anyio
async def test_the_files_of_a_visit_are_logged_at_debug_alone():
    transport = httpx.ASGITransport(create_node_app(Settings()))
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for path in ("/", "/assets/index.js", "/static/icon.png", "/theme.css", "/v1/models"):
                await client.get(path)
    loud = [log["path"] for log in logs if log["log_level"] != "debug"]
    assert loud == ["/", "/v1/models"]
    assert len(logs) == 5

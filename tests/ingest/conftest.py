from __future__ import annotations

import math
import string
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from ingest.running import packing, passes
from store.contract import Collection
from store.memory import MemoryStore
from store.spec import Chunking
from tests.ingest.fakes import CountingClient, spec


@pytest.fixture
def client(wordpiece: str) -> CountingClient:
    return CountingClient(wordpiece)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests and writes wait until they are full, however long a busy machine stands still."""
    monkeypatch.setattr(packing, "_LINGER_SECONDS", math.inf)
    monkeypatch.setattr(passes, "_WRITE_SECONDS", math.inf)


@pytest.fixture
def collection() -> Collection:
    return MemoryStore().create("docs", spec(Chunking(64, 0)))


@pytest.fixture(scope="session")
def wordpiece(stand_in: Path) -> str:
    """The stand-in's tokenizer: BERT's."""
    return (stand_in / "tokenizer.json").read_text()


@pytest.fixture(scope="session")
def unigram() -> str:
    """A small tokenizer built as XLM-R's is, whose long words have many tokens."""
    pieces = ["▁", *string.printable.strip(), "the", "▁the", "ing", "▁a", "er", "中", "文", "中文"]
    vocabulary = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(piece, -1.0 - i / 100) for i, piece in enumerate(dict.fromkeys(pieces))]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer.to_str()


@pytest.fixture(scope="session")
def bytelevel() -> str:
    """A tokenizer that counts every byte, white space too: words alone are too few."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {piece: i for i, piece in enumerate(["<s>", "</s>", *sorted(alphabet)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer.to_str()

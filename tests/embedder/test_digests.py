"""A digest is remembered for the file it was made of, and for no other."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import orjson
import pytest

from embedder.model import digests
from embedder.model.checkpoint import open_checkpoint
from embedder.model.digests import file_digest
from tests.embedder.checkpoints import write_xlm_roberta

CONTENT = b"weights" * 1000


def digest_of(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose times count as old."""
    monkeypatch.setattr(digests, "_SETTLED_NS", 0)
    file = tmp_path / "model.safetensors"
    file.write_bytes(CONTENT)
    time.sleep(0.02)
    return file


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each file that is read."""
    reads: list[int] = []
    original = hashlib.file_digest

    def count(*arguments):
        reads.append(1)
        return original(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", count)
    return reads


def remembered(cache: Path) -> list[Path]:
    return list((cache / "digests").glob("*")) if cache.exists() else []


def test_an_unchanged_file_is_read_once(file, cache, hashed):
    assert file_digest(file, cache) == file_digest(file, cache) == digest_of(CONTENT)
    assert len(hashed) == 1
    assert len(remembered(cache)) == 1


def test_without_a_cache_it_is_read_each_time(file, hashed):
    assert file_digest(file) == file_digest(file) == digest_of(CONTENT)
    assert len(hashed) == 2


def test_content_of_the_same_size_with_its_time_set_back_is_noticed(file, cache):
    file_digest(file, cache)
    before = file.stat()
    other = CONTENT[::-1]
    file.write_bytes(other)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert file_digest(file, cache) == digest_of(other)


def test_a_file_put_in_its_place_is_noticed(file, cache, tmp_path):
    file_digest(file, cache)
    other = tmp_path / "other"
    other.write_bytes(CONTENT[::-1])
    other.replace(file)
    assert file_digest(file, cache) == digest_of(CONTENT[::-1])


def test_a_file_that_may_still_be_written_is_not_remembered(file, cache, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED_NS", 3600 * 10**9)
    file_digest(file, cache)
    assert remembered(cache) == []


def test_a_file_that_changes_while_it_is_read_is_not_remembered(file, cache, monkeypatch):
    original = hashlib.file_digest

    def change(*arguments):
        result = original(*arguments)
        file.write_bytes(CONTENT[::-1])
        return result

    monkeypatch.setattr(hashlib, "file_digest", change)
    file_digest(file, cache)
    assert remembered(cache) == []


@pytest.mark.parametrize("damage", [b"", b"[]", b"null", b'{"digest": 7}', b'{"digest": "zz"}'])
def test_a_damaged_memory_is_no_memory(file, cache, damage):
    file_digest(file, cache)
    remembered(cache)[0].write_bytes(damage)
    assert file_digest(file, cache) == digest_of(CONTENT)


def test_a_digest_of_another_length_is_not_believed(file, cache):
    file_digest(file, cache)
    memory = remembered(cache)[0]
    memory.write_bytes(orjson.dumps({**orjson.loads(memory.read_bytes()), "digest": "ab"}))
    assert file_digest(file, cache) == digest_of(CONTENT)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(file, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder would be")
    assert file_digest(file, tmp_path / "cache") == digest_of(CONTENT)


def test_a_fingerprint_is_the_same_with_and_without(tmp_path, cache, hashed, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED_NS", 0)
    folder = write_xlm_roberta(tmp_path / "checkpoint")
    plain = open_checkpoint(folder).fingerprint
    assert open_checkpoint(folder, cache=cache).fingerprint == plain
    reads = len(hashed)
    assert open_checkpoint(folder, cache=cache).fingerprint == plain
    assert len(hashed) == reads + 1, "the tokenizer alone"

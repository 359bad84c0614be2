"""The keys file and what a server makes of it: lines, expiry, changes while it runs."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from m3.errors import AlreadyExists, InvalidConfiguration, InvalidInput, NotFound, Unauthorized
from serving.keys.editing import add_key, remove_key
from serving.keys.file import KeyLine, key_of, read_keys
from serving.keys.key import SCOPES, Limits
from serving.keys.ring import KeyRing
from tests.pace import Clock
from tests.serving.keys import digest, keys_file, line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def refused(ring: KeyRing, secret: str) -> str:
    with pytest.raises(Unauthorized) as caught:
        ring.find(secret.encode())
    return caught.value.message


def test_a_bare_digest_is_a_key_for_everything_of_the_default_tenant(file):
    keys_file(file, "# ours", "", digest("first") + "  # a person", digest("second").upper())
    first, second = read_keys(file)
    assert first.name == f"sha256-{digest('first')[:12]}"
    assert (first.scopes, first.tenant, first.expires) == (set(SCOPES), "default", None)
    assert first.limits == Limits()
    assert KeyRing(file).find(b"second") == second
    assert KeyRing(file).find(b" first ") == first


def test_a_json_line_says_all_that_a_key_may(file):
    members = {"scopes": ["read"], "tenant": "acmé", "expires": "2030-01-31"}
    keys_file(file, line("a", **members, rate=2.5, concurrency=3), digest("b"))
    key = read_keys(file)[0]
    assert (key.name, key.scopes, key.tenant) == ("a", {"read"}, "acmé")
    assert key.expires == datetime(2030, 1, 31, tzinfo=UTC)
    assert key.limits == Limits(rate=2.5, burst=3, concurrency=3)
    assert len(read_keys(file)) == 2


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("not-a-digest", "neither JSON nor a SHA-256"),
        ("ab" * 31, "neither JSON nor a SHA-256"),
        ("{", "JSON"),
        (line("k", scopes=[]), "scopes"),
        (line("k", scopes=["everything"]), "'read', 'write' or 'admin'"),
        (line("k", scopes="read"), "scopes"),
        (line("k", name="a b"), "name"),
        (line("k", name="a\n"), "name"),
        (line("k", sha256="ab"), "sha256"),
        (line("k", tenant=""), "tenant: must have 1 to 512 bytes"),
        (line("k", tenant="*", scopes=["read", "write"]), 'tenant "*" is for keys with the scope'),
        (line("k", expires="tomorrow"), "'tomorrow' is not an ISO date"),
        (line("k", rate=0), "rate"),
        (line("k", rate="many"), "rate"),
        (line("k", burst=3), "burst needs a rate"),
        (line("k", concurrency=0), "concurrency"),
        (line("k", scope="read"), "scope: Extra inputs are not permitted"),
        (line("other", name="taken"), "the name 'taken' is taken"),
        (line("taken", name="again"), "'again' is the same key as 'taken'"),
        (digest("taken"), "is the same key as 'taken'"),
    ],
)
def test_a_line_that_is_no_key_is_refused_by_its_number(file, wrong, reason):
    keys_file(file, line("taken"), "", wrong)
    with pytest.raises(InvalidConfiguration, match="M3_API_KEYS_FILE: line 3 of") as caught:
        read_keys(file)
    assert reason in caught.value.message


@given(st.text())
def test_no_line_makes_reading_fail(text):
    try:
        key_of(text)
    except ValueError as error:
        told = str(error)
    else:
        return
    assert len(text) < 9 or text not in told


def test_a_secret_written_in_place_of_its_digest_is_not_told(file):
    keys_file(file, "m3_secret-secret-secret")
    with pytest.raises(InvalidConfiguration) as caught:
        read_keys(file)
    assert "m3_secret" not in caught.value.message


def test_unknown_and_expired_are_one_answer(file):
    keys_file(file, line("old", expires="2029-12-31T23:00:00-01:00"), line("new"))
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    at = KeyRing(file, now=lambda: moment)
    before = KeyRing(file, now=lambda: moment - timedelta(seconds=1))
    assert before.find(b"old").name == "old"
    assert refused(at, "old") == refused(at, "unknown") == refused(at, "")
    assert at.find(b"new").name == "new"


@pytest.mark.parametrize("secret", ["first", "second", "third", ""])
def test_every_digest_is_compared_whatever_is_sent(file, monkeypatch, secret):
    keys_file(file, *map(digest, ("first", "second", "more")))
    ring, compared = KeyRing(file), []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append(b) or a == b)
    with contextlib.suppress(Unauthorized):
        ring.find(secret.encode())
    assert compared == [bytes.fromhex(digest(each)) for each in ("first", "second", "more")]


def test_a_file_that_changes_is_read_again_and_not_more_than_once_a_second(file):
    clock = Clock()
    keys_file(file, line("first"))
    ring = KeyRing(file, clock)
    keys_file(file, line("second"))
    clock.now += 0.9
    assert ring.find(b"first").name == "first"
    clock.now += 0.2
    assert refused(ring, "first")
    assert ring.find(b"second").name == "second"


def test_a_file_is_looked_at_once_a_second(file, monkeypatch):
    clock, looks = Clock(), []
    keys_file(file, line("first"))
    ring = KeyRing(file, clock)
    real: Callable[..., Any] = os.stat
    monkeypatch.setattr(
        Path, "stat", lambda self, **more: (looks.append(self), real(self, **more))[1]
    )
    for _ in range(50):
        ring.find(b"first")
        clock.now += 0.1
    assert 4 <= looks.count(file) <= 5


@pytest.mark.parametrize("harm", ["nonsense", "gone", "bytes", "unreadable"])
def test_a_file_that_became_unusable_keeps_the_keys_and_says_so_once(file, harm):
    clock = Clock()
    keys_file(file, line("first"))
    ring = KeyRing(file, clock)
    match harm:
        case "nonsense":
            keys_file(file, "nonsense", line("second"))
        case "gone":
            file.unlink()
        case "bytes":
            file.write_bytes(b"\xff\xfe")
        case _:
            file.unlink()
            file.mkdir()
    with capture_logs() as logs:
        for _ in range(3):
            clock.now += 2
            assert ring.find(b"first").name == "first"
            assert refused(ring, "second")
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert "M3_API_KEYS_FILE" in logs[0]["reason"]
    if file.is_dir():
        file.rmdir()
    keys_file(file, line("second"))
    clock.now += 2
    assert ring.find(b"second").name == "second"


def test_a_file_whose_last_key_was_taken_out_opens_nothing(file):
    clock = Clock()
    keys_file(file, line("first"))
    ring = KeyRing(file, clock)
    remove_key(file, "first")
    clock.now += 2
    assert refused(ring, "first")
    with pytest.raises(InvalidConfiguration, match="holds no key"):
        KeyRing(file)


def test_a_key_that_is_added_opens_and_its_hash_alone_is_kept(tmp_path):
    file = tmp_path / "new" / "keys"
    secret = add_key(file, "site", scopes=["read"], tenant="acme", expires="2030-01-31", rate=5.0)
    assert len(secret) >= 43
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = KeyRing(file).find(secret.encode())
    assert (key.name, key.scopes, key.tenant) == ("site", {"read"}, "acme")
    assert add_key(file, "other", scopes=["read"]) != secret
    assert [each.name for each in read_keys(file)] == ["site", "other"]
    assert [entry.name for entry in file.parent.iterdir()] == ["keys"]


def test_edits_leave_other_lines_as_they_are(file):
    keys_file(file, "# ours", digest("old") + "  # a person", line("a", rate=1))
    before = file.read_text()
    add_key(file, "b", scopes=["read"])
    assert file.read_text().startswith(before)
    remove_key(file, "b")
    assert file.read_text() == before
    remove_key(file, f"sha256-{digest('old')[:12]}")
    assert file.read_text() == f"# ours\n{line('a', rate=1)}\n"


def test_edits_follow_a_link_and_close_the_file_to_others(file, tmp_path):
    keys_file(file, line("a"))
    file.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(file)
    add_key(link, "b", scopes=["read"])
    assert link.is_symlink()
    assert [key.name for key in read_keys(file)] == ["a", "b"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_edits_that_cannot_be_are_refused_and_change_nothing(file):
    keys_file(file, line("a"))
    before = file.read_bytes()
    with pytest.raises(AlreadyExists, match="'a'"):
        add_key(file, "a", scopes=["read"])
    with pytest.raises(InvalidInput, match="tenant"):
        add_key(file, "b", scopes=["read"], tenant="*")
    with pytest.raises(NotFound, match="there are: a"):
        remove_key(file, "b")
    assert file.read_bytes() == before
    keys_file(file, "nonsense")
    with pytest.raises(InvalidConfiguration, match="line 1"):
        add_key(file, "b", scopes=["read"])
    with pytest.raises(InvalidConfiguration, match="cannot be written"):
        add_key(file / "below", "b", scopes=["read"])


def test_editors_at_once_lose_nothing(file):
    names = [f"k{i}" for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        secrets = list(pool.map(lambda name: add_key(file, name, scopes=["read"]), names))
    assert {key.name for key in read_keys(file)} == set(names)
    ring = KeyRing(file)
    assert [ring.find(secret.encode()).name for secret in secrets] == names


@given(
    st.builds(
        dict,
        tenant=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
        scopes=st.lists(st.sampled_from(SCOPES), min_size=1).map(lambda s: [*s, "admin"]),
        rate=st.none() | st.floats(0.001, 1e6),
        concurrency=st.none() | st.integers(1, 10**6),
        # A key of the first day of all has expired at its first moment.
        expires=st.none() | st.dates(date(1, 1, 2)).map(str),
    )
)
def test_what_is_written_is_read_back(tmp_path_factory, members):
    file = tmp_path_factory.mktemp("written") / "keys"
    secret = add_key(file, "k", **members)
    assert KeyRing(file, now=lambda: datetime.min.replace(tzinfo=UTC)).find(secret.encode()) == (
        KeyLine(name="k", sha256=digest(secret), **members).key()
    )

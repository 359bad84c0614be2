"""Flags over environment over `.env` over defaults, and errors that name the setting."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from m3.errors import InvalidConfiguration
from m3.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_nearer_source_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().model == "BAAI/bge-m3"
    Path(".env").write_text("M3_MODEL=from-file\n")
    assert load_settings().model == "from-file"
    monkeypatch.setenv("M3_MODEL", "from-environment")
    assert load_settings().model == "from-environment"
    assert load_settings(model="from-flag").model == "from-flag"
    assert load_settings(model=None).model == "from-environment"


@pytest.mark.parametrize("source", ["environment", "file"])
def test_an_empty_variable_is_as_good_as_none(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (f"M3_{name.upper()}" for name in Settings.model_fields):
        if source == "environment":
            monkeypatch.setenv(name, "")
        else:
            monkeypatch.delenv(name, raising=False)
            with Path(".env").open("a") as file:
                file.write(f"{name}=\n")
    assert load_settings().model_fields_set == set()


def test_several_nodes_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3_EMBEDDER_URL", "http://one:1/, http://two:2,")
    assert load_settings().embedder_url == ("http://one:1", "http://two:2")


def test_tables_are_under_home_unless_told(tmp_path: Path) -> None:
    assert load_settings(home=tmp_path).tables_path == str(tmp_path / "tables")
    assert load_settings(tables="s3://bucket/x").tables_path == "s3://bucket/x"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("M3_CODEC", "int4"),
        ("M3_EMBEDDER_TIMEOUT", "-1"),
        ("M3_EMBEDDER_URL", "http://one:7860,two:7860"),
        ("M3_MAX_BATCH_TOKENS", "many"),
        ("M3_MILVUS_URI", "localhost:19530"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidConfiguration, match=name):
        load_settings()


@pytest.mark.parametrize("key", ["s3cret\n", " s3cret\r\n", "s3cret"])
def test_a_key_is_without_the_line_end_of_its_file(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M3_API_KEY", key)
    assert load_settings().client_key == "s3cret"
    monkeypatch.setenv("M3_API_KEY", "\n")
    assert load_settings().client_key is None


@pytest.mark.parametrize("token", ["root:pass word \n", "root:pass word \r\n", "root:pass word "])
def test_a_token_of_milvus_is_without_the_line_end_of_its_file(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M3_MILVUS_TOKEN", token)
    given = load_settings().milvus_token
    assert given is not None
    assert given.get_secret_value() == "root:pass word "


@pytest.mark.parametrize("key", ["s3cret\nmore", "s3cret-schlüssel", "s3cret\x7f"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M3_API_KEY", key)
    with pytest.raises(InvalidConfiguration, match=r"M3_API_KEY: .* paste it anew") as caught:
        load_settings()
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_secrets_are_not_shown() -> None:
    settings = load_settings(api_key="s3cret", milvus_token="t0ken")
    assert "s3cret" not in repr(settings)
    assert "t0ken" not in repr(settings)

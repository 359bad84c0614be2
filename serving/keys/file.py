"""The keys file: a key a line, as JSON or as a bare SHA-256; `#` begins a comment.

Lines rather than one document, so that a key is added or taken out without touching the others,
and so that files of bare digests, which came first, go on working.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from m3.errors import InvalidConfiguration
from m3.types import DEFAULT_TENANT
from serving.keys.key import EVERY_TENANT, Key, Limits, Scope

MAX_TENANT_BYTES = 512
_DIGEST = r"[0-9a-fA-F]{64}"
_NAME = r"[A-Za-z0-9._-]{1,64}"
_PREFIX = 12
"""Digits of its digest that name a key which has no name."""


def _moment(text: str) -> str:
    moment_of(text)
    return text


def moment_of(text: str) -> datetime:
    """An ISO date (its first moment) or date and time; UTC unless it says otherwise.

    Raises:
        ValueError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an ISO date such as 2030-01-31") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tenant(text: str) -> str:
    if not 1 <= len(text.encode()) <= MAX_TENANT_BYTES:
        raise ValueError(f"must have 1 to {MAX_TENANT_BYTES} bytes")
    return text


class KeyLine(BaseModel):
    """A line of the file as JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: str = Field(pattern=f"^{_NAME}$")
    sha256: str = Field(pattern=f"^{_DIGEST}$")
    scopes: list[Scope] = Field(min_length=1)
    tenant: Annotated[str, AfterValidator(_tenant)] = DEFAULT_TENANT
    expires: Annotated[str, AfterValidator(_moment)] | None = None
    rate: float | None = Field(default=None, gt=0)
    burst: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> KeyLine:
        if self.tenant == EVERY_TENANT and "admin" not in self.scopes:
            raise ValueError('tenant "*" is for keys with the scope admin')
        if self.burst is not None and self.rate is None:
            raise ValueError("burst needs a rate")
        return self

    def key(self) -> Key:
        burst = self.burst or math.ceil(self.rate or 1)
        return Key(
            name=self.name,
            digest=bytes.fromhex(self.sha256),
            scopes=frozenset(self.scopes),
            tenant=self.tenant,
            expires=None if self.expires is None else moment_of(self.expires),
            limits=Limits(self.rate, burst, self.concurrency),
        )


def read_lines(path: Path) -> list[str]:
    """Raises InvalidConfiguration for a file that cannot be read."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidConfiguration(f"M3_API_KEYS_FILE: {path} cannot be read: {reason}") from error
    # Tenants may hold what `splitlines` takes for the end of a line.
    return text.removesuffix("\n").split("\n")


def read_keys(path: Path) -> tuple[Key, ...]:
    """Every key of a file, in order; a file may hold none.

    Raises:
        InvalidConfiguration: a file that cannot be read, or a line that is no key.
    """
    names: dict[str, Key] = {}
    digests: dict[bytes, Key] = {}
    for number, line in enumerate(read_lines(path), 1):
        try:
            key = key_of(line)
            if key is not None:
                _refuse_ambiguous(key, names.get(key.name), digests.get(key.digest))
                names[key.name] = digests[key.digest] = key
        except ValueError as error:
            raise InvalidConfiguration(
                f"M3_API_KEYS_FILE: line {number} of {path}: {error}"
            ) from error
    return tuple(names.values())


def _refuse_ambiguous(key: Key, of_its_name: Key | None, of_its_digest: Key | None) -> None:
    """A line that is there twice says nothing new."""
    if of_its_digest not in (None, key):
        raise ValueError(f"{key.name!r} is the same key as {of_its_digest.name!r}")
    if of_its_name not in (None, key):
        raise ValueError(f"the name {key.name!r} is taken by an earlier line")


def key_of(line: str) -> Key | None:
    """The key of a line, or None of one that holds nothing.

    Raises:
        ValueError: it says why, without repeating what may be a key.
    """
    text = line.strip()
    if text.startswith("{"):
        return _of_json(text)
    word = text.split("#", 1)[0].strip()
    if not word:
        return None
    if not re.fullmatch(_DIGEST, word):
        raise ValueError(
            "neither JSON nor a SHA-256 in hexadecimal: write `printf %s KEY | sha256sum`, "
            "or use `m3-search keys add`"
        )
    return Key(f"sha256-{word[:_PREFIX].lower()}", bytes.fromhex(word))


def _of_json(text: str) -> Key:
    try:
        return KeyLine.model_validate_json(text).key()
    except ValidationError as error:
        raise ValueError(reasons(error)) from error


def reasons(error: ValidationError) -> str:
    """What is wrong with a line, without its values."""
    return "; ".join(map(_reason, error.errors()))


def _reason(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    words = error["msg"].removeprefix("Value error, ")
    return f"{place}: {words}" if place else words

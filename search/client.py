"""A running search API, asked over HTTP."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, cast

import httpx
import orjson

from m3.errors import M3Error, Unreachable, kind_of
from m3.settings import Settings

_SECONDS = 60.0


class SearchApi:
    """The API at one address. Its errors are raised as the classes that its problems name."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url.rstrip("/")
        key = settings.api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        # The environment's proxies are for the world outside.
        self._client = httpx.Client(trust_env=False, headers=headers, timeout=_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        """`POST /v1/search`."""
        return self._ask("POST", "/v1/search", body)

    def collection(self, name: str) -> dict[str, Any]:
        """`GET /v1/collections/{name}`."""
        return self._ask("GET", f"/v1/collections/{name}", None)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        try:
            answer = self._client.request(method, self._url + path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(
                f"no search API answers at {self._url} ({error}): start it with `m3-search serve`"
            ) from error
        value = _json(answer)
        if answer.is_success and value is not None:
            return value
        raise self._error(answer, value or {})

    def _error(self, answer: httpx.Response, problem: dict[str, Any]) -> M3Error:
        detail = str(problem.get("detail", f"status {answer.status_code}"))
        kind = kind_of(str(problem.get("code")))
        if kind is None:
            return Unreachable(f"what answers at {self._url} is not a search API: {detail}")
        return kind(detail)


def _json(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        value = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None

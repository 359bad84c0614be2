"""Whether an embedder node could answer a search now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from m3.errors import EmbedderUnreachable

_SECONDS = 3.0


class NodeProbe:
    """Asks the nodes' own `/readyz`, every time: what was so a minute ago is no answer."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._client = httpx.AsyncClient(trust_env=False, timeout=_SECONDS)

    async def check(self) -> None:
        """Return when one of the nodes is ready. Raises EmbedderUnreachable when none is."""
        answers = await asyncio.gather(*map(self._ask, self._urls))
        if not any(answer is None for answer in answers):
            reasons = "; ".join(answer for answer in answers if answer)
            raise EmbedderUnreachable(
                f"no embedder node is ready ({reasons}): start one with `m3-embedder serve`, "
                "or set M3_EMBEDDER_URL"
            )

    async def _ask(self, url: str) -> str | None:
        """None for ready, else why not."""
        try:
            answer = await self._client.get(f"{url}/readyz")
        except httpx.HTTPError as error:
            return f"{url}: {str(error) or type(error).__name__}"
        return None if answer.is_success else f"{url}: status {answer.status_code}"

    async def aclose(self) -> None:
        await self._client.aclose()

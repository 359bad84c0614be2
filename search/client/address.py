"""Where an API is, and as whom it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from m3.calling import bearer, refuse_no_address

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Address:
    """What both clients begin with.

    Raises:
        InvalidInput: what is no URL, no key or no tenant.
    """

    url: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, url: str, api_key: str | None, tenant: str | None) -> Address:
        refuse_no_address(url, "a search API")
        headers = bearer(api_key)
        if tenant is not None:
            headers["X-Tenant"] = quote(tenant, safe="")
        return cls(url.rstrip("/"), {**headers, "Content-Type": "application/json"})

    def client_options(self) -> dict[str, Any]:
        """For httpx; the environment's proxies are for the world outside."""
        return {"base_url": self.url, "headers": self.headers, "trust_env": False}

"""Which machines a URL may lead to, and connections that go to the very address checked."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Network, ip_address

import httpx

from m3.errors import InvalidInput

_UNICAST = IPv6Network("2000::/3")
_SPECIAL = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet, and wraps no other one."""
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    return ip in _UNICAST and not any(ip in network for network in _SPECIAL)


def resolved(host: str, port: int, *, allow_private: bool) -> list[str]:
    """A host's addresses.

    Raises:
        InvalidInput: one of them is not public.
        ConnectionError: the name has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectionError(f"host {host} cannot be resolved") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise InvalidInput(
            f"host {host} is at an address that is not public: "
            "allow that with --allow-private-addresses"
        )
    return addresses


class CheckedTransport(httpx.BaseTransport):
    """Resolves a name once, checks it and connects to what was checked; no proxies.

    A name that is resolved again for the connection could lead elsewhere by then.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        limits = httpx.Limits(max_keepalive_connections=0)
        self._connections = httpx.HTTPTransport(trust_env=False, limits=limits)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises InvalidInput for another scheme or a refused address."""
        url = request.url
        if url.scheme not in ("http", "https"):
            raise InvalidInput(f"it leads to {url.scheme}:, only http and https are read")
        host = url.raw_host.decode("ascii").strip("[]")
        port = url.port or (443 if url.scheme == "https" else 80)
        *others, last = resolved(host, port, allow_private=self._allow_private)
        for address in others:
            try:
                return self._connections.handle_request(_pinned(request, host, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return self._connections.handle_request(_pinned(request, host, last))

    def close(self) -> None:
        self._connections.close()


def _pinned(request: httpx.Request, host: str, address: str) -> httpx.Request:
    """The request to an address, with the name left for Host and for the certificate."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )

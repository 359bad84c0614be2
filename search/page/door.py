"""The page's files over HTTP: read once, under a name that changes whenever one of them does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Response

from m3.errors import NotFound
from search.page.facts import facts

HOME = "/"
FOLDER = "/assets/"
_DOCUMENT = "index.html"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # No text becomes markup, whatever a script does with it.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable", **_NOSNIFF}


def is_open(path: str) -> bool:
    """Whether the page answers there, which has no data: its calls of the API take a key."""
    return path == HOME or is_file(path)


def is_file(path: str) -> bool:
    """Whether it is one of the files that a browser loads at a visit."""
    return path.startswith(FOLDER)


@dataclass(frozen=True, slots=True)
class Files:
    """What the page is made of.

    Attributes:
        document: HTML that names the others under their version.
        assets: by name.
        version: digest of all of them.
    """

    document: bytes
    assets: Mapping[str, bytes]
    version: str

    @classmethod
    def read(cls) -> Files:
        """As they are installed, the document filled in."""
        found = {
            file.name: file.read_bytes()
            for file in files("search.page").joinpath("files").iterdir()
            if file.name.rpartition(".")[2] in _TYPES
        }
        known = orjson.dumps(facts()).decode().replace("<", "\\u003c")
        template = Template(found.pop(_DOCUMENT).decode())
        version = _digest(known, *(found[name].decode() for name in sorted(found)))
        return cls(template.substitute(version=version, facts=known).encode(), found, version)


def routes() -> APIRouter:
    """The page and its files, which the API's description does not know of."""
    page = Files.read()
    tag = f'"{_digest(page.document.decode())}"'
    router = APIRouter(include_in_schema=False)

    async def home(if_none_match: Annotated[str, Header()] = "") -> Response:
        # Asked for at every visit, so that nobody works with the page of an API before this one.
        headers = {
            "ETag": tag,
            "Cache-Control": "no-cache",
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
            **_NOSNIFF,
        }
        if tag in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(page.document, media_type=_TYPES["html"], headers=headers)

    async def asset(version: str, name: str) -> Response:
        content = page.assets.get(name) if version == page.version else None
        if content is None:
            raise NotFound(f"this page has no file {name!r} of version {version!r}: reload it")
        return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=_FOR_EVER)

    router.add_api_route(HOME, home, methods=["GET", "HEAD"])
    router.add_api_route(f"{FOLDER}{{version}}/{{name}}", asset, methods=["GET", "HEAD"])
    return router


def _digest(*texts: str) -> str:
    """16 hexadecimal digits."""
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()

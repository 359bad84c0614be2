"""The import jobs of a Milvus server, over its REST API (Milvus 2.4 and later)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from pymilvus import MilvusException

from m3.errors import InvalidConfiguration, InvalidInput, MilvusRefused, MilvusUnreachable
from m3.settings import Settings
from store.bulk.extra import bulk_writer

MOST_FILES = 1_024
"""In one job; the server's limit."""

_ENDED = ("Completed", "Failed")
_LISTED = 100


@dataclass(frozen=True, slots=True)
class Job:
    """How far a job is: `percent` from 0 to 100, and why it failed, if it did."""

    id: str
    state: str
    percent: int
    reason: str

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    @property
    def failed(self) -> bool:
        return self.state == "Failed"


class ImportJobs:
    """Those of one server.

    All methods raise MilvusUnreachable where it does not answer, MilvusRefused where it says no.
    """

    def __init__(self, url: str, *, database: str = "", token: str = "", timeout: float) -> None:
        self._url = url
        self._database = database
        self._token = token
        self._timeout = timeout

    @classmethod
    def of(cls, settings: Settings, collection: str) -> Self:
        """Those of M3_MILVUS_URI.

        Raises:
            InvalidInput: the embedded engine, which has none.
            InvalidConfiguration: an address that is not http.
        """
        if settings.milvus_uri is None:
            raise InvalidInput(
                "the embedded Milvus has no import, only a server at M3_MILVUS_URI has: "
                f"`m3-ingest verify {collection} --repair` does the same, row by row"
            )
        uri = urlsplit(settings.milvus_uri)
        if uri.scheme not in ("http", "https"):
            raise InvalidConfiguration(
                f"M3_MILVUS_URI={settings.milvus_uri}: imports need an http:// or https:// address"
            )
        token = settings.milvus_token.get_secret_value() if settings.milvus_token else ""
        return cls(
            f"{uri.scheme}://{uri.netloc}",
            database=uri.path.strip("/"),
            token=token,
            timeout=settings.milvus_timeout,
        )

    def start(self, collection: str, paths: Sequence[str]) -> str:
        """Have files, by their paths in the server's storage, imported; the job's id."""
        files = [[path] for path in paths]
        data = self._call("bulk_import", collection_name=collection, files=files)
        return str(data["jobId"])

    def job(self, id: str) -> Job:
        return _job(self._call("get_import_progress", job_id=id))

    def running(self, collection: str) -> list[Job]:
        """Those of a collection that have not ended."""
        data = self._call("list_import_jobs", collection_name=collection, page_size=_LISTED)
        jobs = [_job(record) for record in data.get("records") or ()]
        return [job for job in jobs if not job.ended]

    def _call(self, function: str, **arguments: Any) -> Any:
        call = getattr(bulk_writer(), function)
        common = {"db_name": self._database, "api_key": self._token, "timeout": self._timeout}
        try:
            return call(self._url, **common, **arguments).json()["data"]
        except MilvusException as error:
            # pymilvus makes one error of both; the cause of a lost connection is an OSError.
            if isinstance(error.__context__, OSError):
                raise MilvusUnreachable(
                    f"Milvus does not answer at {self._url}: check M3_MILVUS_URI and that it runs"
                ) from error
            raise MilvusRefused(f"Milvus refused an import: {error}") from error
        except (KeyError, ValueError) as error:
            raise MilvusRefused(f"Milvus at {self._url} answers with no import's words") from error


def _job(data: Any) -> Job:
    return Job(
        id=str(data["jobId"]),
        state=str(data["state"]),
        percent=int(data.get("progress") or 0),
        reason=str(data.get("reason") or ""),
    )

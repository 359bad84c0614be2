"""Settings: flags over environment over `.env` over defaults; the only reader of any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from m3.calling import as_sent, refuse_no_address
from m3.errors import InvalidConfiguration, InvalidInput
from m3.types import Codec

_MILVUS_SCHEMES = ("http://", "https://", "tcp://", "unix:")
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8", "fp8"]


class Settings(BaseSettings):
    """Every knob of the system, read once at start. `docs/settings.md` lists them."""

    model_config = SettingsConfigDict(
        env_prefix="M3_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # It may be a secret.
    )

    home: Path = Field(
        default_factory=lambda: user_data_path("m3-retrieval"),
        description="State directory: tables, registry, the embedded Milvus. Printed at start.",
    )
    model: str = Field(
        default="BAAI/bge-m3", description="Model id or checkpoint folder that a node serves."
    )
    precision: Precision = Field(
        default="auto", description="Arithmetic of the forward pass; `auto` asks the hardware."
    )
    cuda_graphs: bool = Field(
        default=False,
        description="On a GPU, replay short batches as CUDA graphs; not yet measured on one.",
    )
    embedder_url: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("http://127.0.0.1:7860",),
        description="Embedder nodes or their load balancer; several, comma-separated, "
        "may serve different models.",
    )
    embedder_timeout: float = Field(
        default=120.0, gt=0, description="Seconds to wait for one encode request."
    )
    embedder_patience: float = Field(
        default=600.0,
        ge=0,
        description="Seconds that an ingest under way waits for nodes that do not answer.",
    )
    codec: Codec = Field(
        default=Codec.INT8, description="How ColBERT vectors are stored: int8, bf16 or fp32."
    )
    milvus_uri: str | None = Field(
        default=None, description="Unset: the embedded Milvus. `http://host:19530`: a server."
    )
    milvus_token: SecretStr | None = Field(
        default=None, description="`user:password` or an API key of the Milvus server."
    )
    milvus_timeout: float = Field(
        default=30.0, gt=0, description="Seconds to wait for one Milvus call."
    )
    row_cache_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Bytes of rows, and of texts of hits, that searches keep in memory; 0 keeps "
        "none; unset: an eighth of the memory that is left at the start.",
    )
    engine_idle: float = Field(
        default=120.0,
        gt=0,
        description="Seconds without a client after which the embedded Milvus ends.",
    )
    tables: str | None = Field(
        default=None,
        description="Where tables live, or `s3://bucket/prefix`; unset: `$M3_HOME/tables`.",
    )
    api_keys_file: Path | None = Field(
        default=None, description="Keys that the node and the search API accept."
    )
    api_key: SecretStr | None = Field(
        default=None, description="The key that clients send as `Authorization: Bearer`."
    )
    allowed_origins: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        default=None,
        description="Web origins whose pages may call the servers (CORS), comma-separated.",
    )
    audit_file: Path | None = Field(
        default=None,
        description="A file that gets a JSON line for every call that writes or administers.",
    )
    fingerprint: str | None = Field(
        default=None,
        description="The fingerprint that a node's model must have; another is refused at start.",
    )
    recycle_texts: int | None = Field(
        default=None,
        ge=1,
        description="Texts after which a node's worker process is replaced, between two batches; "
        "unset: never.",
    )
    recycle_mib: int | None = Field(
        default=None,
        ge=1,
        description="MiB in use, of the GPU or on a CPU of the process, at which it is replaced, "
        "after ten times what it took to load at the earliest; unset: never.",
    )
    max_batch_tokens: int = Field(
        default=4096, ge=512, description="Tokens a node computes at once."
    )
    max_queue_tokens: int = Field(
        default=262_144, ge=8192, description="Tokens a node lets wait before it answers 429."
    )
    max_queue_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Seconds of work, as measured of late, a node lets wait before it answers 429.",
    )
    max_request_texts: int = Field(
        default=2048, ge=1, le=65_536, description="Texts one request may hold."
    )
    max_request_tokens: int = Field(
        default=131_072, ge=512, description="Tokens one request may hold, after its texts are cut."
    )
    max_request_bytes: int = Field(
        default=32 * 2**20, ge=1024, description="Bytes one request body may have."
    )
    max_request_seconds: float = Field(
        default=300.0, gt=0, description="Seconds one request body may take to arrive."
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Seconds a server answers on, with `/readyz` at 503, after "
        "SIGTERM: the time a load balancer takes to look away.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe line that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto`: console on a terminal, JSON lines elsewhere."
    )
    log_file: Path | None = Field(
        default=None, description="A file that takes the log in place of stderr, and rotates."
    )
    log_file_bytes: int = Field(
        default=20 * 2**20, ge=4096, description="Bytes after which the log file is begun anew."
    )
    log_file_backups: int = Field(
        default=5, ge=1, description="Log files kept beside the current one, as `.1`, `.2`, …"
    )
    tracing: bool = Field(
        default=False,
        description="Send OpenTelemetry traces (extra `otel`); `OTEL_…` variables say where to.",
    )

    @field_validator("embedder_url", "allowed_origins", mode="before")
    @classmethod
    def _split_urls(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(url.strip().rstrip("/") for url in value.split(",") if url.strip())
        return value

    @field_validator("embedder_url")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for url in value:
                refuse_no_address(url, "a node")
        except InvalidInput as error:
            raise ValueError(error.message) from error
        return value

    @field_validator("milvus_uri")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value and not value.startswith(_MILVUS_SCHEMES):
            raise ValueError(f"{value!r} must begin with http:// or https://")
        return value

    @field_validator("api_key")
    @classmethod
    def _as_sent(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            return SecretStr(as_sent(value.get_secret_value())) if value else None
        except InvalidInput as error:
            raise ValueError(error.message) from error

    @field_validator("milvus_token")
    @classmethod
    def _without_line_end(cls, value: SecretStr | None) -> SecretStr | None:
        # Files of secrets often end with one; a password may begin or end with a space.
        return SecretStr(value.get_secret_value().rstrip("\r\n")) if value else None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.max_batch_tokens > self.max_queue_tokens:
            raise ValueError(
                f"M3_MAX_BATCH_TOKENS ({self.max_batch_tokens}) is more than "
                f"M3_MAX_QUEUE_TOKENS ({self.max_queue_tokens}): a batch comes out of the queue"
            )
        if self.log_file is not None and self.log_file == self.audit_file:
            raise ValueError(f"M3_LOG_FILE and M3_AUDIT_FILE are one file, {self.log_file}")
        return self

    @property
    def client_key(self) -> str | None:
        """`api_key` in plain text."""
        return self.api_key.get_secret_value() if self.api_key else None

    @property
    def tables_path(self) -> str:
        return self.tables or str(self.home / "tables")


def load_settings(**flags: Any) -> Settings:
    """Settings with the flags that were given (not None) on top.

    Raises:
        InvalidConfiguration: a value that cannot be used, with its name.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidConfiguration(f"M3_{name}: {message}" if name else message) from error

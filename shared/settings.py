"""Everything that differs between machines, read from the environment once, at process start.

Owns the `RETOUCH_*` variables. Nothing else in the project reads the environment; code that needs a
setting is passed the object. `.env.example` lists every field, checked by a test.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.bases import TINY, identify_base
from shared.params import LARGEST_SCALE, MOST_LORAS
from shared.setting_lists import Entries, Folders, Words
from shared.store_url import OBJECT_SCHEMES, SCHEMES, next_database, sentinel_group, verified

PREFIX = "RETOUCH_"
REPOSITORY = Path(__file__).resolve().parent.parent
GATES = ("small", "dark", "blank", "blurry")
GUARDS = ("unsafe", "codes", "text", "marks")
FACES = ("openai", "sdapi", "mcp")
# Words that must be alone in these lists, and mean none or the default choice.
OFF, AUTO = "off", "auto"
_CHOICES = {"gate": (GATES, (OFF,)), "guards": (GUARDS, (AUTO, OFF)), "faces": (FACES, (OFF,))}
_PASSWORD = re.compile(r"//[^/]*@")
_ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?/?", re.ASCII)
_ADDRESS = re.compile(_ORIGIN.pattern.removesuffix("/?") + r"(/[\w.~/-]*)?", re.ASCII)


class Settings(BaseSettings):
    """One frozen set of settings; every value is checked when it is built."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        frozen=True,
        extra="ignore",
    )

    # --- locations
    store_ca: str = Field(
        "",
        description="PEM file of the authorities that may sign the certificate of a rediss:// "
        "store; empty: the system's.",
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Store of the job ledger: redis://, rediss:// (TLS), unix:// or "
        "sentinel://HOST,HOST/NAME.",
    )
    broker_url: str = Field(
        "", description="Celery's broker; empty: the store's server, next database number."
    )
    key_prefix: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.:{}/-]{0,64}$",
        description="Put before every key and channel in store and broker, such as retouch:; for "
        "a store that others use too.",
    )
    base_model: str = Field(
        str(REPOSITORY / "models" / "tiny"), description="Folder or hub id of the base checkpoint."
    )
    bases: Words = Field(
        (),
        description="Further bases of the fleet, such as sdxl/juggernaut, whose jobs are accepted "
        "while no worker serves them; empty: only while one does.",
    )
    loras_dir: Folders = Field(
        (REPOSITORY / "loras",),
        description="Folders of LoRA files, including subfolders; the first counts for a name.",
    )
    loras_url: str = Field(
        "",
        description="Bucket with LoRA files, s3://BUCKET/PREFIX (also gs:// and az://; extra s3), "
        "which every process follows in a folder under data_dir; empty: none.",
    )
    max_loras: int = Field(
        8, ge=1, le=MOST_LORAS, description="Largest number of LoRAs in one job."
    )
    max_lora_scale: float = Field(
        5.0, gt=0, le=LARGEST_SCALE, description="Largest scale of a LoRA, positive or negative."
    )
    upscalers_dir: Path = Field(REPOSITORY / "upscalers", description="Folder of enlarger files.")
    data_dir: Path = Field(Path("var/data"), description="Folder for pictures and the store.")
    blob_url: str = Field(
        "",
        description="Where pictures are stored: file:///DIR, redis://, or s3://BUCKET/PREFIX (also "
        "gs:// and az://; extra s3); empty: under data_dir.",
    )
    blob_links: bool = Field(
        False,
        description="Answer requests for finished pictures with a redirect to the object store, by "
        "a link that expires.",
    )

    # --- gateway
    host: str = Field("127.0.0.1", description="Address that the gateway binds.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port of the gateway.")
    public_url: Words = Field(
        (),
        description="Addresses behind a proxy, path included, such as "
        "https://example.org/retouch/; empty: none.",
    )
    trusted_proxies: Words = Field(
        (),
        description="Addresses or networks of proxies whose X-Forwarded-For and "
        "X-Forwarded-Proto are trusted; empty: none.",
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        description="Seconds after which an idle connection is closed; longer than the proxy's.",
    )
    api_keys: Entries = Field(
        (),
        description="Keys, each [NAME=]KEY[:WORD+WORD]; words are submit, read, metrics, "
        "admin, rate=60/minute and jobs=4; empty: no keys.",
    )
    allow_anonymous: bool = Field(
        False, description="Serve callers without a key even when bound to other addresses."
    )
    rate_limit: str = Field("off", description="Requests per caller, such as 60/minute, or off.")
    cors_origins: Words = Field(
        (),
        description="Origins whose pages may call the service (CORS), or * for all; empty: none.",
    )
    faces: Words = Field(
        FACES,
        description="APIs of other programs to offer: some of openai, sdapi, mcp; or off.",
    )
    max_upload_bytes: int = Field(50 * 2**20, ge=1024, description="Largest upload, in bytes.")
    max_pixels: int = Field(50_000_000, ge=4096, description="Largest upload, in pixels.")
    max_result_pixels: int = Field(64_000_000, ge=4096, description="Largest result, in pixels.")
    min_side: int = Field(16, ge=1, description="Smallest side of an upload, in pixels.")
    max_side: int = Field(
        65535, ge=64, le=65535, description="Longest side of a picture, in and out, in pixels."
    )
    small_side: int = Field(
        32, ge=1, description="Smallest side that is accepted without force=true, in pixels."
    )
    gate: Words = Field(
        GATES, description="Reasons to refuse a picture without force=true; or off."
    )
    queue_limit: int = Field(1000, ge=1, description="Waiting jobs before 503 queue_full.")
    jobs_per_key: int = Field(
        500, ge=0, description="Waiting and running jobs of one key before 429; 0: no limit."
    )
    bytes_per_key: int = Field(
        20 * 2**30,
        ge=0,
        description="Stored pictures of one key before 503, in bytes; 0: no limit.",
    )
    uploads_limit: int = Field(
        256, ge=1, description="Simultaneous uploads of one gateway before 503 overloaded."
    )
    uploads_per_key: int = Field(
        64, ge=1, description="Simultaneous uploads of one key before 429."
    )
    followers_limit: int = Field(
        900, ge=1, description="Event streams and sockets of one gateway before 503 overloaded."
    )
    followers_per_key: int = Field(
        256, ge=1, description="Event streams and sockets of one key before 429."
    )
    webhook_secret: Words = Field(
        (),
        description="Secrets that sign webhooks, whsec_ and base64; empty: one is generated and "
        "stored under data_dir.",
    )
    webhook_hosts: Words = Field(
        (),
        description="Each HOST or HOST:PORT to which webhooks may go by http or inside the "
        "network; empty: none.",
    )
    image_urls: bool = Field(
        False,
        description="Let jobs name their picture by an address (image_url), which the gateway then "
        "fetches; webhook_hosts applies.",
    )
    min_free_bytes: int = Field(
        512 * 2**20,
        ge=0,
        description="Free disk space below which uploads get 503 storage_full, in bytes.",
    )

    # --- client and monitor
    url: str = Field(
        "", description="URL at which the client finds the gateway; empty: at host and port."
    )
    api_key: str = Field("", description="Key that the client sends; empty: none.")
    flower_auth: str = Field(
        "", description="NAME:PASSWORD of the Flower page; empty: a new password at each start."
    )
    flower_host: str = Field("127.0.0.1", description="Address that Flower binds.")
    flower_port: int = Field(5555, ge=0, le=65535, description="TCP port of Flower.")

    # --- worker
    device: str = Field("auto", description="Device of a worker: auto, cpu, cuda, cuda:N or mps.")
    devices: Words = Field(
        (), description="Devices that a worker may use; empty: all of this host."
    )
    share_devices: bool = Field(
        False, description="Share a device when all are in use, instead of waiting for one."
    )
    engine: Literal["auto", "step", "diffusers", "fake"] = Field(
        "auto",
        description="Engine: step (many pictures at once), diffusers (one picture at a time), auto "
        "(step if the base allows it), or fake for tests of the fleet.",
    )
    fake_step_seconds: float = Field(
        0.02, ge=0, description="Duration of a step of the fake engine, seconds."
    )
    fake_lora_seconds: float = Field(
        0.0, ge=0, description="Time for which the fake engine loads a LoRA, seconds."
    )
    fake_faults: str = Field(
        "", description="Folder of the fake engine's faults and history, for tests; empty: none."
    )
    admission_window: int = Field(
        0,
        ge=0,
        le=64,
        description="Jobs that one worker holds at a time; 0: the engine's batch size plus one.",
    )
    only_worker: bool = Field(
        False,
        description="Whether this is the queue's only worker, which may claim more small pictures "
        "for a common batch.",
    )
    lora_slots: int = Field(
        8,
        ge=1,
        le=256,
        description="LoRAs kept loaded by the engine that makes one picture at a time (FLUX, "
        "SD 3).",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Data type of the UNet on a CPU; auto: bfloat16 if the CPU is fast at it. "
        "float32 also keeps consumer cards from accumulating in half precision.",
    )
    quantize: Literal["none", "int8"] = Field(
        default="none",
        description="int8: weights of eight bits in the network, for cards with little memory.",
    )
    profile: Literal["auto", "full", "vae_tiling", "model_offload", "sequential_offload"] = Field(
        "auto",
        description="Which parts of the base stay on a CUDA device; auto: as many as fit its "
        "memory.",
    )
    cuda_graphs: bool = Field(
        True, description="Capture the UNet's kernels as CUDA graphs and replay them."
    )
    built_engines: bool = Field(
        True,
        description="Use TensorRT engines that `retouch build-engine` has built, if they match.",
    )
    compile: Literal["auto", "off"] = Field(
        "auto",
        description="auto: where a C++ compiler is (CXX, else g++; on an NVIDIA device also Triton "
        "and the CUDA headers), compile blocks of the base in the background, "
        "and keep them in the data folder; off: neither make nor use them.",
    )
    threads: int = Field(
        0, ge=0, le=256, description="CPU threads of one worker; 0: torch decides."
    )
    guards: Words = Field(
        (AUTO,),
        description="Guards on results: auto (all; marks with the embedded base only), off, or "
        "some of unsafe, codes, text, marks.",
    )
    unsafe_low: float = Field(
        0.2, ge=0, le=1, description="Score of unsafe content below which a picture passes."
    )
    unsafe_high: float = Field(
        0.8, ge=0, le=1, description="Score of unsafe content from which every picture is stopped."
    )
    unsafe_between: Literal["pass", "flag", "block"] = Field(
        "flag",
        description="What happens to a picture whose score is between the two: pass, flag, block.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log level."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="Format of log lines: console or json."
    )

    traces_url: str = Field(
        "",
        description="OpenTelemetry collector for traces, such as http://collector:4318 (extra "
        "otel); empty: none.",
    )

    # --- content credentials (needs the extra c2pa)
    c2pa_certificate: str = Field(
        "", description="PEM file of the certificate chain that signs results; empty: unsigned."
    )
    c2pa_key: str = Field("", description="PEM file of that certificate's private key.")
    c2pa_algorithm: Literal["es256", "es384", "ps256", "ed25519"] = Field(
        "es256", description="Signature algorithm of that key."
    )

    # --- the ledger's clock
    lease_seconds: float = Field(
        10.0, gt=0, description="Lifetime of a claim without renewal, seconds."
    )
    renew_seconds: float = Field(2.0, gt=0, description="Time between renewals, seconds.")
    hint_seconds: float = Field(
        5.0,
        gt=0,
        description="Age after which another Celery message is sent for a waiting job, seconds.",
    )
    max_crashes: int = Field(3, ge=1, description="Crashed attempts after which a job fails.")
    grace_seconds: float = Field(
        50.0, ge=0, description="Time for finishing jobs after SIGTERM, seconds."
    )
    step_timeout_seconds: float = Field(
        60.0,
        gt=0,
        description="Time without a sign of life from a running job after which the device counts "
        "as hung, seconds.",
    )
    idle_timeout_seconds: float = Field(
        30.0,
        gt=0,
        description="Idle time with queued jobs after which a worker counts as deaf to the queue, "
        "seconds.",
    )
    restart_seconds: float = Field(
        1.0,
        gt=0,
        description="Wait before an engine process is restarted; doubles each time, seconds.",
    )
    restart_max_seconds: float = Field(
        30.0, gt=0, description="Longest wait before an engine process is restarted, seconds."
    )
    store_replicas: int = Field(
        0,
        ge=0,
        le=10,
        description="Replicas of the store that must have a submission or a result before it is "
        "acknowledged.",
    )
    job_ttl_seconds: int = Field(
        7 * 86400, ge=1, description="Lifetime of a job's record, seconds."
    )
    lora_strikes: int = Field(
        3,
        ge=1,
        description="Number of guards' hits and callers' reports after which a LoRA is suspended.",
    )
    lora_strikes_seconds: int = Field(
        30 * 86400, ge=60, description="Time for which a hit or report counts, seconds."
    )
    result_ttl_seconds: int = Field(86400, ge=1, description="Lifetime of pictures, seconds.")

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _is_a_redis_url(cls, value: str, info: ValidationInfo) -> str:
        if value and not value.startswith(SCHEMES):
            raise ValueError("must start with redis://, rediss://, unix:// or sentinel://")
        sentinel_group(value)
        return verified(value, str(info.data.get("store_ca", "")))

    @field_validator("loras_url")
    @classmethod
    def _is_a_bucket(cls, value: str) -> str:
        if value and not (value.startswith(OBJECT_SCHEMES) and urlsplit(value).netloc):
            raise ValueError("must name a bucket, such as s3://bucket/loras")
        return value

    @field_validator("traces_url")
    @classmethod
    def _is_a_collector(cls, value: str) -> str:
        if value and not _ADDRESS.fullmatch(value):
            raise ValueError("must be an address such as http://collector:4318")
        return value

    @field_validator("public_url")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Each without a trailing slash."""
        if not all(map(_ADDRESS.fullmatch, value)):
            raise ValueError(
                "must begin with https:// or http:// and a name, without ? and #, "
                "such as https://example.org/retouch/"
            )
        return tuple(url.rstrip("/") for url in value)

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """As browsers write them: in lower case, without a trailing slash."""
        if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in value):
            raise ValueError("must be *, or origins such as https://example.org")
        return tuple(origin.lower().rstrip("/") for origin in value)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise ValueError("must be addresses or networks such as 10.0.0.0/8") from error
        return value

    @field_validator("gate", "guards", "faces")
    @classmethod
    def _are_known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known, alone = _CHOICES[str(info.field_name)]
        if not (len(value) == 1 and value[0] in alone) and not set(value) <= set(known):
            raise ValueError(f"must be {' or '.join(alone)}, or some of {', '.join(known)}")
        return value

    @field_validator("blob_url")
    @classmethod
    def _is_a_blob_url(cls, value: str, info: ValidationInfo) -> str:
        if value and not value.startswith(("file:///", *SCHEMES, *OBJECT_SCHEMES)):
            raise ValueError(
                "must start with file:///, redis://, rediss://, unix://, sentinel://, s3://, gs:// "
                "or az://"
            )
        if value.startswith(OBJECT_SCHEMES) and not urlsplit(value).netloc:
            raise ValueError("must name a bucket, such as s3://bucket/prefix")
        sentinel_group(value)
        return verified(value, str(info.data.get("store_ca", "")))

    @model_validator(mode="after")
    def _renewal_fits_the_lease(self) -> Self:
        if self.renew_seconds * 2 > self.lease_seconds:
            raise ValueError("RETOUCH_RENEW_SECONDS must be at most half of RETOUCH_LEASE_SECONDS")
        return self

    @model_validator(mode="after")
    def _unsafe_band_is_one(self) -> Self:
        if self.unsafe_low > self.unsafe_high:
            raise ValueError("RETOUCH_UNSAFE_LOW must not exceed RETOUCH_UNSAFE_HIGH")
        return self

    @property
    def broker(self) -> str:
        """The broker's URL: a separate database, since Celery's keys have no time to live."""
        return self.broker_url or next_database(self.redis_url)

    @property
    def blobs(self) -> str:
        """The blob store's URL."""
        return self.blob_url or f"file://{self.data_dir.resolve() / 'blobs'}"

    @property
    def synced_loras(self) -> Path:
        """The folder of LoRA files from loras_url."""
        return self.data_dir / "synced-loras"

    @property
    def lora_folders(self) -> tuple[Path, ...]:
        """All folders of LoRA files; the first counts for a name."""
        return (*self.loras_dir, *([self.synced_loras] if self.loras_url else []))

    @property
    def face_names(self) -> list[str]:
        """The active faces, in a fixed order."""
        return [name for name in FACES if name in self.faces]

    @property
    def gate_names(self) -> frozenset[str]:
        """The reasons for which a picture is refused."""
        return frozenset(self.gate) - {OFF}

    @property
    def guard_names(self) -> frozenset[str]:
        """The active guards. The accuracy of `marks` is known only for the embedded base."""
        if self.guards == (AUTO,):
            every = frozenset(GUARDS)
            return every if identify_base(self.base_model) == TINY else every - {"marks"}
        return frozenset(self.guards) - {OFF}


class BadSettings(SystemExit):
    """Raised at start if a variable has an invalid value; its text names the variable."""


def load_settings(**overrides: object) -> Settings:
    """Reads the environment. Ends the process with the variable's name if a value is invalid, or if
    there is no such setting.
    """
    refuse_unknown_names({*os.environ, *_names_in(overrides.get("_env_file", ".env"))})
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise BadSettings("\n".join(_complaint(item) for item in error.errors())) from error


def refuse_unknown_names(names: Iterable[str]) -> None:
    """Raises BadSettings for RETOUCH_* names that are not settings, with the nearest one that
    is.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(n for n in names if n.upper().startswith(PREFIX) and n.upper() not in known)
    if unknown:
        raise BadSettings("\n".join(_guess(name, known) for name in unknown))


def _guess(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.upper(), known, n=1)
    meant = f"did you mean {near[0]}?" if near else ".env.example lists all settings."
    return f"{name}: there is no such setting; {meant}"


def _names_in(env_file: object) -> list[str]:
    return list(dotenv_values(Path(str(env_file)))) if env_file is not None else []


def _complaint(item: object) -> str:
    detail = dict(item)  # type: ignore[call-overload]
    where = "_".join(str(part) for part in detail["loc"]).upper()
    name = f"RETOUCH_{where}: " if where else ""
    got = _PASSWORD.sub("//...@", repr(detail["input"]))
    return f"{name}{detail['msg']} (got {got})" if where else f"{detail['msg']}"

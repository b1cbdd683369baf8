"""Settings of a process, built once in its composition root.

Every setting is an environment variable with the prefix `COUNTENANCE_`, or the flag of the same name
(`--redis-url` beats `COUNTENANCE_REDIS_URL`). A process is given only what it needs: `SETTINGS_OF` says
which variables it requires, and everything else stays empty even where the environment has it, so that
ingest, say, never holds a database password. Secrets have no default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from cloud.errors import ConfigError

PREFIX = "COUNTENANCE_"

SHARDS_MAX = 4_096
SESSIONS_MAX = 10_000
PORT_MAX = 65_535
ICE_URLS_MAX = 4
TURN_SECRET_MIN_CHARS = 16
ALLOWED_ORIGINS_MAX = 8
_ORIGIN = re.compile(
    r"https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?|http://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"
)
"""As a browser writes it: lower case, no path; in the clear on the machine itself alone."""

_ICE_HOST = r"[\w.-]+(?::\d{1,5})?"
_ICE_URL = re.compile(
    rf"stun:{_ICE_HOST}|turn:{_ICE_HOST}(?:\?transport=(?:udp|tcp))?|turns:{_ICE_HOST}(?:\?transport=tcp)?"
)
"""What aiortc can use: it reads no literal IPv6 address, and speaks TURN over TLS on TCP alone."""


class Role(StrEnum):
    """Which process the settings are for."""

    INIT = "init"
    MIGRATE = "migrate"
    API = "api"
    INGEST = "ingest"
    CLASSIFY = "classify"
    AGGREGATE = "aggregate"
    LIFECYCLE = "lifecycle"


class ClassifierEngine(StrEnum):
    """Which engine classifies crops; `auto` takes TensorFlow with a GPU, LiteRT without."""

    AUTO = "auto"
    LITERT = "litert"
    TENSORFLOW = "tensorflow"


class LogFormat(StrEnum):
    """How log lines look: one JSON object each, or for a person's eyes."""

    JSON = "json"
    CONSOLE = "console"


SETTINGS_OF: Mapping[Role, frozenset[str]] = {
    Role.INIT: frozenset({"STATE_DIR"}),
    Role.MIGRATE: frozenset({"DATABASE_OWNER_URL"}),
    Role.API: frozenset({"STATE_DIR", "DATABASE_URL", "REDIS_URL"}),
    Role.INGEST: frozenset({"STATE_DIR", "REDIS_URL"}),
    Role.CLASSIFY: frozenset({"STATE_DIR", "REDIS_URL"}),
    Role.AGGREGATE: frozenset({"KEYS_DIR", "DATABASE_URL", "REDIS_URL"}),
    Role.LIFECYCLE: frozenset({"STATE_DIR", "DATABASE_URL", "REDIS_URL"}),
}
"""Which of the settings without a default each process must be given; it sees no other of them."""

ICE_ROLES = frozenset({Role.API, Role.INGEST})
"""Ingest uses STUN and TURN servers itself; the API hands them to agents with each ticket."""

PAGE_ROLES = frozenset({Role.API, Role.INGEST})
"""What a page that is a client speaks to."""

KEY_ROLES = frozenset({Role.API, Role.AGGREGATE, Role.LIFECYCLE})
"""Who reads the sessions' data keys; aggregate and lifecycle make them, lifecycle destroys them."""

METRICS_PORTS: Mapping[Role, int] = {
    Role.API: 9100,
    Role.INGEST: 9101,
    Role.CLASSIFY: 9102,
    Role.AGGREGATE: 9103,
    Role.LIFECYCLE: 9104,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Where a process listens; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a process was told; never changes while it runs.

    Attributes:
        role: the process these settings are for.
        state_dir: directory with the platform's keys (0700), made by `countenance init`.
        keys_dir: directory with the sessions' data keys; `keys` in the state directory unless it is named.
        database_url: PostgreSQL as the application role, without BYPASSRLS; "" where not needed.
        database_owner_url: PostgreSQL as the owner role, for migrations only; "" elsewhere.
        redis_url: Redis without RDB and AOF; "" where not needed.
        api_bind: where the API listens (/healthz and /readyz are there as well, /metrics is not).
        public_url: how viewers reach the API, without a trailing slash.
        ingest_bind: where ingest's signalling websocket listens.
        ingest_url: how agents reach ingest (ws:// or wss://).
        metrics_bind: where a process serves /healthz, /readyz and /metrics.
        shards: number of stream shards, 1 to 4096; the same in every process.
        classifier: engine of the classify worker.
        max_sessions: live sessions one ingest process admits, 1 to 10000.
        ice_urls: STUN and TURN servers for ingest and the agents, four at most; none on one machine. Ingest and our
            agent use the first of each kind.
        turn_secret: shared with the TURN servers, for short-lived credentials; "" without such a server.
        allowed_origins: pages that may be clients, by origin, eight at most; by default none (ADR 0123).
        clock_confirmed: today's date, by which an operator says that the lifecycle process's clock is right although
            it jumped; None otherwise.
        controller: who is named as data controller in notices and receipts.
        log_level: debug, info, warning or error.
        log_format: json or console.
    """

    role: Role
    state_dir: Path
    keys_dir: Path
    database_url: str = field(repr=False)
    database_owner_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    api_bind: Bind
    public_url: str
    ingest_bind: Bind
    ingest_url: str
    metrics_bind: Bind
    shards: int
    classifier: ClassifierEngine
    max_sessions: int
    ice_urls: tuple[str, ...]
    turn_secret: str = field(repr=False)
    allowed_origins: tuple[str, ...]
    clock_confirmed: date | None
    controller: str
    log_level: str
    log_format: LogFormat


def load_settings(
    role: Role,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str | None] | None = None,
) -> Settings:
    """Read and check the settings of one process.

    Args:
        role: which process.
        environ: environment; the process's own when None.
        flags: values from the command line by setting name without prefix (`REDIS_URL`); None is unset.

    Raises:
        ConfigError: names the setting, what is allowed, and what to do.
    """
    given = _Given(os.environ if environ is None else environ, flags or {}, role)
    api_bind = given.bind("API_BIND", "127.0.0.1:8000")
    ingest_bind = given.bind("INGEST_BIND", "127.0.0.1:8100")
    return Settings(
        role=role,
        state_dir=Path(given.required("STATE_DIR", example="~/countenance") or os.curdir).expanduser(),
        keys_dir=given.keys_dir(),
        database_url=given.url(
            "DATABASE_URL", {"postgresql", "postgres"}, "postgresql://app@host/countenance"
        ),
        database_owner_url=given.url(
            "DATABASE_OWNER_URL", {"postgresql", "postgres"}, "postgresql://owner@host/countenance"
        ),
        redis_url=given.url("REDIS_URL", {"redis", "rediss", "unix"}, "redis://127.0.0.1:6379/0"),
        api_bind=api_bind,
        public_url=given.link("PUBLIC_URL", {"http", "https"}, f"http://{api_bind}"),
        ingest_bind=ingest_bind,
        ingest_url=given.link("INGEST_URL", {"ws", "wss"}, f"ws://{ingest_bind}"),
        metrics_bind=given.bind("METRICS_BIND", f"127.0.0.1:{METRICS_PORTS.get(role, 9100)}"),
        shards=given.integer("SHARDS", 256, low=1, high=SHARDS_MAX),
        classifier=ClassifierEngine(given.choice("CLASSIFIER", "auto", tuple(ClassifierEngine))),
        ice_urls=given.ice_urls(),
        turn_secret=given.turn_secret(),
        allowed_origins=given.allowed_origins(),
        max_sessions=given.integer("MAX_SESSIONS", 40, low=1, high=SESSIONS_MAX),
        clock_confirmed=given.date("CLOCK_CONFIRMED"),
        controller=given.text("CONTROLLER", "the studio that invited you"),
        log_level=given.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        log_format=LogFormat(given.choice("LOG_FORMAT", "json", tuple(LogFormat))),
    )


def parse_bind(name: str, text: str) -> Bind:
    """Read `host:port` or `[v6]:port`.

    Raises:
        ConfigError: it is neither, or the port is outside 0 to 65535.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ConfigError(f"{name} is {text!r}: give HOST:PORT with a port of 0 to 65535, as 127.0.0.1:8000")
    return Bind(host=host, port=int(port))


class _Given:
    """Looks settings up: flag first, then environment, then default."""

    def __init__(self, environ: Mapping[str, str], flags: Mapping[str, str | None], role: Role) -> None:
        self._environ = environ
        self._flags = flags
        self._role = role

    def _raw(self, name: str) -> str:
        flag = self._flags.get(name)
        return (self._environ.get(PREFIX + name, "") if flag is None else flag).strip()

    def required(self, name: str, *, example: str) -> str:
        """Read a setting that has no default; "" where this process does not need it."""
        if name not in SETTINGS_OF[self._role]:
            return ""
        text = self._raw(name)
        if not text:
            flag = "--" + name.lower().replace("_", "-")
            raise ConfigError(
                f"{name} is not set, and `countenance {self._role}` needs it: "
                f"export {PREFIX}{name} or give {flag}, as {example}"
            )
        return text

    def keys_dir(self) -> Path:
        """Read where data keys are: `keys` in the state directory where nothing else is said."""
        if self._role not in KEY_ROLES:
            return Path(os.curdir)
        state = self._raw("STATE_DIR")
        if state and not self._raw("KEYS_DIR"):
            return Path(state).expanduser() / "keys"
        return Path(
            self.required("KEYS_DIR", example="~/countenance/keys") or self._raw("KEYS_DIR")
        ).expanduser()

    def url(self, name: str, schemes: set[str], example: str) -> str:
        """Read a server's address; it may hold a password, so it is never quoted back."""
        text = self.required(name, example=example)
        if text and urlsplit(text).scheme not in schemes:
            raise ConfigError(f"{name} must begin with one of {_list(schemes)}, as {example}")
        return text

    def link(self, name: str, schemes: set[str], default: str) -> str:
        """Read a public address."""
        text = (self._raw(name) or default).rstrip("/")
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.netloc:
            raise ConfigError(f"{name} is {text!r}: it must begin with one of {_list(schemes)}, as {default}")
        return text

    def bind(self, name: str, default: str) -> Bind:
        """Read where to listen."""
        return parse_bind(name, self._raw(name) or default)

    def ice_urls(self) -> tuple[str, ...]:
        """Read the STUN and TURN servers, for the processes that use them or hand them out."""
        if self._role not in ICE_ROLES:
            return ()
        urls = tuple(url.strip() for url in self._raw("ICE_URLS").split(",") if url.strip())
        if len(urls) > ICE_URLS_MAX or not all(_ICE_URL.fullmatch(url) for url in urls):
            raise ConfigError(
                f"ICE_URLS must be at most {ICE_URLS_MAX} names or IPv4 addresses with commas between them, "
                "as stun:stun.example.org:3478,turn:turn.example.org:3478?transport=udp"
            )
        return urls

    def turn_secret(self) -> str:
        """Read the TURN servers' secret; never a flag, since command lines are public on a machine."""
        if not any(url.startswith("turn") for url in self.ice_urls()):
            return ""
        secret = self._environ.get(PREFIX + "TURN_SECRET", "")
        if len(secret) < TURN_SECRET_MIN_CHARS:
            raise ConfigError(
                f"ICE_URLS names a TURN server: export {PREFIX}TURN_SECRET, the secret it shares with this "
                f"platform (coturn's static-auth-secret), of at least {TURN_SECRET_MIN_CHARS} characters"
            )
        return secret

    def allowed_origins(self) -> tuple[str, ...]:
        """Read which pages may be clients, for the processes that pages speak to."""
        if self._role not in PAGE_ROLES:
            return ()
        origins = tuple(text.strip() for text in self._raw("ALLOWED_ORIGINS").split(",") if text.strip())
        if len(origins) > ALLOWED_ORIGINS_MAX or not all(_ORIGIN.fullmatch(origin) for origin in origins):
            raise ConfigError(
                f"ALLOWED_ORIGINS must be at most {ALLOWED_ORIGINS_MAX} origins with commas between them, each as a "
                "browser writes it: https://view.example.org, without a path; http:// on this machine alone"
            )
        return origins

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """Read a whole number within bounds."""
        text = self._raw(name) or str(default)
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ConfigError(f"{name} is {text!r}: give a whole number of {low} to {high}")
        return value

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        """Read one of a closed set."""
        text = (self._raw(name) or default).lower()
        if text not in allowed:
            raise ConfigError(f"{name} is {text!r}: give one of {', '.join(allowed)}")
        return text

    def date(self, name: str) -> date | None:
        """Read a day as YYYY-MM-DD; None where none is given, or where only another process asks."""
        text = self._raw(name) if self._role is Role.LIFECYCLE else ""
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            raise ConfigError(f"{name} is {text!r}: give a date, as 2026-11-24") from None

    def text(self, name: str, default: str) -> str:
        """Read a short line of text."""
        text = self._raw(name) or default
        if len(text) > 200 or not text.isprintable():
            raise ConfigError(f"{name} must be one printable line of at most 200 characters")
        return text


def _list(schemes: set[str]) -> str:
    return ", ".join(f"{scheme}:" if scheme == "unix" else f"{scheme}://" for scheme in sorted(schemes))

"""The whole platform on one machine: embedded PostgreSQL and Redis, keys, and every process.

Crash-only: whatever ends is started again on the same port, with back-off. Each child gets the
settings it needs and no others, and none may leave a core file, the servers included. Logs go to `<state>/logs`, readable by the owner alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cloud.bootstrap import PROCESS_MODULES, SUPERVISED
from cloud.children import Child, Echo, cut_log
from cloud.config import ICE_ROLES, KEY_ROLES, PAGE_ROLES, PREFIX, SETTINGS_OF, ClassifierEngine, Role
from cloud.embedded import postgres, redis
from cloud.embedded.ports import free_port
from cloud.errors import CloudError, ConfigError, StoreError
from cloud.hardening import forbid_core_dumps
from cloud.keys.custody import prepare_keys
from cloud.keys.platform_keys import ensure_pool_key, init_state, read_admin_token

READY_TIMEOUT_S = 60.0
SERVER_CHECK_S = 0.5
KEY_CHECK_S = 600.0
SHARDS_ON_ONE_MACHINE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformOptions:
    """How to run the platform.

    Attributes:
        state_dir: where keys, databases and logs live.
        api_port: 0 takes a free one.
        ingest_port: 0 takes a free one.
        host: address the API and ingest listen on.
        shards: stream shards.
        classifier: engine of the classify worker.
        max_sessions: live sessions that ingest admits.
        log_level: of every process.
        durable: False trades the database's durability for speed (tests only).
        environment: more settings for every child, by full variable name.
    """

    state_dir: Path
    api_port: int = 0
    ingest_port: int = 0
    host: str = "127.0.0.1"
    shards: int = SHARDS_ON_ONE_MACHINE
    classifier: ClassifierEngine = ClassifierEngine.AUTO
    max_sessions: int = 40
    log_level: str = "info"
    durable: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Platform:
    """A running platform.

    Attributes:
        state_dir: where keys, databases and logs live.
        api_url: the API, without a trailing slash.
        ingest_url: ingest's signalling websocket.
        admin_token: registers studios.
        postgres_urls: how to reach the database.
        redis_url: how to reach Redis.
        children: each process by name; `pid`, `restarts`, `kill()`.
    """

    state_dir: Path
    api_url: str
    ingest_url: str
    admin_token: str = field(repr=False)
    postgres_urls: postgres.PostgresUrls = field(repr=False)
    redis_url: str = field(repr=False)
    children: Mapping[str, Child]
    _servers: _Servers = field(repr=False)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, the servers' included; 0 for what is not running now."""
        return {name: child.pid for name, child in self.children.items()} | self._servers.pids()

    @property
    def restarts(self) -> dict[str, int]:
        """How often each process was started again."""
        return {name: child.restarts for name, child in self.children.items()}

    async def stop_server(self, name: str) -> None:
        """Take `postgres` or `redis` away until `start_server`; for failure tests."""
        await self._servers.stop(name)

    async def start_server(self, name: str) -> None:
        """Give a server back on its old port."""
        await self._servers.start(name)

    async def wait_ready(self, *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until every process says it is ready.

        Raises:
            StoreError: one is not, with the last line of its log.
        """
        ready = await asyncio.gather(*(c.wait_ready(timeout_s=timeout_s) for c in self.children.values()))
        for child, is_ready in zip(self.children.values(), ready, strict=True):
            if not is_ready:
                raise StoreError(
                    f"{child.name} is not ready after {timeout_s:.0f} s; its log ends: {child.last_words()}"
                )


@contextlib.asynccontextmanager
async def running_platform(
    options: PlatformOptions, *, echo: Echo = lambda line: None, wait: bool = True
) -> AsyncIterator[Platform]:
    """Start everything, keep it running, and stop it in order at the end.

    Args:
        options: how.
        echo: gets one-line statuses for a person.
        wait: return only once every process is ready.

    Raises:
        CloudError: something does not come up; everything started so far is stopped.
    """
    forbid_core_dumps()
    state = options.state_dir.expanduser().resolve()
    init_state(state)
    prepare_keys(state / "keys", former_kek=state / "kek.key")
    servers = _Servers(state, options)
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(servers.stop_all)
        await servers.start_all()
        echo("PostgreSQL and Redis run")
        await asyncio.to_thread(_migrate, servers.postgres.urls.owner_url)
        api_port = _chosen_port(options.host, options.api_port, "--port")
        ingest_port = _chosen_port(options.host, options.ingest_port, "--ingest-port")
        shared = _shared_environment(state, options, servers, api_port, ingest_port)
        children = {str(role): _make_child(role, state, options, shared) for role in PROCESS_MODULES}
        keepers = [
            asyncio.create_task(child.keep_running(stop=stop, echo=echo)) for child in children.values()
        ]
        keepers.append(asyncio.create_task(servers.keep_running(stop, echo)))
        keepers.append(asyncio.create_task(_keep_pool_key(state, stop)))
        stack.push_async_callback(_finish, stop, keepers)
        platform = Platform(
            state_dir=state,
            api_url=shared["PUBLIC_URL"],
            ingest_url=shared["INGEST_URL"],
            admin_token=read_admin_token(state),
            postgres_urls=servers.postgres.urls,
            redis_url=servers.redis.url,
            children=children,
            _servers=servers,
        )
        if wait:
            await platform.wait_ready()
            echo(f"ready: {platform.api_url}")
        yield platform


def _migrate(owner_url: str) -> None:
    from cloud.database.migrate import migrate

    migrate(owner_url)


def _chosen_port(host: str, wanted: int, flag: str) -> int:
    if wanted == 0:
        return free_port()
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError as error:
            raise ConfigError(
                f"{flag} {wanted} cannot be listened on ({error.strerror}): choose another, or 0 for a free one"
            ) from None
    return wanted


def _shared_environment(
    state: Path, options: PlatformOptions, servers: _Servers, api_port: int, ingest_port: int
) -> dict[str, str]:
    shown = "127.0.0.1" if options.host in {"0.0.0.0", "::"} else options.host  # noqa: S104
    return {
        "STATE_DIR": str(state),
        "KEYS_DIR": str(state / "keys"),
        "DATABASE_URL": servers.postgres.urls.app_url,
        "REDIS_URL": servers.redis.url,
        "API_BIND": f"{options.host}:{api_port}",
        "PUBLIC_URL": os.environ.get(PREFIX + "PUBLIC_URL", f"http://{shown}:{api_port}"),
        "INGEST_BIND": f"{options.host}:{ingest_port}",
        "INGEST_URL": os.environ.get(PREFIX + "INGEST_URL", f"ws://{shown}:{ingest_port}"),
        "SHARDS": str(options.shards),
        "CLASSIFIER": str(options.classifier),
        "MAX_SESSIONS": str(options.max_sessions),
        "LOG_LEVEL": options.log_level,
    }


def _make_child(role: Role, state: Path, options: PlatformOptions, shared: Mapping[str, str]) -> Child:
    ops_bind = f"127.0.0.1:{free_port()}"
    return Child(
        name=str(role),
        command=[sys.executable, "-m", "cloud.cli", str(role)],
        environment=child_environment(role, options, shared, ops_bind=ops_bind),
        log=state / "logs" / f"{role}.log",
        ops_url=f"http://{ops_bind}",
    )


def child_environment(
    role: Role, options: PlatformOptions, shared: Mapping[str, str], *, ops_bind: str
) -> dict[str, str]:
    """Give a child's environment: the settings it needs, and no secret that it does not.

    Args:
        role: which process.
        options: of the platform.
        shared: settings of all processes by name without prefix.
        ops_bind: where the process serves its metrics.
    """
    withheld = {"STATE_DIR", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL"} - SETTINGS_OF[role]
    withheld |= set() if role in KEY_ROLES else {"KEYS_DIR"}
    settings = {name: value for name, value in shared.items() if name not in withheld}
    settings["METRICS_BIND"] = ops_bind
    wanted = (
        "CONTROLLER",
        "LOG_FORMAT",
        *(("CLOCK_CONFIRMED",) if role is Role.LIFECYCLE else ()),
        *(("ICE_URLS", "TURN_SECRET") if role in ICE_ROLES else ()),
        *(("ALLOWED_ORIGINS",) if role in PAGE_ROLES else ()),
    )
    passed_on = [PREFIX + name for name in wanted if PREFIX + name in os.environ]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
        **{name: os.environ[name] for name in passed_on},
        **{PREFIX + name: value for name, value in settings.items()},
        **options.environment,
        SUPERVISED: "1",
        "PYTHONUNBUFFERED": "1",
    }


async def _keep_pool_key(state: Path, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await asyncio.to_thread(ensure_pool_key, state)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), KEY_CHECK_S)


async def _finish(stop: asyncio.Event, keepers: list[asyncio.Task[None]]) -> None:
    stop.set()
    await asyncio.gather(*keepers, return_exceptions=True)


class _Servers:
    """The embedded servers, kept on their ports and passwords while the platform runs."""

    def __init__(self, state: Path, options: PlatformOptions) -> None:
        self._state = state
        self._durable = options.durable
        self._postgres: postgres.EmbeddedPostgres | None = None
        self._redis: redis.EmbeddedRedis | None = None
        self._redis_port = free_port()
        self._redis_password = os.urandom(18).hex()
        self._postgres_port = free_port()
        self._taken: set[str] = set()
        self._lock = asyncio.Lock()

    @property
    def postgres(self) -> postgres.EmbeddedPostgres:
        if self._postgres is None:
            raise StoreError("PostgreSQL was not started")
        return self._postgres

    @property
    def redis(self) -> redis.EmbeddedRedis:
        if self._redis is None:
            raise StoreError("Redis was not started")
        return self._redis

    def pids(self) -> dict[str, int]:
        return {
            "postgres": self.postgres.pid if self.postgres.is_running() else 0,
            "redis": self.redis.pid if self.redis.is_running() else 0,
        }

    async def start_all(self) -> None:
        results = await asyncio.gather(
            asyncio.to_thread(self._start_postgres),
            asyncio.to_thread(self._start_redis),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def stop_all(self) -> None:
        async with self._lock:
            for server in (self._redis, self._postgres):
                if server is not None:
                    await asyncio.to_thread(server.stop)

    async def stop(self, name: str) -> None:
        async with self._lock:
            self._taken.add(name)
            await asyncio.to_thread(self.postgres.stop if name == "postgres" else self.redis.stop)

    async def start(self, name: str) -> None:
        async with self._lock:
            await asyncio.to_thread(self._starter(name))
            self._taken.discard(name)

    async def keep_running(self, stop: asyncio.Event, echo: Echo) -> None:
        """Start a server again on its old port when it ended by itself."""
        while not stop.is_set():
            for log in (self.postgres.log, self.redis.log):
                await asyncio.to_thread(cut_log, log)
            for name, pid in self.pids().items():
                if pid == 0 and name not in self._taken:
                    echo(f"{name} ended; starting it again")
                    with contextlib.suppress(CloudError):
                        await self._restart(name)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SERVER_CHECK_S)

    async def _restart(self, name: str) -> None:
        async with self._lock:
            if name in self._taken:
                return
            await asyncio.to_thread(self.postgres.stop if name == "postgres" else self.redis.stop)
            await asyncio.to_thread(self._starter(name))

    def _starter(self, name: str) -> Callable[[], None]:
        return self._start_postgres if name == "postgres" else self._start_redis

    def _start_postgres(self) -> None:
        self._postgres = postgres.start(
            self._state / "postgres", port=self._postgres_port, is_durable=self._durable
        )

    def _start_redis(self) -> None:
        self._redis = redis.start(self._state / "redis", port=self._redis_port, password=self._redis_password)

"""The ingest worker: signalling and WebRTC for live sessions; passes ciphertext on, opens none."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from redis.asyncio import Redis

from cloud.config import Bind, Settings
from cloud.errors import StreamError
from cloud.ingest import metrics as metrics
from cloud.ingest.aiortc_peer import AiortcPeerEngine
from cloud.ingest.live_sessions import IngestSessions
from cloud.ingest.peers import PeerEngine
from cloud.ingest.writers import IngestWriters
from cloud.keys.platform_keys import load_signing_public_key
from cloud.observability import OK, Readiness, serve_ops
from cloud.running import run_until
from cloud.signaling.ice_servers import IceServer, ice_servers
from cloud.signaling.server import serve_signalling
from cloud.streams.ports import AckFeed, CropSink, EventSink, Revocations, SetupStore, Superseded
from cloud.streams.redis_connection import connect, find_fault
from cloud.streams.redis_sessions import RedisAckFeed, RedisRevocations, RedisSetupStore
from cloud.streams.redis_streams import RedisCropStream, RedisResultStream
from privacy.governance.policy import Artefact, load_policy

log = structlog.get_logger()

CONNECTIONS_SPARE = 32
"""Websockets beyond the session cap: agents that come back, or are told that there is no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestParts:
    """What an ingest process is made of."""

    engine: PeerEngine
    crops: CropSink
    events: EventSink
    setups: SetupStore
    revocations: Revocations
    acks: AckFeed
    platform_key: Ed25519PublicKey


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Serve sessions until told to stop.

    Raises:
        ConfigError: a key is missing or an address is taken.
    """
    redis = connect(settings.redis_url)
    parts = IngestParts(
        engine=AiortcPeerEngine(
            lambda: connection_servers(settings),
            on_breach=lambda breach: metrics.PEERS_HUNG_UP_ON.labels(breach.value).inc(),
        ),
        crops=RedisCropStream(
            redis,
            utc_ms=lambda: time.time_ns() // 1_000_000,
            max_age_ms=load_policy().ttl_ms(Artefact.CIPHERTEXT_CROP),
        ),
        events=RedisResultStream(redis, on_trimmed=metrics.RESULTS_TRIMMED.inc),
        setups=RedisSetupStore(redis),
        revocations=RedisRevocations(redis),
        acks=RedisAckFeed(redis),
        platform_key=load_signing_public_key(settings.state_dir),
    )
    try:
        async with serve_ops(settings.metrics_bind, readiness=_readiness(redis)):
            await serve(
                parts,
                bind=settings.ingest_bind,
                shards=settings.shards,
                max_sessions=settings.max_sessions,
                allowed_origins=settings.allowed_origins,
                stop=stop,
            )
    finally:
        await redis.aclose()


def connection_servers(settings: Settings) -> list[IceServer]:
    """Give the STUN and TURN servers for ingest's end of one connection."""
    return ice_servers(
        settings.ice_urls, settings.turn_secret, now_s=int(time.time()), nonce=secrets.token_hex(8)
    )


async def serve(
    parts: IngestParts,
    *,
    bind: Bind,
    shards: int,
    max_sessions: int,
    stop: asyncio.Event,
    allowed_origins: Sequence[str] = (),
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serve sessions until told to stop.

    Args:
        parts: adapters.
        bind: where signalling listens.
        shards: number of shards.
        max_sessions: cap on live sessions.
        stop: ends it, in order.
        allowed_origins: pages that may be clients.
        on_listening: told the port once signalling listens.

    Raises:
        ConfigError: the address cannot be bound.
    """
    writers = IngestWriters(parts.crops, parts.events, shards=shards)
    sessions = IngestSessions(
        engine=parts.engine,
        setups=parts.setups,
        revocations=parts.revocations,
        writers=writers,
        platform_key=parts.platform_key,
        owner=f"{socket.gethostname()}-{secrets.token_hex(4)}",
        max_sessions=max_sessions,
    )
    writers.on_recovered = sessions.refresh_setups
    listening = serve_signalling(
        bind.host,
        bind.port,
        sessions.handle,
        max_connections=max_sessions + CONNECTIONS_SPARE,
        allowed_origins=allowed_origins,
        on_given_up=metrics.SOCKETS_GIVEN_UP.inc,
    )
    try:
        async with listening as port:
            log.info("ingest is ready", port=port)
            if on_listening is not None:
                on_listening(port)
            await run_until(
                stop,
                writers.write_crops(),
                writers.write_events(),
                sessions.sweep(),
                _watch_revocations(sessions, writers, parts.revocations),
                _forward_acks(sessions, parts.acks),
                _forward_refusals(sessions, parts.acks),
            )
            await sessions.close()
    finally:
        await writers.flush()


async def _watch_revocations(
    sessions: IngestSessions, writers: IngestWriters, revocations: Revocations
) -> None:
    async for word in revocations.revocations():
        if isinstance(word, Superseded):
            sessions.supersede(word)
            continue
        if word is not None:
            sessions.revoke_soon(word)
            continue
        # a subscription breaks with Redis, even where no write fell into the time that it was away
        writers.repeat_events()
        try:
            await sessions.recheck_revocations()
        except StreamError as error:
            log.warning("revocations were not looked up", reason=str(error))


async def _forward_acks(sessions: IngestSessions, feed: AckFeed) -> None:
    async for ack in feed.acks():
        sessions.forward_ack(ack)


async def _forward_refusals(sessions: IngestSessions, feed: AckFeed) -> None:
    async for refused in feed.refusals():
        sessions.forward_refusals(refused)


def _readiness(redis: Redis) -> Readiness:
    async def readiness() -> Mapping[str, str]:
        return {"redis": await find_fault(redis) or OK}

    return readiness

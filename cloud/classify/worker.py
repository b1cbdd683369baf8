"""The classify worker: the only process that holds the pool's private keys and, for a batch, faces."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import Mapping

import structlog

from cloud.classify import metrics as metrics
from cloud.classify.batches import ClassifyParts, ClassifyRounds
from cloud.classify.classifier import Classifier
from cloud.classify.stage import ScoringRules
from cloud.config import ClassifierEngine, Settings
from cloud.errors import StreamError
from cloud.keys.platform_keys import DirectoryKeyring, load_signing_public_key
from cloud.observability import OK, serve_ops
from cloud.running import run_until
from cloud.streams.ports import CLAIM_IDLE_MS, CropStream, Delivery, Revocations, Superseded
from cloud.streams.redelivery import backoff_ms
from cloud.streams.redis_connection import connect, find_fault
from cloud.streams.redis_sessions import RedisRevocations, RedisSetupStore
from cloud.streams.redis_streams import RedisCropStream
from models.expression.loading import ExpressionArtifact, load_expression
from privacy.governance.policy import Artefact, load_policy

log = structlog.get_logger()

READ_MAX_ENTRIES = 8
"""Per shard and round; with 64 crops an entry, a round holds at most 512 faces per shard."""

BLOCK_MS = 200
CLAIM_EVERY_S = 0.25
TELL_EVERY_S = 0.5
RECHECK_WAIT_S = 0.25
GATHER_S = {"cpu": 0.0, "gpu": 0.004}
"""How long a round waits for company: a GPU gains by larger batches, a CPU core does not."""

GATHER_BELOW_ENTRIES = 4


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Classify until told to stop.

    Raises:
        ConfigError: a key is missing or an address is taken.
        ManifestError: the expression artifact is missing or not what this code serves.
    """
    artifact = load_expression()
    classifier = open_classifier(settings.classifier, artifact)
    redis = connect(settings.redis_url)
    parts = ClassifyParts(
        crops=RedisCropStream(
            redis,
            utc_ms=lambda: time.time_ns() // 1_000_000,
            max_age_ms=load_policy().ttl_ms(Artefact.CIPHERTEXT_CROP),
            on_trimmed=metrics.RESULTS_TRIMMED.inc,
        ),
        setups=RedisSetupStore(redis),
        revocations=RedisRevocations(redis),
        classifier=classifier,
        rules=ScoringRules(
            temperature=artifact.temperature,
            input_side_px=artifact.input_side_px,
            confident_above=artifact.confident_above,
            scope=artifact.scope,
            regions=artifact.calibration.regions,
        ),
        keyring=DirectoryKeyring(settings.state_dir),
        platform_key=load_signing_public_key(settings.state_dir),
    )
    log.info("classifier is ready", engine=classifier.name, device=classifier.device)

    async def readiness() -> Mapping[str, str]:
        return {"redis": await find_fault(redis) or OK, "classifier": OK}

    try:
        async with serve_ops(settings.metrics_bind, readiness=readiness):
            await work(parts, shards=settings.shards, stop=stop)
    finally:
        await redis.aclose()


async def work(parts: ClassifyParts, *, shards: int, stop: asyncio.Event) -> None:
    """Read, classify and finish until told to stop."""
    rounds = ClassifyRounds(parts)
    try:
        await run_until(
            stop,
            _watch_revocations(rounds, parts.revocations),
            _consume(rounds, parts, range(shards)),
        )
    finally:
        rounds.close()


def open_classifier(engine: ClassifierEngine, artifact: ExpressionArtifact) -> Classifier:
    """Open the engine that the settings ask for; `auto` takes TensorFlow only where there is a GPU.

    Raises:
        ConfigError: the engine is not installed.
        ManifestError: the artifact has no variant for it.
    """
    if engine is not ClassifierEngine.LITERT:
        from cloud.classify import tensorflow_classifier

        wants_gpu = engine is ClassifierEngine.AUTO
        if not wants_gpu or (tensorflow_classifier.has_gpu_device() and tensorflow_classifier.visible_gpus()):
            return tensorflow_classifier.open_tensorflow(artifact)
    from cloud.classify.litert_classifier import open_litert

    return open_litert(artifact)


async def _consume(rounds: ClassifyRounds, parts: ClassifyParts, shards: range) -> None:
    consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    gather_s = GATHER_S[parts.classifier.device]
    claimed_s = told_s = 0.0
    failures = 0
    while True:
        try:
            if time.monotonic() - claimed_s >= CLAIM_EVERY_S:
                claimed_s = time.monotonic()
                await rounds.run(
                    await parts.crops.claim_stale(
                        shards, consumer=consumer, min_idle_ms=CLAIM_IDLE_MS, max_entries=READ_MAX_ENTRIES
                    )
                )
                metrics.QUEUE.set(await parts.crops.depth(shards))
            found = await _read(parts.crops, shards, consumer, BLOCK_MS)
            if found and gather_s and len(found) < GATHER_BELOW_ENTRIES:
                await asyncio.sleep(gather_s)
                found += await _read(parts.crops, shards, consumer, 0)
            await rounds.run(found)
            if time.monotonic() - told_s >= TELL_EVERY_S:
                told_s = time.monotonic()
                await rounds.tell_refusals()
            failures = 0
        except StreamError as error:
            if not failures:
                log.warning("stream is gone", reason=str(error))
            metrics.STREAM_FAILURES.inc()
            await asyncio.sleep(backoff_ms(failures, jitter=random.random()) / 1_000)
            failures += 1


async def _read(crops: CropStream, shards: range, consumer: str, block_ms: int) -> list[Delivery]:
    return await crops.read(shards, consumer=consumer, max_entries=READ_MAX_ENTRIES, block_ms=block_ms)


async def _watch_revocations(rounds: ClassifyRounds, revocations: Revocations) -> None:
    async for word in revocations.revocations():
        if isinstance(word, Superseded):
            rounds.supersede(word)
            continue
        if word is not None:
            rounds.revoke(word)
            continue
        while True:
            try:
                await rounds.recheck_revocations()
                break
            except StreamError as error:
                # not knowing is no permission: asked until it is answered
                log.warning("revocations were not looked up", reason=str(error))
                await asyncio.sleep(RECHECK_WAIT_S)

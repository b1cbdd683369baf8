"""The policy file is enforced: when a time in it changes, what is done changes with it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from importlib import resources

import pytest
from redis.asyncio import Redis

from cloud.lifecycle.due import retention_bounds, seal_bounds
from cloud.streams.ports import Append, EntryKind
from cloud.streams.redis_streams import CROP_KEY_GRACE_MS, RedisCropStream
from privacy.governance.policy import Artefact, Policy, load_policy

TEXT = resources.files("privacy.governance").joinpath("policy.toml").read_text("utf-8")
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
BOUNDED = (
    Artefact.HOT_FRAMES,
    Artefact.TIMELINE,
    Artefact.SESSION_FACTS,
    Artefact.CONSENT_EVIDENCE,
    Artefact.DELETION_RECEIPT,
    Artefact.AUDIT_ENTRY,
)


def changed(artefact: Artefact, ttl: str) -> Policy:
    """The shipped policy with another time to live of one kind."""
    text, count = re.subn(rf'(\[retention\.{artefact}\]\nttl = )"[^"]+"', rf'\1"{ttl}"', TEXT)
    assert count == 1
    return load_policy(text)


@pytest.mark.parametrize("artefact", BOUNDED)
def test_what_is_deleted_for_its_age_is_as_old_as_the_file_says(artefact: Artefact) -> None:
    for days in (2, 400):
        bounds = retention_bounds(changed(artefact, f"{days} d"), NOW)
        assert getattr(bounds, artefact) == NOW - timedelta(days=days)
        others = retention_bounds(load_policy(), NOW)
        assert all(getattr(bounds, name) == getattr(others, name) for name in BOUNDED if name != artefact)


def test_frames_stay_hot_for_as_long_as_the_file_says() -> None:
    for seconds in (10, 90):
        bounds = seal_bounds(changed(Artefact.HOT_FRAMES, f"{seconds} s"), NOW)
        assert bounds.silent_before == NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize("ttl_ms", [300, 9_000])
async def test_a_sealed_crop_lives_as_long_as_the_file_says(redis_client: Redis, ttl_ms: int) -> None:
    policy = changed(Artefact.CIPHERTEXT_CROP, f"{ttl_ms} ms")
    max_age_ms = policy.ttl_ms(Artefact.CIPHERTEXT_CROP)
    crops = RedisCropStream(redis_client, utc_ms=lambda: time.time_ns() // 1_000_000, max_age_ms=max_age_ms)
    await crops.append([Append(shard=0, kind=EntryKind.CROPS, payload=b"x")])
    assert ttl_ms < await redis_client.pttl("crops:{0}") <= ttl_ms + CROP_KEY_GRACE_MS

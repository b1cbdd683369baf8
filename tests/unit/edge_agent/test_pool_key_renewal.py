"""A film may outlast the pool key that it began with."""

import base64
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.app import PoolKeys
from edge_agent.errors import PlatformAwayError
from privacy.crypto.keys import generate_pool_key, sign_bundle

NOW = 1_790_000_000_000_000
HOUR_US = 3_600_000_000


def join(signing_key, *pool_keys):
    return SimpleNamespace(
        key_bundle=sign_bundle([key.public for key in pool_keys], signing_key),
        signing_public_key=base64.b64encode(signing_key.public_key().public_bytes_raw()).decode(),
    )


class World:
    def __init__(self):
        self.now, self.asked = NOW, 0
        self.signing = Ed25519PrivateKey.generate()
        self.first = generate_pool_key(NOW, HOUR_US)
        self.second = generate_pool_key(NOW, 2 * HOUR_US)
        self.later = join(self.signing, self.first, self.second)
        permission = SimpleNamespace(join=join(self.signing, self.first), clock=self)
        self.keys = PoolKeys(permission, self.fetch)

    def utc_us(self):
        return self.now

    def fetch(self):
        self.asked += 1
        if isinstance(self.later, Exception):
            raise self.later
        return self.later


@pytest.fixture
def world():
    return World()


async def test_a_key_that_lasts_is_not_asked_for_again(world):
    await world.keys.renew()
    assert (world.asked, world.keys.current().key_id) == (0, world.first.key_id)


@pytest.mark.parametrize("passed_us", [HOUR_US - 60_000_000, HOUR_US + 60_000_000])
async def test_a_key_that_ends_or_has_ended_is_replaced_by_its_successor(world, passed_us):
    world.now += passed_us
    await world.keys.renew()
    assert (world.asked, world.keys.current().key_id) == (1, world.second.key_id)


@pytest.mark.parametrize("case", ["away", "another platform"])
async def test_without_a_trustworthy_answer_the_present_key_goes_on(world, case):
    world.later = (
        PlatformAwayError("away") if case == "away" else join(Ed25519PrivateKey.generate(), world.second)
    )
    world.now += HOUR_US - 60_000_000
    await world.keys.renew()
    assert (world.asked, world.keys.current().key_id) == (1, world.first.key_id)

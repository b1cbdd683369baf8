"""Our use of HPKE interoperates both ways with a second implementation, which passes RFC 9180's vector."""

from __future__ import annotations

import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey, OpenError

from privacy.crypto.binding import setup_info, signed_bytes
from privacy.crypto.keys import derive_frame_keys
from privacy.crypto.opening import open_setup
from privacy.errors import OpeningError
from privacy.protocol.messages import SessionSetup
from tests.unit.privacy.worlds import NOW_UTC_US, World, make_world, seal

PEER = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
OURS = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def peer_key(private: X25519PrivateKey, *, public: bool = False):  # type: ignore[no-untyped-def]
    return KEMKey.from_pyca_cryptography_key(private.public_key() if public else private)


def test_the_peer_passes_the_vector_of_rfc_9180_a_1_1() -> None:
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES128_GCM)
    private = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    )
    enc = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    recipient = suite.create_recipient_context(enc, peer_key(private), b"Ode on a Grecian Urn")
    sealed = bytes.fromhex(
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
    )
    assert recipient.open(sealed, aad=b"Count-0") == b"Beauty is truth, truth beauty"


@pytest.mark.parametrize("length", [0, 1, 32, 500])
def test_what_we_seal_the_peer_opens(length: int) -> None:
    private, plaintext, info = X25519PrivateKey.generate(), os.urandom(length), os.urandom(50)
    blob = OURS.encrypt(plaintext, private.public_key(), info)
    assert len(blob) == 32 + length + 16
    assert PEER.create_recipient_context(blob[:32], peer_key(private), info).open(blob[32:]) == plaintext
    with pytest.raises(OpenError):
        PEER.create_recipient_context(blob[:32], peer_key(private), info + b"!").open(blob[32:])


@pytest.mark.parametrize("length", [0, 1, 32, 500])
def test_what_the_peer_seals_we_open(length: int) -> None:
    private, plaintext, info = X25519PrivateKey.generate(), os.urandom(length), os.urandom(50)
    enc, sender = PEER.create_sender_context(peer_key(private, public=True), info)
    blob = enc + sender.seal(plaintext)
    assert OURS.decrypt(blob, private, info) == plaintext
    with pytest.raises(InvalidTag):
        OURS.decrypt(blob, private, info + b"!")


def test_the_peer_opens_our_session_setup_and_derives_the_same_keys(world: World) -> None:
    sealer = world.start()
    setup = sealer.setup
    private = X25519PrivateKey.from_private_bytes(world.pool.private_bytes)
    recipient = PEER.create_recipient_context(setup.encapsulated[:32], peer_key(private), setup_info(setup))
    secret = recipient.open(setup.encapsulated[32:])
    assert derive_frame_keys(secret, setup_info(setup)) == sealer._keys


def test_we_open_a_session_setup_that_the_peer_sealed(world: World) -> None:
    """An agent written by somebody else, from the document alone."""
    ours = world.start().setup
    info = setup_info(ours)
    private = X25519PrivateKey.from_private_bytes(world.pool.private_bytes)
    enc, sender = PEER.create_sender_context(peer_key(private, public=True), info)
    secret = os.urandom(32)
    blob = enc + sender.seal(secret)
    theirs = SessionSetup(
        session=ours.session,
        tenant=ours.tenant,
        epoch=ours.epoch,
        key_id=ours.key_id,
        not_after_utc_us=ours.not_after_utc_us,
        device_public_key=ours.device_public_key,
        encapsulated=blob,
        device_signature=world.device.sign(signed_bytes(info, blob)),
        receipt=ours.receipt,
    )
    opened = open_setup(theirs, world.keyring, now_utc_us=NOW_UTC_US)
    assert opened._keys == derive_frame_keys(secret, info)
    with pytest.raises(OpeningError):
        opened.open(seal(world.start()))

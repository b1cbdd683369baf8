"""Public keys of Curve25519 that prove or hide nothing: points of small order, and second spellings of a point.

A signature under an Ed25519 key of small order verifies for messages that nobody signed, and an X25519 exchange with
such a point gives the same secret to everybody (RFC 8032, section 5.1.7; RFC 7748, section 6.1). The eight points whose
order divides the cofactor 8 have five y-coordinates and five u-coordinates. An encoding at or above the field's
prime is another spelling of a point that has one already, so that one key would have two names.

References:
    Chalkias, Garillot, Nikolaenko (2020), Taming the many EdDSAs, table 1.
    Cremers, Jackson (2019), Prime, Order Please!, section 2.
"""

from __future__ import annotations

PRIME = 2**255 - 19

_ED25519_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_ED25519_Y = frozenset({0, 1, PRIME - 1, _ED25519_ORDER_8, PRIME - _ED25519_ORDER_8})
_X25519_U = frozenset(
    {
        0,
        1,
        PRIME - 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    }
)
_SIGN_BIT = 1 << 255


def is_sound_ed25519(public_key: bytes) -> bool:
    """Say whether 32 bytes spell, in the one accepted way, a point whose order does not divide 8."""
    y = int.from_bytes(public_key, "little") & ~_SIGN_BIT
    return y < PRIME and y not in _ED25519_Y


def is_sound_x25519(public_key: bytes) -> bool:
    """Say whether 32 bytes spell, in the one accepted way, a u-coordinate whose point has not small order."""
    u = int.from_bytes(public_key, "little")
    return u < PRIME and u not in _X25519_U

"""Every bound of the wire protocol, each with its unit and its reason."""

DATAGRAM_MAX_BYTES = 3_480
"""Three SCTP packets of 1,160 B: aiortc's initial congestion window, so a crop is never stalled."""

DATAGRAM_KIND_BYTES = 1
"""The outer byte: live or late. Not part of the AAD, so a sealed envelope is resent unchanged."""

HEADER_BYTES = 64
"""Fixed header, authenticated as AAD."""

TAG_BYTES = 16
"""AES-GCM tag."""

PLAINTEXT_BUCKETS_BYTES = (512, 1_024, 1_536, 2_048, 2_560, 3_072, 3_392)
"""Plaintext is zero-padded to one of these, so that length leaks little of the picture."""

ENVELOPE_MAX_BYTES = HEADER_BYTES + PLAINTEXT_BUCKETS_BYTES[-1] + TAG_BYTES
"""3,472 B; with the kind byte 3,473 B, inside one datagram."""

CTL_MESSAGE_MAX_BYTES = 1_024
"""One control message fits in one SCTP packet."""

SIGNALLING_MESSAGE_MAX_BYTES = 65_536
"""An SDP offer with candidates, a receipt and a session setup is about 8 kB."""

RECEIPT_MAX_BYTES = 8_192
"""A signed consent receipt is about 2 kB."""

SETUP_MAX_BYTES = 12_288
"""A setup is its receipt and about 600 bytes more."""

SETUP_FIELD_MAX_BYTES = 256
"""Any one of a setup's keys, blobs and signatures; the exact lengths are checked on opening."""

CROP_SIDE_MIN_PX = 16
CROP_SIDE_MAX_PX = 128
"""Crop sides outside this range are refused before anything is decoded."""

REPLAY_WINDOW_FRAMES = 4_096
"""Over two minutes at 30 fps: longer than the agent's resend ring, small enough to hold per session."""

EPOCH_MAX_FRAMES = 1 << 20
"""Seals per key, far below AES-GCM's bound."""

EPOCH_MAX_S = 600
"""A new key at least every ten minutes."""

FRESH_MAX_AGE_US = 2_000_000
"""A live envelope older than this is dropped: ciphertext is kept for 2 s only."""

LATE_MAX_AGE_US = 15_000_000
"""A resent envelope may be as old as the agent's ring plus one retry."""

RESEND_RING_US = 10_000_000
"""How long the agent keeps sealed envelopes in RAM for gap repair."""

FRAMES_PER_PACK = 30
"""Slots in one stored pack: one second at the nominal rate."""

FACES_MAX = 8
"""More faces in view than this are counted as this many."""

FUTURE_MAX_US = 1_000_000
"""A capture time further ahead of the server's clock than this is refused."""

DATAGRAMS_PER_S = 120
DATAGRAMS_BURST = 240
"""Four times the nominal 30 fps, for 60 fps cameras with gap repair; two seconds of it at once."""

CTL_MESSAGES_PER_S = 60
CTL_MESSAGES_BURST = 600
"""Gaps can alternate with frames; after a reconnect ten seconds of them are said again."""

RESUME_MAX_S = 600
"""How long a session that lost its connection can be taken up again; the time between is a gap."""

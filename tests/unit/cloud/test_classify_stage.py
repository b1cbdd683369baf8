import struct
from dataclasses import replace
from uuid import UUID, uuid4

import numpy as np
import pytest

from cloud.classify import epochs
from cloud.classify.classifier import BATCH_SIZES
from cloud.classify.epochs import EpochBook, open_epoch
from cloud.classify.planning import plan_batches
from cloud.classify.refusals import SESSIONS_MAX, Refusal, RefusalTally
from cloud.classify.stage import ScoringRules, classify_faces, epochs_of, open_crops, score_faces
from cloud.streams.entries import (
    FLAG_GREY,
    FLAG_LATE,
    FLAG_ON_DEVICE,
    FLAG_OUT_OF_SCOPE,
    FLAG_UNCERTAIN,
    decode_scores,
    encode_scores,
)
from cloud.streams.ports import CropRefusals
from models.expression.regions import Calibration
from models.expression.scope import ScopeRule
from privacy.errors import OpeningError, ReceiptError
from privacy.protocol import limits
from privacy.protocol.content import Scores, encode_scores_content
from privacy.protocol.envelope import Codec
from privacy.protocol.expressions import EXPRESSIONS, Expression
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import REFUSAL_REASONS
from tests.fixtures_street import Platform, Viewer, jpeg, picture, seal, sealed_crop, utc_us
from tests.unit.cloud.score_records import MODEL

RULES = ScoringRules(temperature=1.0, input_side_px=56, confident_above=0.5)


class BrightnessClassifier:
    """Gives each crop logits that tell which crop it was; remembers what it saw."""

    name = "fake"
    model = MODEL
    device = "cpu"

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []

    def classify(self, crops: np.ndarray) -> np.ndarray:
        assert len(crops) in BATCH_SIZES
        self.batches.append(crops)
        logits = np.zeros((len(crops), 6), np.float32)
        logits[:, 0] = np.abs(crops).sum(axis=(1, 2, 3)) / 1_000
        return logits

    def close(self) -> None:
        pass


@pytest.fixture
def platform() -> Platform:
    return Platform()


def opened_book(platform: Platform, *sealers) -> EpochBook:
    book = EpochBook()
    for sealer in sealers:
        epoch = open_epoch(
            sealer.setup, keyring=platform.keyring, platform_key=platform.public_key, now_utc_us=utc_us()
        )
        book.keep((epoch.session, epoch.opener.epoch), epoch)
    return book


def read(crops, book, classifier=None, rules=RULES):
    opened = open_crops(crops, book, now_utc_us=utc_us())
    logits = classify_faces(opened.faces, classifier or BrightnessClassifier(), rules)
    return score_faces(opened.faces, logits, rules, classified_utc_us=utc_us()), opened


def test_a_sealed_crop_becomes_one_score_record(platform: Platform) -> None:
    viewer = Viewer(platform)
    sealer = viewer.sealer()
    before = utc_us()
    offset = before - 5_000_000
    crop = sealed_crop(seal(sealer, 7, monotonic_us=4_990_000), clock_offset_us=offset)
    (record,), _ = read([crop], opened_book(platform, sealer))
    assert (record.session, record.tenant, record.frame, record.face) == (viewer.session, viewer.tenant, 7, 0)
    assert record.media_time_us == 7 * 33_333
    assert record.captured_utc_us == offset + 4_990_000
    assert record.classified_utc_us >= before
    assert sum(record.probabilities) == 255
    assert record.attention == 200
    assert record.flags == 0
    assert decode_scores(encode_scores([record], model=MODEL)) == [record]


def test_capture_time_is_the_arrival_where_no_clock_is_known(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    crop = sealed_crop(seal(sealer))
    (record,), _ = read([crop], opened_book(platform, sealer))
    assert record.captured_utc_us == crop.received_utc_us


def test_nothing_is_captured_after_it_arrived(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    crop = sealed_crop(seal(sealer, monotonic_us=10**9), clock_offset_us=utc_us())
    (record,), _ = read([crop], opened_book(platform, sealer))
    assert record.captured_utc_us == crop.received_utc_us


@pytest.mark.parametrize(
    ("codec", "content", "flags"),
    [
        (Codec.JPEG_RGB, jpeg(picture(1)), 0),
        (Codec.JPEG_GRAY, jpeg(picture(1)[..., 0]), FLAG_GREY),
        (Codec.RAW_GRAY, picture(1, 48)[..., 0].tobytes(), FLAG_GREY),
    ],
)
def test_every_crop_codec_is_read_and_grey_ones_are_flagged(platform, codec, content, flags) -> None:
    sealer = Viewer(platform).sealer()
    side = 48 if codec is Codec.RAW_GRAY else 96
    envelope = seal(sealer, content=content, codec=codec, side_px=side)
    (record,), opened = read([sealed_crop(envelope)], opened_book(platform, sealer))
    assert record.flags == flags
    assert not opened.refused


def test_an_uncertain_score_and_a_late_crop_are_flagged(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    rules = ScoringRules(temperature=1.0, input_side_px=56, confident_above=1.1)
    crop = sealed_crop(seal(sealer), late=True, age_us=10_000_000)
    (record,), _ = read([crop], opened_book(platform, sealer), rules=rules)
    assert record.flags == FLAG_LATE | FLAG_UNCERTAIN


class OtherClassifier(BrightnessClassifier):
    """Takes every crop for none of the six."""

    def classify(self, crops: np.ndarray) -> np.ndarray:
        six = super().classify(crops)
        return np.concatenate([six, np.full((len(crops), 1), six.max() + 5, np.float32)], axis=1)


def test_a_face_that_shows_none_of_the_six_is_flagged_and_scored_all_the_same(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    rules = replace(RULES, confident_above=0.0, scope=ScopeRule(temperature=1.0, in_scope_above=0.5))
    crop = sealed_crop(seal(sealer))
    book = opened_book(platform, sealer)
    (record,), _ = read([crop], book, OtherClassifier(), rules)
    (plain,), _ = read([crop], book, rules=replace(rules, scope=None))
    assert record.flags == FLAG_OUT_OF_SCOPE | FLAG_UNCERTAIN
    assert plain.flags == 0
    assert (record.probabilities, record.confidence) == (plain.probabilities, plain.confidence)


def test_each_viewers_region_has_its_own_calibration(platform: Platform) -> None:
    german, bavarian, french = (
        Viewer(platform, jurisdiction=code).sealer() for code in ("DE", "DE-BY", "FR")
    )
    regions = {"DE": Calibration(temperature=50.0, confident_above=0.9)}
    rules = replace(RULES, confident_above=0.0, regions=regions)
    crops = [sealed_crop(seal(sealer)) for sealer in (german, bavarian, french)]
    records, _ = read(crops, opened_book(platform, german, bavarian, french), rules=rules)
    assert records[0].probabilities == records[1].probabilities != records[2].probabilities
    assert records[0].confidence < records[2].confidence
    assert [record.flags for record in records] == [FLAG_UNCERTAIN, FLAG_UNCERTAIN, 0]
    (alone,), _ = read(crops[2:], opened_book(platform, french), rules=replace(rules, regions={}))
    assert (alone.probabilities, alone.confidence) == (records[2].probabilities, records[2].confidence)


def test_an_opted_out_expression_is_never_scored(platform: Platform) -> None:
    sealer = Viewer(platform, opted_out=[Expression.HAPPY]).sealer()
    (record,), _ = read([sealed_crop(seal(sealer))], opened_book(platform, sealer))
    assert record.probabilities[EXPRESSIONS.index(Expression.HAPPY)] == 0
    assert sum(record.probabilities) == 255


def test_each_session_of_a_batch_keeps_its_own_opt_outs_and_place(platform: Platform) -> None:
    plain, quiet = Viewer(platform).sealer(), Viewer(platform, opted_out=[Expression.HAPPY]).sealer()
    crops = [sealed_crop(seal(plain if n % 2 else quiet, n)) for n in range(20)]
    records, _ = read(crops, opened_book(platform, plain, quiet))
    assert [record.frame for record in records] == list(range(20))
    assert [record.probabilities[0] == 0 for record in records] == [n % 2 == 0 for n in range(20)]


def test_scores_are_the_same_whatever_the_crop_is_batched_with(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    book = opened_book(platform, sealer)
    envelopes = [seal(sealer, n) for n in range(11)]
    together, _ = read([sealed_crop(e) for e in envelopes], book)
    alone = [read([sealed_crop(e)], book)[0][0] for e in envelopes]
    assert [r.probabilities for r in together] == [r.probabilities for r in alone]


def test_scores_of_an_agent_are_taken_as_they_are(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    sent = Scores(probabilities=bytes((255, 0, 0, 0, 0, 0)), confidence=240)
    envelope = seal(sealer, content=encode_scores_content(sent), codec=Codec.SCORES)
    classifier = BrightnessClassifier()
    (record,), _ = read([sealed_crop(envelope)], opened_book(platform, sealer), classifier)
    assert (record.probabilities, record.confidence) == (sent.probabilities, 240)
    assert classifier.batches == []


def test_opt_outs_are_applied_to_an_agents_scores_again(platform: Platform) -> None:
    sealer = Viewer(platform, opted_out=[Expression.HAPPY]).sealer()
    book = opened_book(platform, sealer)
    mixed = Scores(probabilities=bytes((155, 100, 0, 0, 0, 0)), confidence=155)
    only = Scores(probabilities=bytes((255, 0, 0, 0, 0, 0)), confidence=255)
    crops = [
        sealed_crop(seal(sealer, n, content=encode_scores_content(s), codec=Codec.SCORES))
        for n, s in enumerate((mixed, only))
    ]
    (record,), opened = read(crops, book)
    assert record.probabilities == bytes((0, 255, 0, 0, 0, 0))
    assert opened.refused == {Refusal.SCORES: 1}


def test_the_confidence_an_agent_sent_tells_nothing_about_what_is_opted_out(platform: Platform) -> None:
    sealer = Viewer(platform, opted_out=[Expression.HAPPY]).sealer()
    book = opened_book(platform, sealer)
    rest = bytes((0, 51, 0, 0, 0, 204))
    with_happy = bytes((155, 20, 0, 0, 0, 80))
    crops = [
        sealed_crop(seal(sealer, 1, content=encode_scores_content(sent), codec=Codec.SCORES))
        for sent in (
            Scores(probabilities=rest, confidence=60),
            Scores(probabilities=with_happy, confidence=155),
        )
    ]
    records, _ = read(crops, book)
    told = [(record.probabilities, record.confidence, record.flags) for record in records]
    assert told[0] == told[1] == (rest, 204, FLAG_ON_DEVICE)


def test_a_face_beside_the_viewers_is_never_opened(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    book = opened_book(platform, sealer)
    records, opened = read([sealed_crop(seal(sealer, face=1)), sealed_crop(seal(sealer))], book)
    assert [record.face for record in records] == [0]
    assert opened.refused == {Refusal.FACE: 1}


def test_revoked_sessions_are_remembered_up_to_a_bound(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "REVOKED_MAX", 2)
    book = EpochBook()
    sessions = [Viewer(platform).session for _ in range(3)]
    for session in sessions:
        book.revoke(session)
    assert [book.is_revoked(session) for session in sessions] == [False, True, True]


def test_crops_and_scores_in_one_entry_keep_their_order(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    sent = encode_scores_content(Scores(probabilities=bytes((0, 255, 0, 0, 0, 0)), confidence=9))
    crops = [
        sealed_crop(seal(sealer, n, content=sent, codec=Codec.SCORES) if n in (0, 2) else seal(sealer, n))
        for n in range(4)
    ]
    records, _ = read(crops, opened_book(platform, sealer))
    assert [(r.frame, r.confidence == 9) for r in records] == [(0, True), (1, False), (2, True), (3, False)]


@pytest.mark.parametrize(
    ("late", "age_us", "fresh"),
    [
        (False, 1_900_000, True),
        (False, 2_100_000, False),
        (True, 14_000_000, True),
        (True, 15_100_000, False),
    ],
)
def test_what_is_too_old_is_not_opened(platform, late, age_us, fresh) -> None:
    sealer = Viewer(platform).sealer()
    records, opened = read(
        [sealed_crop(seal(sealer), late=late, age_us=age_us)], opened_book(platform, sealer)
    )
    assert (len(records), opened.refused[Refusal.STALE]) == ((1, 0) if fresh else (0, 1))


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def bomb(side_px: int) -> bytes:
    """A valid small JPEG whose frame header claims another size."""
    data = jpeg(picture(0))
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", side_px, side_px) + data[at + 4 :]


def test_poison_is_counted_by_reason_and_the_good_crop_beside_it_is_scored(platform: Platform) -> None:
    sealer, stranger, unknown = (Viewer(platform).sealer() for _ in range(3))
    foreign = Viewer(Platform()).sealer()
    book = opened_book(platform, sealer, stranger)
    good = seal(sealer, 1)
    other = seal(stranger, 2)
    crops = [
        sealed_crop(flip(seal(sealer, 2), 100)),
        sealed_crop(flip(seal(sealer, 3), 40)),
        sealed_crop(other[:4] + good[4:20] + other[20:]),
        sealed_crop(good[:-1]),
        sealed_crop(b""),
        sealed_crop(good + b"\0" * limits.ENVELOPE_MAX_BYTES),
        sealed_crop(seal(unknown, 4)),
        sealed_crop(seal(foreign, 4)),
        sealed_crop(seal(sealer, 5, content=bomb(30_000))),
        sealed_crop(seal(sealer, 6, content=b"\xff\xd8 not a picture \xff\xd9")),
        sealed_crop(seal(sealer, 7, content=jpeg(picture(0, 64)))),
        sealed_crop(seal(sealer, 8, content=b"x" * 10, codec=Codec.RAW_GRAY)),
        sealed_crop(seal(sealer, 9, content=b"x" * 10, codec=Codec.SCORES)),
        sealed_crop(good),
    ]
    records, opened = read(crops, book)
    assert [record.frame for record in records] == [1]
    assert opened.refused == {
        Refusal.SEAL: 3,
        Refusal.ENVELOPE: 3,
        Refusal.NO_SETUP: 2,
        Refusal.CONTENT: 5,
    }
    # told to whom each crop claims to be of; what has no readable header is nobody's
    assert sum(opened.told.values()) == sum(opened.refused.values()) - 3
    session = SessionId(UUID(sealer.setup.session))
    assert opened.told[session, Refusal.CONTENT] == 5


def test_a_tally_adds_up_by_session_and_is_empty_once_taken() -> None:
    tally, one, other = RefusalTally(), SessionId(uuid4()), SessionId(uuid4())
    tally.add({(one, Refusal.CONTENT): 2, (other, Refusal.SEAL): 1})
    tally.add({(one, Refusal.CONTENT): 3, (one, Refusal.FACE): 1})
    assert tally.take() == [
        CropRefusals(session=str(one), counts={"content": 5, "face": 1}),
        CropRefusals(session=str(other), counts={"seal": 1}),
    ]
    assert tally.take() == []


def test_a_tally_holds_a_bounded_number_of_sessions() -> None:
    tally = RefusalTally()
    tally.add({(SessionId(UUID(int=n)), Refusal.SEAL): 1 for n in range(SESSIONS_MAX + 5)})
    assert len(tally.take()) == SESSIONS_MAX


def test_every_refusal_of_the_worker_has_a_name_on_the_wire() -> None:
    assert {refusal.value for refusal in Refusal} <= REFUSAL_REASONS


def test_pixels_are_overwritten_after_the_network_has_seen_them(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    opened = open_crops(
        [sealed_crop(seal(sealer, n)) for n in range(3)], opened_book(platform, sealer), now_utc_us=utc_us()
    )
    kept = [face.pixels for face in opened.faces]
    assert all(pixels is not None and pixels.any() for pixels in kept)
    classifier = BrightnessClassifier()
    classify_faces(opened.faces, classifier, RULES)
    assert not any(pixels.any() for pixels in kept if pixels is not None)
    assert all(face.pixels is None for face in opened.faces)
    assert classifier.batches and not any(batch.any() for batch in classifier.batches)


def test_pixels_are_overwritten_when_the_engine_fails(platform: Platform) -> None:
    class Broken(BrightnessClassifier):
        def classify(self, crops: np.ndarray) -> np.ndarray:
            self.batches.append(crops)
            raise RuntimeError("engine fell over")

    sealer = Viewer(platform).sealer()
    opened = open_crops([sealed_crop(seal(sealer))], opened_book(platform, sealer), now_utc_us=utc_us())
    kept = opened.faces[0].pixels
    broken = Broken()
    with pytest.raises(RuntimeError):
        classify_faces(opened.faces, broken, RULES)
    assert kept is not None and not kept.any()
    assert not broken.batches[0].any()


def test_no_repr_shows_a_pixel_or_a_score(platform: Platform) -> None:
    sealer = Viewer(platform).sealer()
    opened = open_crops([sealed_crop(seal(sealer))], opened_book(platform, sealer), now_utc_us=utc_us())
    assert "array" not in repr(opened) + repr(opened.faces[0])


def test_a_revoked_session_is_forgotten_and_never_kept_again(platform: Platform) -> None:
    viewer = Viewer(platform)
    sealer = viewer.sealer()
    book = opened_book(platform, sealer)
    book.revoke(viewer.session)
    records, opened = read([sealed_crop(seal(sealer))], book)
    assert records == []
    assert opened.refused == {Refusal.REVOKED: 1}
    epoch = open_epoch(
        sealer.setup, keyring=platform.keyring, platform_key=platform.public_key, now_utc_us=utc_us()
    )
    book.keep((viewer.session, 1), epoch)
    assert len(book) == 0
    assert book.missing({(viewer.session, 1)}, now_utc_us=utc_us()) == []


def test_an_epoch_ends_with_the_consent_receipt(platform: Platform) -> None:
    viewer = Viewer(platform, expires_in_us=10_000_000)
    sealer = viewer.sealer(lifetime_us=300_000_000)
    book = opened_book(platform, sealer)
    key = (viewer.session, 1)
    assert book.find(key, now_utc_us=utc_us()) is not None
    assert book.find(key, now_utc_us=utc_us() + 10_000_001) is None


def test_a_refused_setup_is_not_looked_at_again_for_a_while(platform: Platform) -> None:
    key = (Viewer(platform).session, 1)
    book = EpochBook()
    assert book.missing({key}, now_utc_us=100) == [key]
    book.refuse(key, until_utc_us=200)
    assert book.missing({key}, now_utc_us=199) == []
    assert book.missing({key}, now_utc_us=200) == [key]


def test_the_book_forgets_the_epoch_that_was_used_longest_ago(platform: Platform) -> None:
    book = EpochBook(max_epochs=2)
    sealers = [Viewer(platform).sealer() for _ in range(3)]
    opened = [
        open_epoch(s.setup, keyring=platform.keyring, platform_key=platform.public_key, now_utc_us=utc_us())
        for s in sealers
    ]
    keys = [(epoch.session, 1) for epoch in opened]
    book.keep(keys[0], opened[0])
    book.keep(keys[1], opened[1])
    book.find(keys[0], now_utc_us=utc_us())
    book.keep(keys[2], opened[2])
    assert [book.find(key, now_utc_us=utc_us()) is not None for key in keys] == [True, False, True]


def test_a_setup_opens_only_with_consent_a_known_key_and_its_own_device(platform: Platform) -> None:
    def attempt(setup, keyring=platform.keyring):
        return open_epoch(setup, keyring=keyring, platform_key=platform.public_key, now_utc_us=utc_us())

    good = Viewer(platform)
    assert attempt(good.sealer().setup).session == good.session
    forged = Viewer(
        platform, receipt=good.sign(Platform().signing_key), session=good.session, device_key=good.device_key
    )
    with pytest.raises(ReceiptError):
        attempt(forged.sealer().setup)
    with pytest.raises(ReceiptError):
        attempt(Viewer(platform, expires_in_us=-1).sealer().setup)
    with pytest.raises(ReceiptError):
        attempt(Viewer(platform, receipt=good.receipt).sealer().setup)
    with pytest.raises(OpeningError):
        attempt(good.sealer().setup, Platform().keyring)


def test_what_an_entry_claims_to_need_is_read_without_opening_it(platform: Platform) -> None:
    viewer = Viewer(platform)
    crops = [sealed_crop(seal(viewer.sealer(epoch=epoch))) for epoch in (1, 2)]
    assert epochs_of([*crops, sealed_crop(b"junk")]) == {(viewer.session, 1), (viewer.session, 2)}


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_every_batch_plan_covers_the_count_in_allowed_sizes(device: str) -> None:
    for count in range(1_200):
        plan = plan_batches(count, device=device)
        assert sum(taken for taken, _ in plan) == count
        assert all(0 < taken <= size and size in BATCH_SIZES for taken, size in plan)


def test_a_cpu_wastes_little_on_padding_and_a_gpu_takes_everything_at_once() -> None:
    assert plan_batches(9, device="cpu") == [(8, 8), (1, 1)]
    assert plan_batches(7, device="cpu") == [(7, 8)]
    assert plan_batches(9, device="gpu") == [(9, 32)]
    assert plan_batches(300, device="gpu") == [(256, 256), (44, 64)]

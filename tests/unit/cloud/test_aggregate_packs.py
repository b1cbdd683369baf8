"""Packs: what is built does not depend on order or repetition, and the first write wins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.errors import EntryError
from cloud.results import packs as packing
from cloud.results.frames import FRAME_DTYPE
from cloud.results.slots import PACK_BYTES, SCORE_DTYPE, SLOT_DTYPE, read_scores, to_slots
from cloud.results.storage import Pack, PackKey, credit_models
from cloud.streams.entries import FLAG_ON_DEVICE, ScoreRecord, decode_scores, encode_scores, split_model
from cloud.streams.scoring import ON_DEVICE, ScoringModel
from privacy.protocol.ids import TenantId
from tests.unit.cloud.score_records import MODEL, SESSION, TENANT, records, score


def build(*batches: list[ScoreRecord]) -> dict[tuple[TenantId, PackKey], Pack]:
    built = packing.build_packs([read_scores(encode_scores(batch, model=MODEL)) for batch in batches])
    return {(item.tenant, pack.key): pack for item in built for pack in item.packs}


def stored(packs: dict[tuple[TenantId, PackKey], Pack]) -> dict[tuple[TenantId, PackKey], tuple[int, bytes]]:
    return {key: (pack.mask, pack.slots) for key, pack in packs.items()}


def test_a_slot_is_sixteen_bytes_and_a_pack_four_hundred_and_eighty() -> None:
    assert (SLOT_DTYPE.itemsize, PACK_BYTES) == (16, 480)


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=20))
def test_the_array_reader_reads_exactly_what_the_entry_decoder_reads(batch: list[ScoreRecord]) -> None:
    entry = encode_scores(batch, model=MODEL)
    array = read_scores(entry).scores

    assert array.dtype == SCORE_DTYPE
    for row, record in zip(array, decode_scores(entry), strict=True):
        assert (int(row["session_high"]) << 64) | int(row["session_low"]) == record.session.int
        assert (int(row["tenant_high"]) << 64) | int(row["tenant_low"]) == record.tenant.int
        assert bytes(row["probabilities"]) == record.probabilities
        for name in ("face", "segment", "frame", "media_time_us", "captured_utc_us", "classified_utc_us"):
            assert int(row[name]) == getattr(record, name)
        for name in ("confidence", "attention", "flags"):
            assert int(row[name]) == getattr(record, name)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_the_array_reader_refuses_what_the_entry_decoder_refuses(entry: bytes) -> None:
    try:
        decoded = len(decode_scores(entry))
    except EntryError:
        with pytest.raises(EntryError):
            read_scores(entry)
    else:
        assert len(read_scores(entry).scores) == decoded


def test_a_frame_lies_in_the_slot_of_its_number() -> None:
    packs = build([score(0), score(31, happy=100), score(59)])

    assert {key.bucket: pack.mask for (_, key), pack in packs.items()} == {0: 1, 1: (1 << 1) | (1 << 29)}
    slots = np.frombuffer(
        packs[TENANT, PackKey(session=SESSION, face=0, segment=0, bucket=1)].slots, SLOT_DTYPE
    )
    assert slots[1]["media_time_ms"] == 31 * 33_333 // 1000
    assert slots[1]["probabilities"].tolist() == [100, 155, 0, 0, 0, 0]
    assert slots[1]["classified_delay"] == 200
    assert bytes(slots[2].tobytes()) == bytes(16)


def test_a_delay_beyond_what_a_slot_holds_saturates() -> None:
    array = read_scores(encode_scores([score(1, delay_us=10_000_000), score(2, delay_us=-5)], model=MODEL))

    assert to_slots(array.scores)["classified_delay"].tolist() == [65_535, 0]


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=40), st.randoms(use_true_random=False))
def test_packs_do_not_depend_on_order_repetition_or_batching(batch: list[ScoreRecord], random) -> None:
    shuffled = batch + batch[: len(batch) // 2]
    random.shuffle(shuffled)
    cut = random.randint(0, len(shuffled))

    assert stored(build(shuffled[:cut], shuffled[cut:])) == stored(build(batch))


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=40))
def test_every_bit_that_is_clear_stands_for_an_all_zero_slot(batch: list[ScoreRecord]) -> None:
    frames = {(r.tenant, r.session, r.face, r.segment, r.frame) for r in batch}
    packs = build(batch)

    assert sum(pack.mask.bit_count() for pack in packs.values()) == len(frames)
    for pack in packs.values():
        for slot in range(30):
            if not pack.mask >> slot & 1:
                assert pack.slots[slot * 16 : slot * 16 + 16] == bytes(16)


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=30))
def test_repeated_frames_are_counted_once_for_each_repetition(batch: list[ScoreRecord]) -> None:
    built = packing.build_packs([read_scores(encode_scores(batch, model=MODEL))])

    frames = sum(pack.mask.bit_count() for item in built for pack in item.packs)
    repeated = sum(count for item in built for count in item.repeated.values())
    assert frames + repeated == len(batch)


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=30), st.lists(records(), max_size=30))
def test_merging_keeps_what_is_there_and_adds_the_rest(
    old: list[ScoreRecord], new: list[ScoreRecord]
) -> None:
    first, then = build(old), build(new)

    for key in first.keys() & then.keys():
        merged = packing.merge_packs(first[key], then[key])
        assert merged.mask == first[key].mask | then[key].mask
        for slot in range(30):
            source = first[key] if first[key].mask >> slot & 1 else then[key]
            assert merged.slots[slot * 16 : slot * 16 + 16] == source.slots[slot * 16 : slot * 16 + 16]
        assert packing.merge_packs(merged, then[key]).slots == merged.slots
        assert packing.merge_packs(merged, first[key]).slots == merged.slots


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=30))
def test_merging_disjoint_halves_in_either_order_gives_the_whole(batch: list[ScoreRecord]) -> None:
    unique = list({(r.tenant, r.session, r.face, r.segment, r.frame): r for r in batch}.values())
    left, right, whole = build(unique[::2]), build(unique[1::2]), build(unique)

    for key in left.keys() & right.keys():
        for merged in (
            packing.merge_packs(left[key], right[key]),
            packing.merge_packs(right[key], left[key]),
        ):
            assert (merged.mask, merged.slots) == (whole[key].mask, whole[key].slots)


@settings(max_examples=40, deadline=None)
@given(st.lists(records().map(lambda r: r), max_size=40))
def test_frames_read_back_are_the_records_that_went_in(batch: list[ScoreRecord]) -> None:
    mine = {(r.face, r.segment, r.frame): r for r in batch if r.session == batch[0].session}
    mine = {key: r for key, r in mine.items() if r.tenant == batch[0].tenant}
    packs = [
        (pack.key.face, pack.key.segment, pack.key.bucket, pack.mask, pack.slots)
        for pack in build(list(mine.values())).values()
    ]
    frames = packing.frames_of_packs(packs)

    assert frames.dtype == FRAME_DTYPE
    assert [(int(f["face"]), int(f["segment"]), int(f["frame"])) for f in frames] == sorted(
        mine, key=lambda key: (key[2], key[0], key[1])
    )
    for frame in frames:
        record = mine[int(frame["face"]), int(frame["segment"]), int(frame["frame"])]
        assert bytes(frame["probabilities"]) == record.probabilities
        assert (int(frame["confidence"]), int(frame["flags"])) == (record.confidence, record.flags)


def test_frames_of_two_sources_are_merged_with_the_first_winning() -> None:
    def frames(*numbers: int, happy: int) -> np.ndarray:
        packs = build([score(number, happy=happy) for number in numbers]).values()
        return packing.frames_of_packs((0, 0, p.key.bucket, p.mask, p.slots) for p in packs)

    merged = packing.merge_frames(frames(1, 2, 40, happy=10), frames(2, 3, happy=20))

    assert merged["frame"].tolist() == [1, 2, 3, 40]
    assert merged["confidence"].tolist() == [10, 10, 20, 10]
    assert packing.count_duplicates(merged) == 0


def test_a_frame_stored_in_two_segments_counts_as_a_duplicate() -> None:
    packs = build([score(5), score(5, segment=1), score(6)]).values()
    frames = packing.frames_of_packs(
        (p.key.face, p.key.segment, p.key.bucket, p.mask, p.slots) for p in packs
    )

    assert packing.count_duplicates(frames) == 1


def test_nothing_gives_no_packs_and_no_frames() -> None:
    assert packing.build_packs([]) == []
    assert len(packing.frames_of_packs([])) == 0


LATER = ScoringModel(name="expression", version="9.2", variant="int8", sha256=bytes(32)[:-1] + b"x")
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64)


@given(TEXTS.filter(bool), TEXTS, TEXTS, st.binary(min_size=32, max_size=32), st.binary(max_size=40))
def test_the_model_of_an_entry_is_read_as_it_was_written(
    name: str, version: str, variant: str, sha256: bytes, garbage: bytes
) -> None:
    model = ScoringModel(name=name, version=version, variant=variant, sha256=sha256)
    entry = encode_scores([score(1)], model=model)
    assert split_model(entry)[0] == model
    assert decode_scores(entry) == [score(1)]
    for broken in (entry[: 35 + len(garbage)], garbage + entry):
        try:
            decode_scores(broken)
        except EntryError:
            continue
        assert broken == entry


@pytest.mark.parametrize(
    "values",
    [{"name": ""}, {"name": "x" * 65}, {"version": "1\n"}, {"variant": "\xe9"}, {"sha256": b"short"}],
)
def test_a_model_that_no_entry_could_carry_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a model"):
        ScoringModel(**{"name": "n", "version": "1", "variant": "v", "sha256": bytes(32), **values})


def test_each_frame_is_credited_to_the_model_that_scored_it_first() -> None:
    batches = [
        read_scores(encode_scores([score(0), score(1), score(40)], model=MODEL)),
        read_scores(encode_scores([score(1, delay_us=90_000), score(2)], model=LATER)),
        read_scores(encode_scores([score(3, flags=FLAG_ON_DEVICE)], model=MODEL)),
    ]
    (built,) = packing.build_packs(batches)
    first, second = built.packs
    assert first.scored_by == {MODEL: 0b11, LATER: 0b100, ON_DEVICE: 0b1000}
    assert second.scored_by == {MODEL: 1 << 10}
    added = {first.key: 0b0110, second.key: 1 << 10}
    assert credit_models(built.packs, added) == {(SESSION, MODEL): 2, (SESSION, LATER): 1}
    assert credit_models(built.packs, {}) == {}


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=40))
def test_the_bits_of_the_models_are_the_packs_own_and_do_not_overlap(batch: list[ScoreRecord]) -> None:
    for pack in build(batch[::2], batch[1::2]).values():
        assert sum(pack.scored_by.values()) == pack.mask

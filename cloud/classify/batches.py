"""One round of the classify worker: entries in, scores out, faces gone."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cloud.classify import metrics as metrics
from cloud.classify.classifier import Classifier
from cloud.classify.epochs import MISSING_FOR_US, REFUSED_FOR_US, EpochBook, EpochKey, open_epoch
from cloud.classify.refusals import Refusal, RefusalTally
from cloud.classify.stage import (
    Opened,
    ScoringRules,
    classify_faces,
    epochs_of,
    open_crops,
    score_faces,
    wipe,
)
from cloud.errors import ConfigError, EntryError, StreamError
from cloud.streams.entries import ScoreRecord, SealedCrop, decode_crops, encode_scores
from cloud.streams.ports import (
    CropStream,
    DeadLetter,
    Delivery,
    Finished,
    Revocations,
    SetupStore,
    Superseded,
)
from cloud.streams.redelivery import triage
from cloud.streams.scoring import ScoringModel
from privacy.crypto.keys import Keyring
from privacy.errors import OpeningError, ReceiptError
from privacy.protocol.ids import SessionId

log = structlog.get_logger()

ROUND_MAX_CROPS = 256
"""The largest batch; about 100 ms of one core on LiteRT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A decoded stream entry."""

    delivery: Delivery
    crops: list[SealedCrop]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyParts:
    """What a worker is made of."""

    crops: CropStream
    setups: SetupStore
    revocations: Revocations
    classifier: Classifier
    rules: ScoringRules
    keyring: Keyring
    platform_key: Ed25519PublicKey


def utc_us() -> int:
    """Read this machine's UTC clock, in microseconds."""
    return time.time_ns() // 1_000


class ClassifyRounds:
    """Turns deliveries into finished entries; faces exist within one synchronous call."""

    def __init__(self, parts: ClassifyParts) -> None:
        self._parts = parts
        self._book = EpochBook()
        self._told = RefusalTally()

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        """Work off deliveries; what fails for an unknown reason stays pending and is delivered again.

        Raises:
            StreamError: Redis went away; everything unfinished stays pending.
        """
        sorted_out = triage(deliveries)
        if sorted_out.dead:
            await self._bury(sorted_out.dead)
        # an entry that failed before goes alone, so that it takes no other with it
        again = [[delivery] for delivery in sorted_out.work if delivery.deliveries > 1]
        first = [delivery for delivery in sorted_out.work if delivery.deliveries == 1]
        for group in ([first] if first else []) + again:
            await self._attempt(group)

    def revoke(self, session: SessionId) -> None:
        """Forget a session's keys and refuse its crops from now on."""
        self._book.revoke(session)

    def supersede(self, word: Superseded) -> None:
        """Forget a session's keys under earlier receipts and refuse their crops from now on."""
        self._book.supersede(word.session, receipt_sha256=word.receipt_sha256)

    async def recheck_revocations(self) -> None:
        """Look up every session whose key is held: what ends may have been missed."""
        for session in self._book.sessions():
            await self._look_up(session)

    async def _look_up(self, session: SessionId) -> bool:
        """Learn whether a session is revoked, and which of its receipts is in force; True if it may go on."""
        if await self._parts.revocations.is_revoked(session):
            self._book.revoke(session)
            return False
        receipt = await self._parts.revocations.receipt_in_force(session)
        if receipt is not None:
            self._book.supersede(session, receipt_sha256=receipt)
        return True

    async def tell_refusals(self) -> None:
        """Tell ingest what got no score since the last time; what cannot be told is dropped, as an ack would be.

        Raises:
            StreamError: Redis went away.
        """
        refusals = self._told.take()
        if refusals:
            await self._parts.crops.publish_refusals(refusals)

    def close(self) -> None:
        """Let the engine go."""
        self._parts.classifier.close()

    async def _attempt(self, group: list[Delivery]) -> None:
        try:
            await self._work_off(group)
        except StreamError:
            raise
        except Exception as error:
            # outermost catch of one round: a bug or a poison entry must not stop the street
            metrics.ENTRIES.labels("failed").inc(len(group))
            log.error("round failed", error=type(error).__name__, entries=len(group))
            if len(group) > 1:
                for delivery in group:
                    await self._attempt([delivery])

    async def _work_off(self, group: list[Delivery]) -> None:
        entries, letters = _decode(group)
        if letters:
            await self._bury(letters)
        if not entries:
            return
        await self._open_epochs({key for entry in entries for key in epochs_of(entry.crops)})
        # a round is bounded, so that the loop hears of revocations and the first scores do not wait for the last
        for some in _in_rounds(entries):
            await self._parts.crops.finish(self._classify(some))
            metrics.ENTRIES.labels("finished").inc(len(some))

    async def _open_epochs(self, keys: set[EpochKey]) -> None:
        for key in self._book.missing(keys, now_utc_us=utc_us()):
            session, epoch = key
            if not await self._look_up(session):
                continue
            setup = await self._parts.setups.setup(session, epoch=epoch)
            now = utc_us()
            if setup is None:
                self._book.refuse(key, until_utc_us=now + MISSING_FOR_US)
                continue
            try:
                opened = open_epoch(
                    setup, keyring=self._parts.keyring, platform_key=self._parts.platform_key, now_utc_us=now
                )
            except (OpeningError, ReceiptError, ConfigError) as error:
                log.warning("setup refused", session=str(session), epoch=epoch, reason=str(error))
                self._book.refuse(key, until_utc_us=now + REFUSED_FOR_US)
                continue
            if not self._book.keep((opened.session, opened.opener.epoch), opened):
                log.warning("setup is under an earlier receipt", session=str(session), epoch=epoch)
                self._book.refuse(key, until_utc_us=now + REFUSED_FOR_US)
        metrics.EPOCHS.set(len(self._book))

    def _classify(self, entries: list[Entry]) -> list[Finished]:
        """Open, read and wipe, without a pause in which a face could wait or a revocation be missed."""
        started = time.monotonic()
        opened: list[Opened] = []
        try:
            opened.extend(open_crops(entry.crops, self._book, now_utc_us=utc_us()) for entry in entries)
            faces = [face for one in opened for face in one.faces]
            counts = [len(one.faces) for one in opened]
            logits = classify_faces(faces, self._parts.classifier, self._parts.rules)
            records = score_faces(faces, logits, self._parts.rules, classified_utc_us=utc_us())
        finally:
            for one in opened:
                wipe(one.faces)
        metrics.ROUND.observe(time.monotonic() - started)
        _count(records, sum((one.refused for one in opened), Counter()))
        for one in opened:
            self._told.add(one.told)
        found = iter(records)
        return [
            _finished(entry.delivery, list(itertools.islice(found, count)), self._parts.classifier.model)
            for entry, count in zip(entries, counts, strict=True)
        ]

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            metrics.ENTRIES.labels("dead").inc()
            log.error("entry given up", reason=letter.reason, deliveries=letter.delivery.deliveries)
        await self._parts.crops.bury(letters)


def _decode(group: Sequence[Delivery]) -> tuple[list[Entry], list[DeadLetter]]:
    entries, letters = [], []
    for delivery in group:
        try:
            entries.append(Entry(delivery=delivery, crops=decode_crops(delivery.payload)))
        except EntryError as error:
            letters.append(DeadLetter(delivery=delivery, reason=str(error)))
    return entries, letters


def _in_rounds(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    some: list[Entry] = []
    crops = 0
    for entry in entries:
        if some and crops + len(entry.crops) > ROUND_MAX_CROPS:
            yield some
            some, crops = [], 0
        some.append(entry)
        crops += len(entry.crops)
    if some:
        yield some


def _finished(delivery: Delivery, records: list[ScoreRecord], model: ScoringModel) -> Finished:
    return Finished(delivery=delivery, scores=encode_scores(records, model=model) if records else None)


def _count(records: Sequence[ScoreRecord], refused: Counter[Refusal]) -> None:
    if records:
        metrics.BATCH_CROPS.observe(len(records))
        metrics.CLASSIFIED.inc(len(records))
    for record in records:
        metrics.LATENCY.observe((record.classified_utc_us - record.captured_utc_us) / 1e6)
    for reason, count in refused.items():
        metrics.REFUSED.labels(reason.value).inc(count)

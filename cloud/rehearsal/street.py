"""Joins a rehearsing agent, a process of its own as in the field, to the studio's end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from queue import SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from cloud.classify.litert_classifier import open_litert
from cloud.classify.stage import ScoringRules
from cloud.errors import DemoError
from cloud.rehearsal.worker import RehearsalWorker
from models.expression.loading import ExpressionArtifact
from privacy.protocol.messages import SessionSetup

Heard = TypeVar("Heard")

AGENT = (sys.executable, "-m", "edge_agent.cli", "rehearse")


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's first line."""

    device_public_key: bytes


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One encoded picture; `ladder` names the agent's encodings to try, its own order if empty."""

    picture: bytes
    ladder: tuple[str, ...] = ()


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's answer to one picture."""

    skip: str | None
    step: str | None = None
    envelope: bytes | None = None
    setup: SessionSetup | None = None
    quality: int = 0
    yaw_deg: int = 0


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived of one picture.

    Attributes:
        skip: why it was not sent, None where it was.
        step: how the crop was encoded.
        envelope_bytes: length of what would have been on the wire.
        quality: the agent's own measure, 0..255.
        yaw_deg: head pose, as the agent measured it.
        logits: what the network said, None where nothing was sent.
    """

    skip: str | None
    step: str | None
    envelope_bytes: int
    quality: int
    yaw_deg: int
    logits: list[float] | None


class RehearsedStreet:
    """One agent and one worker; a context manager, because the agent must end with it.

    Args:
        artifact: the expression network.
        detector: the agent's detector variant.
    """

    def __init__(self, artifact: ExpressionArtifact, *, detector: str = "int8") -> None:
        rules = ScoringRules(
            temperature=artifact.temperature,
            input_side_px=artifact.input_side_px,
            confident_above=artifact.confident_above,
        )
        self._worker = RehearsalWorker(open_litert(artifact), rules, utc_us=lambda: time.time_ns() // 1000)
        self._agent = subprocess.Popen(  # noqa: S603
            [*AGENT, "--detector", detector],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("COUNTENANCE_")},
        )
        assert self._agent.stdin is not None and self._agent.stdout is not None
        self._to_agent, self._from_agent = self._agent.stdin, self._agent.stdout

    def __enter__(self) -> Self:
        """Exchange keys and receipt with the agent.

        Raises:
            DemoError: it does not start.
        """
        hello = self._hear(Hello)
        terms = asdict(self._worker.terms(hello.device_public_key))
        self._say(msgspec.json.encode(terms))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the agent."""
        with contextlib.suppress(OSError):
            self._to_agent.close()
        try:
            self._agent.wait(10)
        except subprocess.TimeoutExpired:
            self._agent.kill()
            self._agent.wait()
        self._from_agent.close()

    def send(self, asked: Iterable[Asked]) -> Iterator[Arrived]:
        """Send pictures down the street, and yield what arrives, in order.

        Raises:
            DemoError: the agent ended, or the worker refused a crop.
        """
        said: SimpleQueue[bool | Exception] = SimpleQueue()

        def feed() -> None:
            try:
                for one in asked:
                    self._say(msgspec.json.encode(one))
                    said.put(True)
                said.put(False)
            except Exception as error:  # raised again where the answers are read
                said.put(error)

        # A thread, because a pipe holds little: who writes all before reading waits for ever.
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        while (word := said.get()) is True:
            yield self._arrive(self._hear(Sealed))
        feeder.join()
        if isinstance(word, Exception):
            raise word

    def _arrive(self, sealed: Sealed) -> Arrived:
        if sealed.setup is not None:
            self._worker.admit(sealed.setup)
        logits = None if sealed.envelope is None else self._worker.read(sealed.envelope).tolist()
        return Arrived(
            skip=sealed.skip,
            step=sealed.step,
            envelope_bytes=0 if sealed.envelope is None else len(sealed.envelope),
            quality=sealed.quality,
            yaw_deg=sealed.yaw_deg,
            logits=logits,
        )

    def _say(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            # A broken pipe shows on the reading side, as the end of the agent.
            self._to_agent.write(line + b"\n")
            self._to_agent.flush()

    def _hear(self, kind: type[Heard]) -> Heard:
        line = self._from_agent.readline()
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.MsgspecError:
            raise DemoError("the rehearsing agent ended; see what it printed above") from None

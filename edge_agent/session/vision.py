"""The vision thread: takes the newest frame, looks at it, hands on what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.camera.latest import Absent, LatestFrame
from edge_agent.errors import AgentError, DetectorError
from edge_agent.tracking.pipeline import FramePipeline, Outcome, absent_outcome
from privacy.protocol.messages import SkipReason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """An outcome on its way to the sender.

    Attributes:
        outcome: of the newest frame.
        missed: why the frames between the previous outcome and this one were not looked at.
    """

    outcome: Outcome
    missed: SkipReason


class VisionThread(threading.Thread):
    """Owns the pipeline.

    Attributes:
        error: why it ended early, None otherwise.
        busy_cpu_s: CPU time of this thread so far.
    """

    def __init__(
        self, slot: LatestFrame, pipeline: FramePipeline, *, deliver: Callable[[Seen], None]
    ) -> None:
        """Prepare; `deliver` is called on this thread, in order of capture."""
        super().__init__(name="vision", daemon=True)
        self._slot = slot
        self._pipeline = pipeline
        self._deliver = deliver
        self.error: AgentError | None = None
        self.busy_cpu_s = 0.0

    def run(self) -> None:
        """Look at frames until capture has closed the slot."""
        try:
            while not self._slot.is_closed:
                item = self._slot.take(timeout_s=0.5)
                if item is None:
                    continue
                outcome = (
                    absent_outcome(item.index, monotonic_us=item.monotonic_us, reason=item.missed)
                    if isinstance(item, Absent)
                    else self._pipeline.look_at(item.frame)
                )
                self._deliver(Seen(outcome=outcome, missed=item.missed))
                self.busy_cpu_s = time.thread_time()
        except AgentError as error:
            self.error = error
        except Exception as error:
            # Outermost loop of this thread: the run must end with a reason, never with a silent thread.
            self.error = DetectorError(f"looking at a frame failed: {type(error).__name__}")

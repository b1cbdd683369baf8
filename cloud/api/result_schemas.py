"""Forms of the answers about results. They are written as they come from the report, and described here."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from cloud.api.schemas import Sha256Hex
from privacy.protocol.expressions import Expression

Share = float | None
"""In [0, 1]; null where there is none, which is never the same as 0."""

Shares = dict[Expression, Share]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class MeasuredSet(_Document):
    """A model's errors on one test set."""

    title: str
    pictures: int
    accuracy: float
    accuracy_95: list[float] = Field(description="Its 95 % interval.", min_length=2, max_length=2)
    macro_recall: float
    calibration_error: float
    confusion: list[list[int]] = Field(description="Rows are labels, columns what was read.")


class MeasuredErrors(_Document):
    """A model's errors on test sets."""

    version: str
    precision: str
    measured: str
    labels: list[str]
    test_sets: dict[str, MeasuredSet]


class Model(MeasuredErrors):
    """What is known of a model, by the digest of its file."""

    sha256: Sha256Hex
    validity: str


class ModelUsed(_Document):
    """A model that scored frames of the session; `measured` is null where its figures are not installed here."""

    name: str
    version: str
    variant: str
    sha256: str
    frames: int
    measured: MeasuredErrors | None


class _ExpressionColumns(_Document):
    happy: list[Share]
    sad: list[Share]
    angry: list[Share]
    surprised: list[Share]
    disgust: list[Share]
    neutral: list[Share]
    confidence: list[Share]
    attention: list[Share]
    happy_change: list[Share] = Field([], description="This and the others: only with a baseline.")
    sad_change: list[Share] = []
    angry_change: list[Share] = []
    surprised_change: list[Share] = []
    disgust_change: list[Share] = []
    neutral_change: list[Share] = []


class SecondColumns(_ExpressionColumns):
    """One entry a second; all lists are equally long."""

    second: list[int]
    frames: list[int]
    certain: list[int]
    out_of_scope: list[int]
    uncertain_share: list[Share]
    expected: list[int]
    valid: list[bool]


class FrameColumns(_ExpressionColumns):
    """One entry a frame; all lists are equally long."""

    frame: list[int]
    segment: list[int]
    media_time_ms: list[int]
    late: list[bool]
    grey: list[bool]
    uncertain: list[bool]
    out_of_scope: list[bool]


class GapColumns(_Document):
    """One entry a gap, by first frame; all lists are equally long."""

    first_frame: list[int]
    last_frame: list[int]
    segment: list[int]
    media_time_ms: list[int]
    reason: list[str]


class Kernel(_Document):
    """How scores were filtered over time."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kernel: Literal["raw", "hmm"]


class BaselineUsed(_Document):
    """The neutral window that the `_change` columns are above."""

    kind: Literal["none", "preroll"]
    window_ms: list[int] = Field([], max_length=2)
    valid_seconds: int = 0
    is_sufficient: bool = False
    mean: Shares = {}


class Timeline(_Document):
    """A session's timeline."""

    session_id: UUID
    resolution: Literal["frame", "second"]
    smoothing: Kernel
    baseline: BaselineUsed
    duration_ms: int
    opted_out: list[Expression]
    validity: str
    models: list[ModelUsed]
    columns: SecondColumns | FrameColumns
    gaps: GapColumns


class FrameCounts(_Document):
    """Where captured frames went."""

    captured: int
    with_face: int
    sent: int
    stored: int
    skipped: dict[str, int]
    lost_flagged: int
    lost_unflagged: int
    late: int
    uncertain: int
    out_of_scope: int


class GapCounts(_Document):
    """Gaps, and the frames in them by reason."""

    count: int
    frames_by_reason: dict[str, int]


class SecondCounts(_Document):
    """How many seconds of the title can be told."""

    total: int
    valid: int
    coverage: float


class Latency(_Document):
    """Milliseconds from capture; null without a sample. The histogram has bins of 1 ms up to the last not empty."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int
    histogram: list[int]


class Summary(_Document):
    """The figures of one session."""

    session_id: UUID
    state: str
    duration_ms: int
    validity: str
    frames: FrameCounts
    duplicates: int
    redelivered: int
    models: list[ModelUsed]
    gaps: GapCounts
    seconds: SecondCounts
    latency_ms: dict[str, Latency]
    share_of_frames: Shares
    share_of_certain_frames: Shares
    opted_out: list[Expression]


class RetentionRule(_Document):
    """How long an artefact is kept, and from when."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    ttl_us: int
    anchor: str = Field(alias="from")


class PolicyFacts(_Document):
    """The policy that is enforced."""

    version: str
    minimum_age_years: int
    disclosure_minimum: int
    consent_ttl_us: int
    retention: dict[str, RetentionRule]
    jurisdictions: list[str]

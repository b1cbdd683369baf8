"""Metrics of the aggregate worker."""

from prometheus_client import Counter, Gauge, Histogram

STORED = Counter("countenance_aggregate_frames_stored_total", "Frames written to a pack")
REDELIVERED = Counter(
    "countenance_aggregate_frames_redelivered_total", "Frames that were stored already and changed nothing"
)
REFUSED = Counter(
    "countenance_aggregate_frames_refused_total",
    "Frames of sessions that accept none (withdrawn, erased, unknown)",
)
MALFORMED = Counter("countenance_aggregate_entries_malformed_total", "Stream entries that do not decode")
CHANGES = Counter("countenance_aggregate_session_changes_total", "Session events applied")
COMMITS = Counter("countenance_aggregate_commits_total", "Transactions by outcome", ["outcome"])
COMMIT_SECONDS = Histogram(
    "countenance_aggregate_commit_seconds",
    "Duration of a committed transaction",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
STREAM_FAILURES = Counter("countenance_aggregate_stream_failures_total", "Reads and acks the stream refused")
SHARDS = Gauge("countenance_aggregate_shards", "Shards this worker holds the lease of")

"""Metrics of the lifecycle worker."""

from prometheus_client import Counter, Gauge

LEADER = Gauge("countenance_lifecycle_leader", "1 while this process is the leader")
TRIMMED = Counter("countenance_lifecycle_crops_trimmed_total", "Crop entries that aged out")
RESULTS_SHED = Counter(
    "countenance_lifecycle_results_shed_total",
    "What left a full result stream before it was stored: frames (flagged lost), reports (gone for good)",
    ["what"],
)
SEALED = Counter("countenance_lifecycle_sessions_sealed_total", "Sessions sealed, again ones included")
LOST = Counter("countenance_lifecycle_sessions_lost_total", "Live sessions closed for their silence")
ERASED = Counter("countenance_lifecycle_sessions_erased_total", "Sessions erased, by reason", ["reason"])
LATE_DROPPED = Counter(
    "countenance_lifecycle_late_results_dropped_total",
    "Frames and reports of erased sessions that arrived after the receipt and were dropped",
)
CLEANED = Counter(
    "countenance_lifecycle_cleaned_total",
    "How often key-encryption keys took turns and the database's files were cleaned after erasures",
)
FAILURES = Counter(
    "countenance_lifecycle_failures_total", "Failed steps by stage and error", ["stage", "error"]
)
CLOCK_HELD = Gauge(
    "countenance_retention_held",
    "1 while nothing is deleted for its age because the clock may be wrong: alert on it",
)
LAG_SECONDS = Gauge("countenance_retention_lag_seconds", "How overdue the oldest artefact is", ["artefact"])

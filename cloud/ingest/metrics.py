"""Metrics of the ingest process."""

from prometheus_client import Counter, Gauge, Histogram

DATAGRAMS = Counter("countenance_ingest_datagrams_total", "Datagrams accepted into the stream", ["late"])
REFUSED = Counter("countenance_ingest_refused_total", "Datagrams and messages refused", ["reason"])
ADMISSIONS = Counter("countenance_ingest_admissions_total", "Offers answered or refused", ["code"])
PEERS_HUNG_UP_ON = Counter(
    "countenance_ingest_peers_hung_up_on_total", "Peers that took more than their share", ["reason"]
)
SOCKETS_GIVEN_UP = Counter(
    "countenance_ingest_sockets_given_up_total",
    "Websockets closed before they proved anything, for want of seats",
)
SESSIONS = Gauge("countenance_ingest_sessions", "Live sessions")
SESSION_ENDS = Counter("countenance_ingest_session_ends_total", "Sessions that ended", ["kind"])
QUEUED_CROPS = Gauge("countenance_ingest_queued_crops", "Crops that wait to be written")
DROPPED_CROPS = Gauge(
    "countenance_ingest_dropped_crops", "Crops given up since the start, full queue or too old"
)
DROPPED_EVENTS = Gauge("countenance_ingest_dropped_events", "Session events given up since the start")
REPEATED_EVENTS = Counter(
    "countenance_ingest_repeated_events_total", "Session events written again, since Redis may have lost them"
)
WRITE_FAILURES = Counter("countenance_ingest_write_failures_total", "Writes that the stream did not take")
BATCH_CROPS = Histogram(
    "countenance_ingest_batch_crops", "Crops per stream entry", buckets=(1, 2, 4, 8, 16, 32, 64)
)
ACKS = Counter("countenance_ingest_acks_total", "Durable acks forwarded to agents")
RESULTS_TRIMMED = Counter(
    "countenance_ingest_results_trimmed_total", "Result entries lost to a full stream, what they said unknown"
)

"""Metrics of the classify process."""

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_S = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 15.0)

CLASSIFIED = Counter("countenance_classify_crops_total", "Crops classified")
REFUSED = Counter("countenance_classify_refused_total", "Crops that got no score", ["reason"])
ENTRIES = Counter("countenance_classify_entries_total", "Stream entries by outcome", ["outcome"])
BATCH_CROPS = Histogram(
    "countenance_classify_batch_crops", "Crops per round", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
LATENCY = Histogram("countenance_classify_latency_seconds", "Capture to classified", buckets=_LATENCY_S)
ROUND = Histogram(
    "countenance_classify_round_seconds", "Open, decode, classify of one round", buckets=_LATENCY_S
)
QUEUE = Gauge("countenance_classify_queue_entries", "Stream entries that wait")
EPOCHS = Gauge("countenance_classify_open_epochs", "Session epochs whose key is held")
STREAM_FAILURES = Counter("countenance_classify_stream_failures_total", "Calls that the stream did not take")
RESULTS_TRIMMED = Counter(
    "countenance_classify_results_trimmed_total",
    "Result entries lost to a full stream, what they said unknown",
)

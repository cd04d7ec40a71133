"""What the service counts, as Prometheus reads it (text format 0.0.4)."""

from collections import Counter
from collections.abc import Iterator

LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
NAMES = ("pictures", "refused_pictures", "pills", "unknown_pills", "batches", "batched_pictures")
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counters:
    def __init__(self) -> None:
        self.in_flight = 0
        self._requests: Counter[int] = Counter()  # by status
        self._counts: Counter[str] = Counter()
        self._latency: Counter[float] = Counter()  # by upper edge of the bucket
        self._latency_sum_s = 0.0

    def request(self, status: int, seconds: float) -> None:
        self._requests[status] += 1
        self._latency_sum_s += seconds
        edge = next((edge for edge in LATENCY_BUCKETS_S if seconds <= edge), float("inf"))
        self._latency[edge] += 1

    def count(self, **more: int) -> None:
        self._counts.update(more)

    def lines(self) -> Iterator[str]:
        yield "# TYPE pillsnap_requests_total counter"
        for status, count in sorted(self._requests.items()):
            yield f'pillsnap_requests_total{{status="{status}"}} {count}'
        for name in NAMES:
            yield f"# TYPE pillsnap_{name}_total counter"
            yield f"pillsnap_{name}_total {self._counts[name]}"
        yield "# TYPE pillsnap_requests_in_flight gauge"
        yield f"pillsnap_requests_in_flight {self.in_flight}"
        yield "# TYPE pillsnap_request_seconds histogram"
        below = 0
        for edge in LATENCY_BUCKETS_S:
            below += self._latency[edge]
            yield f'pillsnap_request_seconds_bucket{{le="{edge:g}"}} {below}'
        requests = sum(self._requests.values())
        yield f'pillsnap_request_seconds_bucket{{le="+Inf"}} {requests}'
        yield f"pillsnap_request_seconds_sum {self._latency_sum_s:.6f}"
        yield f"pillsnap_request_seconds_count {requests}"

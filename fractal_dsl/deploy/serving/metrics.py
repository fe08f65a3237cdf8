"""Counts of a service, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from threading import Lock

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Requests by status, their seconds, inputs by the net that answered, batches, and inputs that wait."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.requests: Counter[int] = Counter()
        self.inputs: Counter[str] = Counter()
        self.buckets = [0] * len(_BUCKETS)
        self.seconds, self.count, self.batches, self.batched, self.waiting = 0.0, 0, 0, 0, 0

    def request(self, status: int, seconds: float) -> None:
        """Count an inference request."""
        with self.lock:
            self.requests[status] += 1
            self.seconds += seconds
            self.count += 1
            for i, bound in enumerate(_BUCKETS):
                self.buckets[i] += seconds <= bound

    def answered(self, net: str, inputs: int) -> None:
        """Count inputs that a net answered."""
        with self.lock:
            self.inputs[net] += inputs

    def batch(self, inputs: int) -> None:
        """Count a batch that a net computed."""
        with self.lock:
            self.batches += 1
            self.batched += inputs

    def text(self) -> str:
        """All counts."""
        with self.lock:
            name = "fractal_dsl"
            lines = [
                f"# HELP {name}_requests_total Inference requests by status.",
                f"# TYPE {name}_requests_total counter",
                *(f'{name}_requests_total{{status="{status}"}} {n}' for status, n in sorted(self.requests.items())),
                f"# HELP {name}_request_seconds Seconds from a request to its answer.",
                f"# TYPE {name}_request_seconds histogram",
                *(
                    f'{name}_request_seconds_bucket{{le="{bound}"}} {n}'
                    for bound, n in zip(_BUCKETS, self.buckets, strict=True)
                ),
                f'{name}_request_seconds_bucket{{le="+Inf"}} {self.count}',
                f"{name}_request_seconds_sum {self.seconds:.6f}",
                f"{name}_request_seconds_count {self.count}",
                f"# HELP {name}_inputs_total Inputs by the net that answered.",
                f"# TYPE {name}_inputs_total counter",
                *(f'{name}_inputs_total{{net="{net}"}} {n}' for net, n in sorted(self.inputs.items())),
                f"# HELP {name}_batches_total Batches that nets computed.",
                f"# TYPE {name}_batches_total counter",
                f"{name}_batches_total {self.batches}",
                f"# HELP {name}_batched_inputs_total Inputs in these batches.",
                f"# TYPE {name}_batched_inputs_total counter",
                f"{name}_batched_inputs_total {self.batched}",
                f"# HELP {name}_waiting_inputs Inputs that wait for a batch.",
                f"# TYPE {name}_waiting_inputs gauge",
                f"{name}_waiting_inputs {self.waiting}",
            ]
        return "\n".join(lines) + "\n"

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Prometheus reads of the detector service."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from inference_server import __version__
from inference_server.detector_service.batching import Judged
from inference_server.ingest.picture import RefusedError

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts requests, pictures and inferences, in a registry of its own."""

    def __init__(self, *, waiting: Callable[[], float], loaded: Callable[[], bool], stuck: Callable[[], float]) -> None:
        """Take what tells the pictures that are here, whether there is a detector, and how many inferences hang."""
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("hsi_detector_requests", "Requests answered.", ("path", "status"), registry=registry)
        self._seconds = Histogram(
            "hsi_detector_request_seconds", "Time to the answer.", ("path",), registry=registry, buckets=_SECONDS
        )
        self._pictures = Counter("hsi_detector_pictures", "Pictures, by result.", ("result",), registry=registry)
        self._steps = Histogram(
            "hsi_detector_step_seconds", "Time of a picture's step.", ("step",), registry=registry, buckets=_SECONDS
        )
        self._batch = Histogram("hsi_detector_batch_size", "Pictures per inference.", registry=registry, buckets=_SIZES)
        self._inference = Histogram(
            "hsi_detector_inference_seconds", "Time of an inference.", registry=registry, buckets=_SECONDS
        )
        Gauge("hsi_detector_waiting_pictures", "Pictures that are here.", registry=registry).set_function(waiting)
        Gauge("hsi_detector_model_loaded", "1 while there is a detector.", registry=registry).set_function(
            lambda: float(loaded())
        )
        Gauge("hsi_detector_stuck_inferences", "Inferences that hang.", registry=registry).set_function(stuck)
        Gauge("hsi_detector_info", "The version.", ("version",), registry=registry).labels(__version__).set(1)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request; `path` is that of its route."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def judged(self, result: Judged | RefusedError) -> None:
        """Count a picture."""
        if isinstance(result, RefusedError):
            self._pictures.labels(f"refused_{result.reason.value}").inc()
            return
        self._pictures.labels("judged").inc()
        self._steps.labels("decode").observe(result.decode)
        self._steps.labels("waiting").observe(result.waiting)

    def failed(self, pictures: int) -> None:
        """Count pictures that the detector gave no answer about."""
        self._pictures.labels("failed").inc(pictures)

    def inferred(self, size: int, seconds: float) -> None:
        """Count an inference."""
        self._batch.observe(size)
        self._inference.observe(seconds)

    def text(self) -> bytes:
        """Return all of it in the text format of Prometheus."""
        return generate_latest(self._registry)

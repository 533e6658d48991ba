# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Prometheus reads of the analyst service."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from inference_server import __version__
from inference_server.risk.analyst.language_model import LanguageAnswer

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)


class Metrics:
    """Counts requests, answers and tokens, in a registry of its own."""

    def __init__(
        self, *, waiting: Callable[[], float], running: Callable[[], float], loaded: Callable[[], bool]
    ) -> None:
        """Take what tells how many requests wait and are answered, and whether there is a model."""
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("hsi_analyst_requests", "Requests answered.", ("path", "status"), registry=registry)
        self._seconds = Histogram(
            "hsi_analyst_request_seconds", "Time to the answer.", ("path",), registry=registry, buckets=_SECONDS
        )
        self._tokens = Counter("hsi_analyst_tokens", "Tokens, by what became of them.", ("kind",), registry=registry)
        for name, about, told in (
            ("hsi_analyst_waiting_requests", "Requests that wait for the model.", waiting),
            ("hsi_analyst_running_requests", "Requests that it answers.", running),
            ("hsi_analyst_model_loaded", "1 while there is a model.", lambda: float(loaded())),
        ):
            Gauge(name, about, registry=registry).set_function(told)
        Gauge("hsi_analyst_info", "The version.", ("version",), registry=registry).labels(__version__).set(1)

    def requested(self, path: str, status: int, seconds: float) -> None:
        """Count a request; `path` is that of its route."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def answered(self, answer: LanguageAnswer) -> None:
        """Count an answer's tokens."""
        self._tokens.labels("cached").inc(answer.tokens_in - answer.tokens_evaluated)
        self._tokens.labels("evaluated").inc(answer.tokens_evaluated)
        self._tokens.labels("generated").inc(answer.tokens_out)

    def text(self) -> bytes:
        """Return all of it in the text format of Prometheus."""
        return generate_latest(self._registry)

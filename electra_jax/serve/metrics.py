"""What a service counts, in the text format of Prometheus."""

from collections.abc import Callable


class Metrics:
  """Counters of one service, apart from those of others in the process."""

  def __init__(self, num_waiting: Callable[[], int]):
    """Begins at zero.

    Args:
      num_waiting: says how many inputs wait.
    """
    import prometheus_client as prometheus

    self._text = prometheus.generate_latest
    self.content_type = prometheus.CONTENT_TYPE_LATEST
    self._registry = prometheus.CollectorRegistry()
    ours = {"registry": self._registry}
    self.requests = prometheus.Counter(
        "electra_jax_requests",
        "Requests by path and HTTP status.",
        ["path", "status"],
        **ours,
    )
    self.errors = prometheus.Counter(
        "electra_jax_errors",
        "Requests that were refused or failed, by reason.",
        ["reason"],
        **ours,
    )
    self.latency = prometheus.Histogram(
        "electra_jax_request_seconds",
        "Seconds from a request of /predict to its answer.",
        buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        **ours,
    )
    self.batch_inputs = prometheus.Histogram(
        "electra_jax_batch_inputs",
        "Inputs that were answered together.",
        buckets=(1, 2, 4, 8, 16, 32, 64, 128),
        **ours,
    )
    self.batch_seconds = prometheus.Histogram(
        "electra_jax_batch_seconds",
        "Seconds that the model took for a batch.",
        buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
        **ours,
    )
    prometheus.Gauge(
        "electra_jax_queue_inputs", "Inputs that wait.", **ours
    ).set_function(num_waiting)

  def note_batch(self, count: int, seconds: float) -> None:
    """Counts a batch."""
    self.batch_inputs.observe(count)
    self.batch_seconds.observe(seconds)

  def text(self) -> bytes:
    """Returns all of them."""
    return self._text(self._registry)

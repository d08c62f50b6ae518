"""The Serve application: three deployments and what must be true before they start.

    SegmentConsumer ──▶ FeatureExtractor ──▶ HctDmgReplica

`import_path: workers.app:build_app` in `ray_config.yaml`. Knows how the parts fit together. Does not know
what they do.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig

from hctdmg.checkpoint import load_checkpoint
from workers.batching import DEPLOYMENT
from workers.config import Settings, validate_settings
from workers.consumer import SegmentConsumer
from workers.extracting import Prepares, make_preparer
from workers.extractor import FeatureExtractor
from workers.replica import HctDmgReplica
from workers.routing import FewestOutstanding
from workers.triton import check_server

MANY = 100_000
"""Calls that a replica takes at a time: all. It lets them wait by itself; Serve's own queue would ask for a
place with growing pauses. How many come is bounded by `flow.max_in_flight_segments` of each consumer."""
HEALTH_CHECK_PERIOD_S = 1.0
"""A replica that was killed is noticed within this."""
HEALTH_CHECK_TIMEOUT_S = 10.0
"""A replica whose loop answers nothing for so long is stuck and is replaced."""
SHUTDOWN_MARGIN_S = 5.0
"""What leaving the group and closing connections may take after the drain."""


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """Build the application from the `args` of its config.

    Raises:
        ConfigError: One line: a setting is wrong, or something that the application needs is missing.
    """
    settings = validate_settings(args)
    preflight(settings)
    return bind(settings)


def preflight(settings: Settings) -> None:
    """Find out whether the application could work, before anything is started.

    Raises:
        ConfigError: One line: which of telemetry, checkpoint, extractors, broker, topic or model server is wrong, and
            what to do.
    """
    from workers.kafka import check_broker
    from workers.tracing import check_tracing

    check_tracing(settings.telemetry)
    check_broker(settings.kafka)
    make_preparer(settings)
    if settings.model.backend == "triton":
        check_server(settings.model, load_checkpoint(settings.model.checkpoint))


def bind(settings: Settings, make: Callable[[Settings], Prepares] = make_preparer) -> serve.Application:
    """The application's deployments, bound to each other.

    Args:
        settings: The settings.
        make: Makes what prepares segments in an extractor.
    """
    alive = {
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": settings.flow.drain_timeout_s + SHUTDOWN_MARGIN_S,
        "max_ongoing_requests": MANY,
        "request_router_config": RequestRouterConfig(request_router_class=FewestOutstanding),
        # A line to two places for each call: it tells nothing that the event or the dead letter does not.
        "logging_config": {"enable_access_log": False},
    }
    extractor = serve.deployment(FeatureExtractor, name="FeatureExtractor", **alive)
    # An empty one, so that a file that no longer has any brings back what the settings say.
    model = serve.deployment(HctDmgReplica, name=DEPLOYMENT, user_config={}, **alive)
    consumer = serve.deployment(SegmentConsumer, name="SegmentConsumer", **alive)
    return consumer.bind(settings, extractor.bind(settings, make), model.bind(settings))

"""The model's deployment alone, as an application of Ray Serve."""

from collections.abc import Mapping
from typing import Any

from ray import serve

from workers.app import MANY
from workers.batching import DEPLOYMENT
from workers.config import validate_settings
from workers.replica import HctDmgReplica


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """As `workers.app.build_app`, without consumer and extractor."""
    model = serve.deployment(HctDmgReplica, name=DEPLOYMENT, user_config={}, max_ongoing_requests=MANY)
    return model.bind(validate_settings(args))

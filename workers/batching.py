"""What may be changed of a running replica: Serve's `user_config` of the deployment `HctDmgReplica`.

    deployments:
      - name: HctDmgReplica
        user_config: { max_batch_size: 64, batch_wait_timeout_s: 0.02 }

What it leaves out is as in `model`. Knows names and limits. Does not know batches.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import ConfigError
from workers.config import Count, ModelSettings

DEPLOYMENT = "HctDmgReplica"


class Batching(BaseModel):
    """How a replica fills a batch.

    Attributes:
        max_batch_size: Most segments in one batch.
        batch_wait_timeout_s: Longest wait for a batch to fill.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_size: Count
    batch_wait_timeout_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]


def batching(user_config: object, model: ModelSettings) -> Batching:
    """What a `user_config` asks for; what it does not name is taken from the settings.

    Raises:
        ConfigError: One line: the key, the value, the limit.
    """
    place = f"user_config of {DEPLOYMENT}"
    if not isinstance(user_config, Mapping):
        known = ", ".join(Batching.model_fields)
        raise ConfigError(f"{place}: is {type(user_config).__name__}, it must hold {known}")
    given = {name: getattr(model, name) for name in Batching.model_fields} | dict(user_config)
    try:
        return Batching.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            nearest = difflib.get_close_matches(key, Batching.model_fields, n=1, cutoff=0.0)[0]
            raise ConfigError(f"{place}: {key}: unknown key; did you mean {nearest!r}?") from None
        raise ConfigError(f"{place}: {key}: {problem['msg']} (got {problem['input']!r:.100})") from None

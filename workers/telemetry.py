"""Logs: one line each, to stderr, where Ray keeps them for each replica.

Knows formats. Does not know what is logged; every line about a record names its topic[partition] offset. The
producer's `traceparent` header is no business of the logs: it goes from a record to its event or dead letter.
"""

import logging
import sys

from workers.config import TelemetryConfig

OURS = ("hctdmg", "pipelines", "workers")


class OneLine(logging.Formatter):
    """Writes a record, a traceback included, as one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return super().format(record).replace("\n", "\\n")


def set_up_logging(config: TelemetryConfig) -> None:
    """Show our own log lines, and of the Kafka client only errors; calling it again changes nothing."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in (*OURS, "kafka"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(config.log_level)
    logging.getLogger("kafka").setLevel(max(logging.ERROR, logging.getLevelName(config.log_level)))

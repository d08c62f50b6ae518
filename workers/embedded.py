"""A Kafka-protocol broker inside this process: librdkafka's mock cluster, from confluent-kafka's wheel.

For the demo and quick tests ONLY. It keeps about 5 MB of each partition and nothing across restarts, forgets
offsets that were committed within a transaction, serves plain text on loopback, and knows a part of the
protocol: kafka-python talks to it at `kafka.api_version: "2.3"` (at 2.5 and 1.0 it does not). The wheel's
Python side has no way to create topics on it, so this calls the C functions of rdkafka_mock.h by ctypes.
"""

import ctypes
import ctypes.util
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pipelines.errors import ConfigError

API_VERSION = "2.3"
"""What clients of this broker must set as `kafka.api_version`."""

_PRODUCER = 0  # rd_kafka_type_t: the mock cluster needs a client handle to live in, of any type
_MESSAGE_BYTES = 512


class EmbeddedBroker:
    """One broker on a free loopback port, alive within a `with` block.

    Args:
        topics: Number of partitions of each topic to create.

    Raises:
        ConfigError: confluent-kafka is not installed, or its library can't be used.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._topics = dict(topics)
        self._library = _load_library()

    def __enter__(self) -> Self:
        """Start it."""
        library = self._library
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._client = library.rd_kafka_new(_PRODUCER, _quiet_config(library), message, _MESSAGE_BYTES)
        if not self._client:
            raise ConfigError(f"the embedded broker can't start: {message.value.decode(errors='replace')}")
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, 1)
        # Without this, the first member of a group waits 3 s for others.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        for name, num_partitions in self._topics.items():
            self.create_topic(name, num_partitions)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it; everything it held is gone."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)

    @property
    def bootstrap_servers(self) -> str:
        """Its "host:port"."""
        address: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return address.decode()

    def create_topic(self, name: str, num_partitions: int) -> None:
        """Create a topic.

        Raises:
            ConfigError: It exists already, or the name or the number is impossible.
        """
        code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), num_partitions, 1)
        if code:
            raise ConfigError(
                f"the embedded broker refuses topic {name!r} with {num_partitions} partitions (code {code})"
            )


def _quiet_config(library: ctypes.CDLL) -> int:
    """A client configuration that logs nothing; the client takes ownership of it."""
    config: int = library.rd_kafka_conf_new()
    message = ctypes.create_string_buffer(_MESSAGE_BYTES)
    library.rd_kafka_conf_set(config, b"log_level", b"0", message, _MESSAGE_BYTES)
    return config


def _load_library() -> ctypes.CDLL:
    library = ctypes.CDLL(_library_path())
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "rd_kafka_conf_new": ((), pointer),
        "rd_kafka_conf_set": ((pointer, text, text, text, ctypes.c_size_t), number),
        "rd_kafka_new": ((number, pointer, text, ctypes.c_size_t), pointer),
        "rd_kafka_destroy": ((pointer,), None),
        "rd_kafka_mock_cluster_new": ((pointer, number), pointer),
        "rd_kafka_mock_cluster_destroy": ((pointer,), None),
        "rd_kafka_mock_cluster_bootstraps": ((pointer,), text),
        "rd_kafka_mock_topic_create": ((pointer, text, number, number), number),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": ((pointer, ctypes.c_int32), None),
    }
    for name, (arguments, result) in signatures.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


def _library_path() -> str:
    """The librdkafka beside the wheel (Linux, macOS), else the system's."""
    package = importlib.util.find_spec("confluent_kafka")
    if package is None or package.origin is None:
        raise ConfigError("the embedded broker needs confluent-kafka: pip install 'hctdmg[embedded]'")
    folder = Path(package.origin).parent
    for place in (folder.parent / "confluent_kafka.libs", folder / ".dylibs"):
        for path in sorted(place.glob("librdkafka*")):
            return str(path)
    system = ctypes.util.find_library("rdkafka")
    if system is None:
        raise ConfigError(
            "confluent-kafka's librdkafka is not found: pip install --force-reinstall confluent-kafka"
        )
    return system

"""Has every wait of a producer end, around two faults of kafka-python 3.0.12.

- It asks a transaction's coordinator once the connection to it stands. What waits for that raises when none
  comes about, where its caller expects "no": the request is lost, and whoever asked for it waits for ever.
- It waits without a limit for the offsets and the end of a transaction.

Knows the client's inner parts. Does not know what is sent.
"""

from collections.abc import Callable
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError


def end_waits(producer: KafkaProducer, timeout_s: float) -> None:
    """Mend a producer before it is used.

    Args:
        producer: One that may use transactions.
        timeout_s: Longest wait for one answer of the coordinator; after that the call raises KafkaTimeoutError.
    """
    client = producer._sender._client
    client.await_ready = _saying_no(client.await_ready)
    manager = producer._transaction_manager
    for name in ("send_offsets_to_transaction", "begin_commit", "begin_abort"):
        setattr(manager, name, _bounded(getattr(manager, name), timeout_s))


def _saying_no(await_ready: Callable[..., bool]) -> Callable[..., bool]:
    def is_ready(*args: Any, **options: Any) -> bool:
        try:
            return await_ready(*args, **options)
        except KafkaError:
            return False

    return is_ready


def _bounded(ask: Callable[..., Any], timeout_s: float) -> Callable[..., Any]:
    def ask_with_a_limit(*args: Any) -> Any:
        result = ask(*args)
        wait = result.wait

        def wait_at_most() -> None:
            if not wait(timeout_s * 1000):
                raise KafkaTimeoutError(f"the coordinator has not answered within {timeout_s:g} s")

        result.wait = wait_at_most
        return result

    return ask_with_a_limit

"""Deaths and freezes at an exact moment of the protocol, inside a consumer's process, on order.

An order is an empty file in the folder that `ORDERS` names: "MOMENT@SLOT". The consumer in this slot that
comes to this moment takes it (a rename, so only one does) and is killed or frozen there. What a process that
was frozen goes through after it wakes is written beside it. Knows the worker's publisher and the Kafka client.
"""

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from kafka import KafkaConsumer, KafkaProducer
from kafka.producer.transaction_manager import EndTxnHandler

from workers.publisher import Publisher

ORDERS = "HCTDMG_CHAOS_ORDERS"
"""Environment variable: the folder."""

Moment = Literal["die-before-commit", "die-after-commit", "freeze-before-send", "freeze-before-commit"]

_frozen: list[Moment] = []


def order_file(folder: Path, moment: Moment, slot: int) -> Path:
    """The file that gives the order."""
    return folder / f"{moment}@{slot}"


def taken_by(folder: Path, moment: Moment, slot: int) -> int | None:
    """Process id of who took the order; None while nobody has."""
    taken = list(folder.glob(f"{moment}@{slot}.taken-*"))
    return int(taken[0].name.rpartition("-")[2]) if taken else None


def fate_file(folder: Path, pid: int) -> Path:
    """What became of the batch that a frozen process was publishing: {"error": class or null, "message"}."""
    return folder / f"fate-{pid}.json"


def arm(slot: Callable[[], int]) -> None:
    """Put the moments into this process, whose consumer holds the slot."""
    folder = Path(os.environ[ORDERS])

    def come_to(moment: Moment) -> None:
        order = order_file(folder, moment, slot())
        try:
            order.rename(f"{order}.taken-{os.getpid()}")
        except FileNotFoundError:
            return
        if moment.startswith("freeze"):
            _frozen.append(moment)
            # To this thread: one to the process may be taken by another, and this one would run on meanwhile.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(function: Callable[..., Any], *moments: Moment) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            for moment in moments:
                come_to(moment)
            return function(*args, **options)

        return wrapped

    def after(function: Callable[..., Any], moment: Moment) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            come_to(moment)
            return result

        return wrapped

    def telling_fate(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            error: BaseException | None = None
            try:
                return function(*args, **options)
            except BaseException as raised:
                error = raised
                raise
            finally:
                if _frozen:
                    _tell_fate(folder, error)

        return wrapped

    # Everything is sent and received by the broker, the offsets are in the transaction.
    KafkaProducer.commit_transaction = before(
        KafkaProducer.commit_transaction, "die-before-commit", "freeze-before-commit"
    )
    KafkaProducer.begin_transaction = before(KafkaProducer.begin_transaction, "freeze-before-send")
    # The broker's answer to the commit has come, and nobody here has looked at it.
    EndTxnHandler.handle_response = before(EndTxnHandler.handle_response, "die-after-commit")
    # At least once: the same moments around the commit of offsets.
    KafkaConsumer.commit = after(
        before(KafkaConsumer.commit, "die-before-commit", *get_args(Moment)[2:]), "die-after-commit"
    )
    for name in ("_in_transaction", "_then_commit"):
        setattr(Publisher, name, telling_fate(getattr(Publisher, name)))


def _tell_fate(folder: Path, error: BaseException | None) -> None:
    _frozen.clear()
    cause = error.__cause__ or error if error is not None else None
    told = {"error": None if cause is None else type(cause).__name__, "message": str(cause)}
    target = fate_file(folder, os.getpid())
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(told))
    draft.rename(target)

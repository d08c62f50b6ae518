"""`hctdmg run --from`: the worker once more over what is on the input topic, beside the live one.

A replay has a consumer group of its own, whose committed offsets are set before it starts, and topics of its
own for events and dead letters. Its events have the live ones' ids, as long as the checkpoint is the same.

Knows what must not be mixed with what the live worker does. Does not know how segments are answered.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError, NoError
from kafka.structs import OffsetAndMetadata

from pipelines.errors import ConfigError
from workers.config import KafkaConfig
from workers.config_file import ConfigFile, read_config_file
from workers.kafka import check_broker, client_options
from workers.output import note
from workers.position import Offsets, find_ends, parse_position, resolve_position

NO_EPOCH = -1


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        begin: Where it begins, as `workers.position` reads it; None is no replay.
        group_id: The replay's own consumer group.
        output_topic: For events; None is the live one.
        dead_letter_topic: For dead letters; None is that of the output topic: the live one for the live one,
            else "OUTPUT_TOPIC.dlq".
        allow_duplicates: Whether it may write to topics of the live worker.
        until_end: Whether it ends when it has answered what is there at its start.
    """

    begin: str | None = None
    group_id: str | None = None
    output_topic: str | None = None
    dead_letter_topic: str | None = None
    allow_duplicates: bool = False
    until_end: bool = False


NOTHING = Request()


@dataclass(frozen=True)
class Prepared:
    """What is ready to run.

    Attributes:
        config: The config file, for a replay with its group and topics.
        is_over: Whether it has answered all that it should.
    """

    config: ConfigFile
    is_over: Callable[[], bool]


def prepare_run(
    path: Path | None, overrides: Sequence[str], request: Request, address: str | None
) -> Prepared:
    """What `hctdmg run` shall run: the live worker, or a replay whose group is set to its beginning.

    Args:
        path: Config file, as of `read_config_file`.
        overrides: The user's settings; with the file they describe the live worker.
        request: What is asked for.
        address: Of the Ray cluster; None for a Ray of its own.

    Raises:
        ConfigError: One line, before anything is changed: it would mix with the live worker, the position does
            not exist, or the group is in use.
    """
    live = read_config_file(path, overrides)
    if request.begin is None:
        if request != NOTHING:
            raise ConfigError(
                "--group, --output-topic, --dead-letter-topic, --allow-duplicates and --until-end belong to "
                "--from: say where to begin, or use --set kafka.NAME=VALUE"
            )
        return Prepared(live, lambda: False)
    if address is not None:
        raise ConfigError("--from runs on a Ray of its own, lest it replace the live worker: omit --address")
    position = parse_position(request.begin)
    own = _own_names(live.settings.kafka, request)
    set_here = [f"kafka.{name}={json.dumps(value)}" for name, value in own.items()]
    config = read_config_file(path, [*overrides, *set_here])
    kafka = config.settings.kafka
    check_broker(kafka)
    begins = resolve_position(kafka, position)
    ends = find_ends(kafka, begins)
    set_group_offsets(kafka, begins)
    num_offsets = sum(end - begins[partition] for partition, end in ends.items())
    note(
        f"replaying {num_offsets} offsets of {kafka.input_topic} from {_named(begins)} as group {kafka.group_id}: "
        f"events to {kafka.output_topic}, dead letters to {kafka.dead_letter_topic}"
    )
    return Prepared(config, has_committed(kafka, ends) if request.until_end else lambda: False)


def _own_names(live: KafkaConfig, request: Request) -> dict[str, str]:
    """Settings of the replay that differ from the live worker's."""
    if request.group_id is None or request.group_id == live.group_id:
        raise ConfigError(
            f"--from needs --group NAME, another than the live worker's {live.group_id!r}: a replay in that "
            "group would move what the live worker has committed"
        )
    output = request.output_topic or live.output_topic
    its_letters = live.dead_letter_topic if output == live.output_topic else f"{output}.dlq"
    letters = request.dead_letter_topic or its_letters
    shared = {output, letters} & {live.output_topic, live.dead_letter_topic}
    if shared and not request.allow_duplicates:
        raise ConfigError(
            f"--from would write to the live worker's {min(shared)!r} what it has written before: name another "
            "with --output-topic and --dead-letter-topic, or say --allow-duplicates"
        )
    if len({live.input_topic, output, letters}) < 3:
        raise ConfigError(
            f"--output-topic {output}, --dead-letter-topic {letters}: both must differ, and from "
            f"kafka.input_topic = {live.input_topic}"
        )
    return {
        "group_id": request.group_id,
        "output_topic": output,
        "dead_letter_topic": letters,
        # Should retention delete the first messages before they are read, it goes on with the oldest.
        "auto_offset_reset": "earliest",
    }


def set_group_offsets(kafka: KafkaConfig, offsets: Offsets) -> None:
    """Have the group begin there; the broker takes it only from a group without members.

    Raises:
        ConfigError: The group is in use, or the broker refuses for another reason.
    """
    wanted = {
        TopicPartition(kafka.input_topic, number): OffsetAndMetadata(offset, "", NO_EPOCH)
        for number, offset in offsets.items()
    }
    admin = KafkaAdminClient(**client_options(kafka))
    try:
        answers = set(admin.alter_group_offsets(kafka.group_id, wanted).values()) - {NoError}
    except KafkaError as error:
        answers = {type(error)}
    finally:
        admin.close()
    if answers:
        names = ", ".join(sorted(error.__name__ for error in answers))
        raise ConfigError(
            f"group {kafka.group_id!r} can't be set to the replay's beginning ({names}): it is in use; stop its "
            "workers (one that was killed leaves after kafka.session_timeout_s), or name another --group"
        )


def has_committed(kafka: KafkaConfig, ends: Offsets) -> Callable[[], bool]:
    """A function that tells whether the group has committed these offsets."""
    wanted = {TopicPartition(kafka.input_topic, number): end for number, end in ends.items()}

    def ask() -> bool:
        try:
            admin = KafkaAdminClient(**client_options(kafka))
        except KafkaError:
            return False  # the broker is away for now
        try:
            found = admin.list_group_offsets({kafka.group_id: list(wanted)})[kafka.group_id]
        except KafkaError:
            return False
        finally:
            admin.close()
        return all(found[place].offset >= end for place, end in wanted.items())

    return ask


def _named(offsets: Offsets) -> str:
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(offsets.items()))

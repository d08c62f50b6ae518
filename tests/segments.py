"""Cheap real segments for the worker's input topic, and its config on a test's topics."""

import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.segment import SEGMENT_HEADER
from tests.topics import Message, Topics
from workers import config_file
from workers.config_file import SHIPPED, ConfigFile, read_config_file


def tone(seconds: float = 0.3) -> bytes:
    """A wav of a tone: real media that cost little."""
    samples = (9000 * np.sin(np.arange(int(16_000 * seconds)) * 0.08)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(samples.tobytes())
    return file.getvalue()


TONE = tone()


def inline(partition: int, segment_id: str, sequence: int = 0, media: bytes = TONE) -> Message:
    stream = f"stream-{partition}"
    fields = {"stream_id": stream, "segment_id": segment_id, "sequence": sequence}
    headers = (
        ("content-type", b"audio/wav"),
        (SEGMENT_HEADER, json.dumps(fields).encode()),
        ("traceparent", f"00-{sequence:032x}-01".encode()),
    )
    return Message(partition, stream.encode(), media, headers)


def by_reference(partition: int, segment_id: str, uri: str) -> Message:
    fields = {"stream_id": f"stream-{partition}", "segment_id": segment_id, "uri": uri}
    return Message(partition, b"key", json.dumps(fields).encode(), (("content-type", b"application/json"),))


def configured(
    topics: Topics, folder: Path, settings: dict[str, Any], num_extractors: int | None = None
) -> ConfigFile:
    """The shipped config on these topics, of the application that `config_file.IMPORT_PATH` names.

    Args:
        topics: The topics.
        folder: Where its file goes.
        settings: By "group.name".
        num_extractors: Other than the shipped number.
    """
    document = yaml.safe_load(SHIPPED.read_text())
    (application,) = document["applications"]
    application["import_path"] = config_file.IMPORT_PATH
    if num_extractors is not None:
        (extractor,) = (one for one in application["deployments"] if one["name"] == "FeatureExtractor")
        extractor["num_replicas"] = num_extractors
    path = folder / "ray_config.yaml"
    path.write_text(yaml.safe_dump(document))
    names = ("bootstrap_servers", "input_topic", "output_topic", "dead_letter_topic", "group_id", "delivery")
    ours = {f"kafka.{name}": getattr(topics.config, name) for name in names}
    return read_config_file(
        path, [f"{key}={json.dumps(value)}" for key, value in {**ours, **settings}.items()]
    )

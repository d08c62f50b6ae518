"""The JSON Schemas of the two messages, generated from their models and committed as package data.

Knows how a model becomes a schema. Does not know what any field means: the models' docstrings do.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, JsonValue

from pipelines.events import AffectEvent
from pipelines.segment import Segment

FOLDER = Path(__file__).parent

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_texts() -> dict[str, str]:
    """Text of each schema file by its name, as the models have it now."""
    event = json_schema(
        AffectEvent, "serialization", "Affect event 1.0: the value of a message on affect.events"
    )
    segment = json_schema(
        Segment,
        "validation",
        "Segment 1.0: the value of a message on video.segments, inline its header hctdmg-segment",
    )
    # A later 1.x may add fields to the event; a reader with this file must not stumble over them.
    schemas = {"affect-event-1.0.json": _tolerant(event), "segment-1.0.json": segment}
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def load_schema(name: str) -> dict[str, Any]:
    """A committed schema, for example "affect-event-1.0.json"."""
    schema: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return schema


def drifted() -> list[str]:
    """Names of the committed files that differ from what the models say."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    return sorted(name for name, text in schema_texts().items() if committed.get(name) != text)


def json_schema(
    model: type[BaseModel], mode: Literal["validation", "serialization"], title: str
) -> dict[str, JsonValue]:
    """A model's JSON Schema, each property described by its line in the docstring's "Attributes" section.

    Args:
        model: With a Google-style docstring.
        mode: "validation" for what a reader of ours accepts, "serialization" for what we write.
        title: Of the whole schema.
    """
    schema = _described(model.model_json_schema(mode=mode))
    assert isinstance(schema, dict)
    return {"$schema": DIALECT, "title": title, **schema}


def _described(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_described(item) for item in value]
    if not isinstance(value, dict):
        return value
    # Titles that pydantic makes out of names only repeat the names.
    inner = {
        key: _described(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))
    }
    properties, docstring = inner.get("properties"), inner.get("description")
    if isinstance(properties, dict) and isinstance(docstring, str):
        inner["description"], attributes = split_docstring(docstring)
        for name, text in attributes.items():
            field = properties.get(name)
            if isinstance(field, dict):
                field["description"] = text
    return inner


def split_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """The summary, and each attribute's description on one line."""
    summary, _, section = docstring.partition("Attributes:\n")
    attributes: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        entry = re.match(r" {4}(\w+): (.*)", line)
        if entry:
            name = entry[1]
            attributes[name] = entry[2]
        elif line.startswith(" " * 8) and name:
            attributes[name] += " " + line.strip()
    return " ".join(summary.split()), attributes


def _tolerant(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_tolerant(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _tolerant(item)
        for key, item in value.items()
        if not (key == "additionalProperties" and item is False)
    }

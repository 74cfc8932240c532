from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core import model
from services.state import records
from services.state.codec import (
    FORMAT,
    UnreadableValue,
    decode,
    decode_event,
    decode_task_key,
    encode,
    encode_event,
    encode_task_key,
)
from tests.support.state import make_record, make_stage

STORED = (
    records.ApplicationRecord,
    records.JobRecord,
    records.JobStatus,
    records.ProfileRecord,
    records.EngineRecord,
    model.StageSnapshot,
    model.PolicySettings,
)
UPDATES = (records.JobUpdate, records.StageUpdate, records.TaskUpdate)

#: Values of format 1 with their bytes, by class; see `test_values_of_the_first_format_are_still_read`.
FORMAT_1 = Path(__file__).with_name("format_1.json")


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value that a field with this annotation may have."""
    if dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        return st.builds(
            annotation, **{field.name: values(hints[field.name]) for field in dataclasses.fields(annotation)}
        )
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is types.UnionType:
        return st.one_of(*map(values, arguments))
    if origin is tuple and arguments[-1] is ...:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    if annotation is int:
        return st.integers(-(2**63), 2**63 - 1)
    if annotation is float:
        return st.floats(allow_nan=False)
    return st.from_type(annotation)


def sample(annotation: Any, name: str) -> Any:
    """One value that shows each field: nothing in it is a default."""
    if dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        fields = {field.name: sample(hints[field.name], field.name) for field in dataclasses.fields(annotation)}
        return annotation(**fields)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is types.UnionType:
        return sample(arguments[0], name)
    if origin is tuple:
        return (sample(arguments[0], name),)
    if origin is dict:
        return {sample(arguments[0], name): sample(arguments[1], name)}
    if isinstance(annotation, type) and issubclass(annotation, model.StrEnum):
        return list(annotation)[-1]
    return {str: name, bytes: name.encode(), int: len(name), float: len(name) + 0.5, bool: True}[annotation]


@given(st.one_of(*map(values, STORED)))
def test_what_was_encoded_is_decoded(value: Any) -> None:
    assert decode(type(value), encode(value)) == value


@given(sequence=st.integers(1), at=st.floats(allow_nan=False), update=st.one_of(*map(values, UPDATES)))
def test_an_event_comes_back_with_the_kind_of_its_update(sequence: int, at: float, update: records.Update) -> None:
    event = records.JobEvent(sequence=sequence, at=at, update=update)
    assert decode_event(sequence, encode_event(at, update)) == event


@given(st.tuples(st.text(), st.integers(0)))
def test_a_task_key_comes_back(task: records.TaskKey) -> None:
    assert decode_task_key(encode_task_key(task).encode()) == task


@pytest.mark.parametrize("kind", STORED + UPDATES, ids=lambda kind: kind.__name__)
def test_values_of_the_first_format_are_still_read(kind: type) -> None:
    """Fails when a field was put before others or changed its meaning.

    A new field at the end of its class keeps the old bytes readable: it then has its default. For a change that is
    meant and harmless, such as before the first release, write the file anew: `python -m <this module>`.
    """
    golden = json.loads(FORMAT_1.read_text())[kind.__name__]
    assert _holds(plain(decode(kind, bytes.fromhex(golden["bytes"]))), golden["value"])


def plain(value: Any) -> Any:
    """The value as JSON shows it."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [plain(content) for content in value]
    return value.decode() if isinstance(value, bytes) else value


def _holds(read: Any, stored: Any) -> bool:
    """Whether everything that was stored was read; what was read may have further fields."""
    if isinstance(stored, dict):
        return all(name in read and _holds(read[name], content) for name, content in stored.items())
    if isinstance(stored, list):
        return len(read) == len(stored) and all(map(_holds, read, stored))
    return bool(read == stored)


def test_an_unknown_format_is_refused_with_what_to_do() -> None:
    data = bytes([FORMAT + 1]) + encode(make_record())[1:]
    with pytest.raises(UnreadableValue, match=r"format 2, but this version reads format 1: run the version"):
        decode(records.JobRecord, data)
    with pytest.raises(UnreadableValue, match="format 2"):
        decode_event(1, data)


@pytest.mark.parametrize("damaged", [b"", bytes([FORMAT]), bytes([FORMAT]) + b"\xff\xff", encode(make_record())[:-3]])
def test_damaged_data_is_refused(damaged: bytes) -> None:
    with pytest.raises(UnreadableValue):
        decode(records.JobRecord, damaged)
    with pytest.raises(UnreadableValue):
        decode_event(1, damaged)


def test_an_event_with_an_unknown_kind_is_refused() -> None:
    data = bytearray(encode_event(1.0, records.JobUpdate(state=model.JobState.RUNNING)))
    assert data[2] == 0  # the tag
    data[2] = 9
    with pytest.raises(UnreadableValue):
        decode_event(1, bytes(data))


def test_a_value_without_its_last_fields_reads_with_their_defaults() -> None:
    """So a new field may be added at the end of a class."""
    encoded = encode(records.JobStatus(state=model.JobState.RUNNING))
    count = len(dataclasses.fields(records.JobStatus))
    assert encoded[1] == 0x90 + count  # a MessagePack array; its last element is one byte, a small number
    shorter = encoded[:1] + bytes([0x90 + count - 1]) + encoded[2:-1]
    assert decode(records.JobStatus, shorter) == records.JobStatus(state=model.JobState.RUNNING)


def test_a_field_that_a_newer_program_added_is_skipped() -> None:
    encoded = encode(records.JobStatus(state=model.JobState.RUNNING, cached_tokens=4))
    longer = encoded[:1] + bytes([encoded[1] + 1]) + encoded[2:] + b"\x07"
    assert decode(records.JobStatus, longer).cached_tokens == 4


def test_a_stage_with_one_task_takes_less_than_300_bytes() -> None:
    task = model.TaskSnapshot(spec=model.TaskSpec(prompt_tokens=812), executor_id="executor-1", started_at=1.7e9)
    assert len(encode(make_stage("refine/2/test", tasks=(task,)))) < 300


if __name__ == "__main__":
    samples = {kind.__name__: sample(kind, kind.__name__) for kind in STORED + UPDATES}
    golden = {name: {"bytes": encode(value).hex(), "value": plain(value)} for name, value in samples.items()}
    FORMAT_1.write_text(json.dumps(golden, indent=2) + "\n")

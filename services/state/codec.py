"""How values become bytes: one format byte, then MessagePack with fields by position.

Positions keep a value a third of the size that field names would make it. The price: a class of `records` or of the
core's `model` may only grow at its end, by a field with a default (a test holds values of the first format against
this). Then old values read as if the field had its default, and old programs skip the new field. Whatever else changes
needs a new format byte.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from typing import Any, TypeVar

import msgspec

from services.state.port import StateError
from services.state.records import JobEvent, JobUpdate, StageUpdate, TaskKey, TaskUpdate, Update

T = TypeVar("T")

FORMAT = 1
_PREFIX = bytes([FORMAT])
_UPDATE_KINDS: tuple[type[Update], ...] = (JobUpdate, StageUpdate, TaskUpdate)  #: the index is the tag: append only

_encoder = msgspec.msgpack.Encoder()


class UnreadableValue(StateError):
    """A stored value is of a format that this version does not know, or is damaged."""


def encode(value: Any) -> bytes:
    """Returns the bytes of a dataclass of `records` or `model`."""
    return _PREFIX + _encoder.encode(_positional(value))


def decode(kind: type[T], data: bytes) -> T:
    """Returns the value that `encode` was given. Raises UnreadableValue."""
    return _from_positional(kind, _body(data))


def encode_event(at: float, update: Update) -> bytes:
    """Returns the bytes of a change; its sequence is kept beside them, as the store assigns it."""
    tag = _UPDATE_KINDS.index(type(update))
    return _PREFIX + _encoder.encode((tag, float(at), _positional(update)))


def decode_event(sequence: int, data: bytes) -> JobEvent:
    """Returns the change that `encode_event` was given. Raises UnreadableValue."""
    try:
        tag, at, body = _event_decoder.decode(_body(data))
        kind = _UPDATE_KINDS[tag]
    except (msgspec.DecodeError, IndexError) as error:
        raise UnreadableValue(f"a stored event cannot be read: {error}") from error
    return JobEvent(sequence=sequence, at=at, update=_from_positional(kind, bytes(body)))


def encode_task_key(task: TaskKey) -> str:
    """Returns the field name of a task's payload or result; unambiguous whatever the stage id holds."""
    stage_id, index = task
    return f"{index}:{stage_id}"


def decode_task_key(field: bytes) -> TaskKey:
    index, _, stage_id = field.decode().partition(":")
    return stage_id, int(index)


_event_decoder = msgspec.msgpack.Decoder(tuple[int, float, msgspec.Raw])


def _body(data: bytes) -> bytes:
    if not data.startswith(_PREFIX):
        found = f"format {data[0]}" if data else "no format"
        raise UnreadableValue(
            f"a stored value has {found}, but this version reads format {FORMAT}: "
            "run the version of LLMSched that wrote the data, or a newer one"
        )
    return data[1:]


def _positional(value: Any) -> Any:
    kind: Any = type(value)
    return msgspec.convert(value, _mirror(kind), from_attributes=True)


def _from_positional(kind: type[T], body: bytes) -> T:
    key: Any = kind
    try:
        return msgspec.convert(_decoder(key).decode(body), kind, from_attributes=True)
    except msgspec.DecodeError as error:  # includes ValidationError
        raise UnreadableValue(f"a stored {kind.__name__} cannot be read: {error}") from error


@cache
def _decoder(kind: type) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(_mirror(kind))


@cache
def _mirror(annotation: Any) -> Any:
    """The annotation with every dataclass replaced by a msgspec.Struct that has the same fields, by position.

    msgspec writes dataclasses with field names only; derived mirrors write positions, and cannot drift.
    """
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return _mirror_class(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        return annotation
    mirrored = tuple(argument if argument is ... else _mirror(argument) for argument in arguments)
    return typing.Union[mirrored] if origin is types.UnionType else origin[mirrored]  # noqa: UP007


def _mirror_class(kind: type) -> type[msgspec.Struct]:
    annotations = typing.get_type_hints(kind)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(kind):
        default: Any = msgspec.NODEFAULT
        if field.default_factory is not dataclasses.MISSING:
            default = msgspec.field(default_factory=field.default_factory)
        elif field.default is not dataclasses.MISSING:
            default = field.default
        fields.append((field.name, _mirror(annotations[field.name]), default))
    return msgspec.defstruct(
        kind.__name__,
        [item[:2] if item[2] is msgspec.NODEFAULT else item for item in fields],
        array_like=True,
        kw_only=True,
    )

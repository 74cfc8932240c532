"""Values of the engine port."""

import pytest

from services.executors.llm.engine import (
    ChatMessage,
    EngineError,
    EngineProtocolError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    GenerateRequest,
    Sampling,
)

HELLO = (ChatMessage(role="user", content="hello"),)


def test_a_request_has_a_prompt_or_messages() -> None:
    GenerateRequest(rid="a", prompt="")
    GenerateRequest(rid="a", messages=HELLO)
    with pytest.raises(ValueError, match="either"):
        GenerateRequest(rid="a")
    with pytest.raises(ValueError, match="either"):
        GenerateRequest(rid="a", prompt="hello", messages=HELLO)


@pytest.mark.parametrize("rid", ["", "job#1"])
def test_a_request_id_leaves_the_end_mark_to_the_adapter(rid: str) -> None:
    with pytest.raises(ValueError, match="rid"):
        GenerateRequest(rid=rid, prompt="hello")


def test_a_request_does_not_ask_for_less_than_a_token_at_a_time() -> None:
    with pytest.raises(ValueError, match="interval must be at least 1"):
        GenerateRequest(rid="a", prompt="hello", interval=0)


def test_a_request_has_an_end() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Sampling(max_tokens=0)


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [(EngineUnavailable, True), (EngineTimeout, True), (EngineRejected, False), (EngineProtocolError, False)],
)
def test_every_error_says_whether_to_try_again(kind: type[EngineError], retryable: bool) -> None:
    error = kind("because", status=418)
    assert (error.retryable, error.status, str(error)) == (retryable, 418, "because")

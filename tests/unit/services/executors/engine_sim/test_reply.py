"""What the engine without a model answers."""

import itertools
import json
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executors.engine_sim.reply import (
    Question,
    Reply,
    ScriptedFailure,
    count_tokens,
    decode,
    encode,
    reply_to,
    scripted_failure,
)

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def reply(prompt: str = "hello", *, seed: int = 0, mean_fraction: float = 0.5, **question: Any) -> Reply:
    asked = Question(prompt=prompt, **({"max_tokens": 100} | question))
    return reply_to(asked, seed=seed, mean_fraction=mean_fraction)


class TestMadeUpText:
    def test_follows_from_seed_and_prompt(self) -> None:
        assert reply() == reply()
        assert reply().text != reply(seed=1).text
        assert reply().text != reply("hello!").text

    def test_follows_from_the_request_s_own_seed_too(self) -> None:
        assert (
            reply(seed=0).text
            != reply_to(Question(prompt="hello", max_tokens=100, seed=5), seed=0, mean_fraction=0.5).text
        )

    def test_has_as_many_tokens_as_it_says(self) -> None:
        for number in range(50):
            answer = reply(f"prompt {number}")
            assert count_tokens(answer.text) == answer.tokens

    def test_mean_length_is_the_wanted_fraction(self) -> None:
        answers = [reply(f"prompt {number}", max_tokens=10_000, mean_fraction=0.01) for number in range(400)]
        assert 85 < mean(answer.tokens for answer in answers) < 115

    def test_a_length_that_does_not_fit_is_cut_and_says_so(self) -> None:
        answers = [reply(f"prompt {number}", max_tokens=20, mean_fraction=1.0) for number in range(100)]
        assert {answer.finish_reason for answer in answers} == {"stop", "length"}
        assert all(answer.tokens == 20 for answer in answers if answer.finish_reason == "length")
        assert max(answer.tokens for answer in answers) == 20

    def test_ignore_eos_gives_exactly_what_is_allowed(self) -> None:
        answer = reply(max_tokens=77, ignore_eos=True)
        assert (answer.tokens, answer.finish_reason) == (77, "length")

    def test_the_text_so_far_grows_to_the_whole(self) -> None:
        answer = reply(max_tokens=50, ignore_eos=True)
        parts = [answer.up_to(tokens) for tokens in range(51)]
        assert parts[0] == ""
        assert parts[-1] == answer.text
        assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(parts))

    def test_ends_before_a_stop_string(self) -> None:
        answer = reply('[[reply: "one two three four"]]', stop=("never", " three"))
        assert (answer.text, answer.finish_reason, answer.tokens) == ("one two", "stop", 1)


class TestSchema:
    def test_the_text_is_json(self) -> None:
        answer = reply(json_schema=SCHEMA)
        assert list(json.loads(answer.text)) == ["name"]
        assert answer.finish_reason == "stop"
        assert answer.tokens == count_tokens(answer.text)

    def test_too_few_tokens_cut_it_as_they_cut_a_real_one(self) -> None:
        answer = reply(json_schema=SCHEMA, max_tokens=2)
        assert (answer.tokens, answer.finish_reason) == (2, "length")


class TestScript:
    def test_reply_is_given_exactly(self) -> None:
        text = 'He said "no",\nthen left. ü'
        answer = reply(f"Do it.\n[[reply: {json.dumps(text)}]]\nThanks")
        assert (answer.text, answer.finish_reason) == (text, "stop")

    def test_the_last_line_counts(self) -> None:
        assert reply('[[reply: "one"]]\n[[reply: "two"]]').text == "two"

    def test_a_line_of_a_chat_message_counts(self) -> None:
        assert reply('<|im_start|>user\n[[reply: "yes"]]<|im_end|>').text == "yes"

    def test_talk_about_a_script_is_not_a_script(self) -> None:
        assert reply('Never write [[reply: "one"]] inside a line').text != "one"

    def test_tokens_sets_the_length(self) -> None:
        assert reply("[[tokens: 42]]").tokens == 42
        scripted = reply('[[tokens: 42]]\n[[reply: "short"]]')
        assert (scripted.text, scripted.tokens) == ("short", 42)

    def test_more_tokens_than_allowed_are_cut(self) -> None:
        answer = reply("[[tokens: 400]]")
        assert (answer.tokens, answer.finish_reason) == (100, "length")

    @pytest.mark.parametrize(
        ("prompt", "failure"),
        [
            ("nothing", None),
            ("[[fail: 500]]", ScriptedFailure(status=500, times=None)),
            ("please\n[[fail: 503 x2]]", ScriptedFailure(status=503, times=2)),
            ("[[fail: 200]]", None),
        ],
    )
    def test_failures(self, prompt: str, failure: ScriptedFailure | None) -> None:
        assert scripted_failure(prompt) == failure


class TestTokens:
    @given(st.text())
    def test_can_be_turned_back(self, text: str) -> None:
        assert decode(encode(text)) == text
        assert count_tokens(text) == max(1, len(encode(text)))

    @pytest.mark.parametrize("tokens", [[0], [5], [2**40], [-1]])
    def test_foreign_ones_are_refused(self, tokens: list[int]) -> None:
        with pytest.raises(ValueError, match="tokenizer"):
            decode(tokens)

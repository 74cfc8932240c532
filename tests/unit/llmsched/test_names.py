"""Short and full names."""

from __future__ import annotations

import pytest

from llmsched.errors import InvalidRequestError
from llmsched.names import application_name, job_id, job_name, split_application


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hello", "applications/hello"),
        ("hello@2", "applications/hello/versions/2"),
        ("hello/versions/2", "applications/hello/versions/2"),
        ("applications/hello", "applications/hello"),
        ("applications/code-generation/versions/12", "applications/code-generation/versions/12"),
    ],
)
def test_applications(text: str, name: str) -> None:
    assert application_name(text) == name


def test_a_version_given_apart_yields_to_one_in_the_name() -> None:
    assert application_name("hello", 3) == "applications/hello/versions/3"
    assert application_name("hello@2", 3) == "applications/hello/versions/2"


@pytest.mark.parametrize("text", ["", "Hello", "hello@", "hello@0", "hello@x", "jobs/1", "a b", "hello\n"])
def test_what_is_no_application(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="does not name an application"):
        application_name(text)


def test_jobs() -> None:
    assert job_name("abc") == job_name("jobs/abc") == "jobs/abc"
    assert job_id("jobs/abc") == "abc"


@pytest.mark.parametrize("text", ["", "jobs/", "jobs/a/b", "a b", "applications/hello"])
def test_what_is_no_job(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="does not name a job"):
        job_name(text)


def test_split() -> None:
    assert split_application("applications/hello/versions/2") == ("hello", 2)
    assert split_application("applications/hello") == ("hello", 0)

"""What holds for every application that ships."""

import json
from itertools import islice
from random import Random

import pytest

from llmsched.applications.catalogue import REFERENCE_APPLICATIONS, ReferenceApplication
from services.planner.core import validate_input
from tests.support.applications import GARBAGE, try_out

#: Its tool starts a sandbox; the tests on a cluster run it.
NEEDS_SANDBOX = ("code-generation",)

every = pytest.mark.parametrize("app", REFERENCE_APPLICATIONS, ids=lambda app: app.name)


@every
def test_it_is_named_as_in_its_file_and_takes_its_own_inputs(app: ReferenceApplication) -> None:
    spec = app.load()
    assert spec.application == app.name
    drawn = list(islice(app.inputs(Random(3)), 20))
    for each in drawn:
        assert not validate_input(spec, json.loads(json.dumps(each)))
    assert drawn == list(islice(app.inputs(Random(3)), 20))
    assert len({json.dumps(each) for each in drawn}) > 5


@every
def test_it_ends_whatever_the_models_answer(app: ReferenceApplication) -> None:
    if app.name in NEEDS_SANDBOX:
        pytest.skip("needs a sandbox")
    job_input = app.make_input(Random(1))
    for text in GARBAGE:
        run = try_out(app.name, job_input, text)
        assert run.failure is None, text
        assert run.output is not None

from __future__ import annotations

from typing import Any

import pytest

from llmsched.application.template_filters import Meter
from llmsched.application.templates import BAD_TEMPLATE, RUNTIME_ERRORS, Reference, Template, line_of
from llmsched.application.values import (
    MAX_DEPTH,
    InvalidJsonOutput,
    LlmText,
    Nothing,
    TooCostly,
    TooLarge,
    plain,
    text,
)
from llmsched.values import MAX_DEPTH as WIRE_DEPTH


def render(source: str, *, steps: int = 100_000, characters: int = 10_000, **variables: Any) -> Any:
    return Template(source).evaluate(variables, Meter(steps=steps, characters=characters))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ x }}", [1, "two"]),
        (" {{ x }} \n", [1, "two"]),
        ("{{ x[0] }}{# a comment #}", 1),
        ("{{- x[1] -}}", "two"),
        ("{{ x[5:] }}", []),
        ("{{ 1 if x else 2 }}", 1),
        ("{{ {'a': x}.a[0] + 1 }}", 2),
    ],
)
def test_one_expression_keeps_the_type_of_its_value(source: str, value: object) -> None:
    assert Template(source).is_expression
    assert render(source, x=[1, "two"]) == value


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("<{{ x }}>", '<[1, "two"]>'),
        ("{{ x[0] }}{{ x[1] }}", "1two"),
        ("{{ true }} {{ none }} {{ 1.5 }} {{ {'é': none} }}", 'true null 1.5 {"é": null}'),
        ("{% for y in x %}{{ loop.index }}={{ y }}{{ ', ' if not loop.last }}{% endfor %}", "1=1, 2=two"),
        ("{% if x|length > 1 %}\n  many\n{% else %}\n  one\n{% endif %}\nend\n", "  many\nend\n"),
        ("{% set n = x|length %}{{ n * 2 }}", "4"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("a{{ x[0] ~ '-' ~ x[1] }}", "a1-two"),
        ("{{ x|tojson(indent=1) }}.", '[\n 1,\n "two"\n].'),
        ("{{ 'q'|tojson }}.", '"q".'),
        ("{{ ', '.join(x) }}.", "1, two."),
        ("{{ x|join('/') }}.", "1/two."),
        ("{{ [{'n': 1}, {'n': 2}]|map(attribute='n')|sum }}.", "3."),
        ("{{ [{'n': 1}, {'n': 2}]|join('+', attribute='n') }}.", "1+2."),
        ("{{ 'aXbX'.replace('X', '--') }}{{ 'aXb'|replace('X', '') }}", "a--b--ab"),
        ("{{ 'a\nb'|indent(2) }}{{ 'a\n\nb'|indent(1, first=true, blank=true) }}.", "a\n  b a\n \n b."),
        ("{{ 2.567|round(1) }} {{ 7 % 4 }} {{ 'a' + 'b' }} {{ -x[0] }}", "2.6 3 ab -1"),
        ("{{ x|first }}{{ x|last|upper }}{{ 'b a'.split()|sort|first }}", "1TWOa"),
        ("{% for y in x|reverse if y != 1 %}{{ y }}{% endfor %}", "two"),
        ("{{ x|string|length }}", "10"),
    ],
)
def test_text_around_expressions_makes_a_text(source: str, written: str) -> None:
    assert text(render(source, x=[1, "two"])) == written


@pytest.mark.parametrize(
    "source",
    [
        "{% macro f() %}{% endmacro %}",
        "{% call f() %}{% endcall %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% extends 'x' %}",
        "{% block b %}{% endblock %}",
        "{% filter upper %}x{% endfilter %}",
        "{% set x %}y{% endset %}",
        "{% set ns.x = 1 %}",
        "{% set a, b = 1, 2 %}",
        "{% for x in y recursive %}{% endfor %}",
        "{% autoescape true %}{% endautoescape %}",
        "{% with %}{% endwith %}",
        "{% do x %}",
        "{{ 2 ** 1000 }}",
        "{{ x|attr('y') }}",
        "{{ x|random }}",
        "{{ x|batch(3) }}",
        "{{ x|center(9) }}",
        "{{ x|xmlattr }}",
        "{{ x is callable }}",
        "{{ x|$steps }}",
        "{{ $meter }}",
        "{{ x",
        "{% if x %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% for x in y %}" * 30 + "{% endfor %}" * 30,
    ],
)
def test_what_is_not_in_the_language_is_refused_before_anything_runs(source: str) -> None:
    with pytest.raises(BAD_TEMPLATE):
        Template(source)


ESCAPES = [
    "{{ x.__class__ }}",
    "{{ x['__class__'] }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ [].__class__ }}",
    "{{ x.items.__globals__ }}",
    "{{ [x]|map(attribute='__class__')|list }}",
    "{{ [x]|map('attr', '__class__')|list }}",
    "{{ [x]|selectattr('__class__')|list }}",
    "{{ [x]|groupby('__class__') }}",
    "{{ [x]|sort(attribute='__class__.__name__') }}",
    "{{ '{0.__class__}'.format(x) }}",
    "{{ '{0.__class__}'.format_map(x) }}",
    "{{ '%s' % x }}",
    "{{ range.__globals__ }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ loop.__class__ }}",
    "{% for y in x %}{{ loop._iterable }}{% endfor %}",
    "{{ cycler }}",
    "{{ lipsum() }}",
    "{{ joiner }}",
    "{{ namespace() }}",
    "{{ environment }}",
    "{{ x.pop('a') }}",
    "{{ x.update({}) }}",
    "{{ x.clear() }}",
    "{{ y.append(1) }}",
    "{{ y.sort() }}",
    "{{ x.get.__self__ }}",
    "{{ t.stage }}",
    "{{ t.schema }}",
    "{{ t.encode() }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_nothing_of_python_can_be_reached_or_changed(source: str) -> None:
    x, y = {"a": 1}, [3, 1]
    with pytest.raises((*BAD_TEMPLATE, *RUNTIME_ERRORS)):
        plain(render(source, x=x, y=y, t=LlmText("t", stage="draft")))
    assert (x, y) == ({"a": 1}, [3, 1])


@pytest.mark.parametrize("source", ["{{ range }}", "{{ self }}", "{{ x.keys }}", "{{ x.get }}"])
def test_what_is_no_json_cannot_leave_a_template(source: str) -> None:
    with pytest.raises(TypeError, match="is not a JSON value"):
        plain(render(source, x={}))


DOUBLED = "{% set a = [1, 2] %}" + "{% set a = [a, a] %}" * 60
EXPENSIVE = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(500) %}{{ ''.join(x) }}{{ x|join }}{{ x|length }}{% endfor %}",
    DOUBLED + "{{ a == a }}",
    DOUBLED + "{{ a }}",
    "{% for a in [[x, x]] %}{% for b in [[a, a, a]] %}{{ [b, b, b, b] }}{% endfor %}{% endfor %}",
    "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a ~ a %}" * 60,
    "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a + a %}" * 60,
    "{% set a = [1] %}" + "{% set a = a + a %}" * 60,
    "{% set a = 10 %}" + "{% set a = a * a %}" * 60,
    "{{ 'a'.replace('a', 'b' * 99999999) }}",
    "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a.replace('x', a) %}" * 9,
    "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a|replace('x', a) %}" * 9,
    "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a.join([a, a, a, a, a, a, a, a, a, a]) %}" * 20,
    "{{ range(100000)|list|join('" + "x" * 1000 + "') }}",
    "{{ 'a'|indent(999999999) }}",
    "{{ {}|tojson(indent=999999999) }}",
    "{{ 'a\\n' * 9999999 }}",
    "{% for i in range(99999) %}xxxxxxxxxxxxx{% endfor %}",
]


@pytest.mark.parametrize("source", EXPENSIVE)
def test_what_a_template_may_spend_is_bounded(source: str) -> None:
    with pytest.raises((TooCostly, TooLarge, OverflowError, TypeError, ValueError)):
        plain(render(source, x=list(range(1000))))


def test_numbers_stay_in_the_range_of_json() -> None:
    for source in ("{{ 9007199254740992 + 1 }}", "{{ 'inf'|float }}", "{{ 9007199254740993 }}"):
        with pytest.raises((OverflowError, TypeError)):
            plain(render(source))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ nobody }}!", "'nobody' is undefined"),
        ("{{ x.b }}!", "there is no 'b' among 'a'"),
        ("{{ {}.b }}!", "there is no 'b' in an empty object"),
        ("{{ x.a.b }}!", "a number has no 'b'"),
        ("{{ none.b }}!", "null has no 'b'"),
        ("{{ [1][3] }}!", "a list has no 3"),
        ("{{ nobody.b }}!", "'nobody' is undefined"),
        ("{{ nobody[0] }}!", "'nobody' is undefined"),
        ("{{ nobody + 1 }}!", "'nobody' is undefined"),
        ("{{ nobody|length }}!", "'nobody' is undefined"),
        ("{% for y in nobody %}{% endfor %}", "'nobody' is undefined"),
        ("{{ t.json }}!", "its stage has no json_schema"),
        ("{{ t.jsn }}!", "it has text, json and finish_reason"),
        ("{% for y in t %}{% endfor %}", "a text cannot be looped over"),
        ("{{ [1, 'a']|sum }}", "sum adds numbers only"),
        ("{{ {1: 2} }}!", "the keys of a JSON object are texts"),
    ],
)
def test_errors_say_what_is_missing(source: str, said: str) -> None:
    with pytest.raises(RUNTIME_ERRORS, match=said.replace("(", r"\(")):
        render(source, x={"a": 1}, t=LlmText("t", stage="draft"))


def test_the_line_of_an_error_is_shown() -> None:
    template = Template("one\ntwo\n  three {{ x.nope }}\n")
    with pytest.raises(RUNTIME_ERRORS) as caught:
        template.evaluate({"x": {}}, Meter(steps=10, characters=100))
    assert line_of(template, caught.value) == "three {{ x.nope }}"
    assert line_of(Template("{{ x }}"), ValueError()) == "{{ x }}"
    assert line_of(Template("{# " + "x" * 500 + " #}"), ValueError()).endswith("…")
    assert line_of(Template(""), ValueError()) == ""


def test_nothing_is_false_empty_and_null_however_deep() -> None:
    nothing = Nothing(name="x")
    assert render("<{{ x }}{{ x.a.b }}{{ x[0]['k'] }}>", x=nothing) == "<>"
    assert render("{{ x.a or 'else' }}", x=nothing) == "else"
    assert render("{{ x.a|default('else') }}", x=nothing) == "else"
    assert render("{% for y in x.a %}y{% endfor %}.", x=nothing) == "."
    assert plain(render("{{ [x, x.a.b] }}", x=nothing)) == [None, None]
    assert plain({"a": nothing}) == {"a": None}


def test_references_are_found_with_their_paths() -> None:
    source = "{{ a.b['c'].d }}\n{% for x in e.f %}{{ x.g }}{{ loop.index }}{% endfor %}{{ h(i[0].j) }}{{ range(2) }}"
    assert Template(source).references == (
        Reference("a", ("b", "c", "d"), 1),
        Reference("e", ("f",), 2),
        Reference("h", (), 2),
        Reference("i", (), 2),
    )
    assert Template(source).names == {"a", "e", "h", "i"}


def test_a_name_that_is_also_set_inside_has_no_path() -> None:
    source = "{% for a in b %}{{ a.x }}{% endfor %}{{ a.y }}"
    assert {(each.name, each.path) for each in Template(source).references} == {("a", ()), ("b", ())}


def test_the_answer_of_a_model_is_a_text_and_perhaps_json() -> None:
    answer = LlmText('{"k": [1, 2]}', stage="draft", finish_reason="length", schema={"type": "object"})
    assert render("{{ t.json.k[1] }}", t=answer) == 2
    assert render("{{ t.finish_reason }}", t=answer) == "length"
    assert render("{{ t }} {{ t.text|length }}", t=answer) == '{"k": [1, 2]} 13'
    assert plain(answer) == {"k": [1, 2]}
    assert plain(LlmText("3", stage="draft")) == "3"
    with pytest.raises(InvalidJsonOutput, match=r"\$\.k: .* is not of type"):
        _ = LlmText('{"k": 1}', stage="d", schema={"properties": {"k": {"type": "string"}}}).json


def test_depth_is_what_the_wire_can_carry() -> None:
    assert MAX_DEPTH == WIRE_DEPTH
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert plain(value) == value
    with pytest.raises(TooLarge):
        plain([value])


def test_a_template_is_kept_for_the_next_call() -> None:
    assert Template.of("{{ kept }}") is Template.of("{{ kept }}")


def test_values_that_leave_a_template_are_bounded() -> None:
    row = list(range(1000))
    with pytest.raises(TooLarge, match="more than 500000 parts"):
        plain([row] * 600)
    with pytest.raises(TooLarge, match="longer than 4194304 characters"):
        text(["x" * 2**20] * 5)

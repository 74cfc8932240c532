"""The tools that a plan may use, one by one and chained as plans chain them."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llmsched.applications.task_automation import calculation, dates, images, search, tables, text
from llmsched.applications.task_automation.tools import catalogue
from llmsched.tools import ToolRegistry

DAYS = st.dates(date(1900, 1, 1), date(2100, 1, 1))


def call(name: str, **args: Any) -> Any:
    """A call as an executor makes it: JSON in, JSON out."""
    registry = ToolRegistry.from_entry_points()
    return json.loads(json.dumps(registry.get(name).call(json.loads(json.dumps(args))), default=str))


def test_the_catalogue_is_complete_and_fit_for_a_prompt() -> None:
    entries = json.loads(json.dumps(catalogue()))
    names = [entry["name"] for entry in entries]
    assert names == sorted(set(names))
    assert len(names) >= 14
    for entry in entries:
        Draft202012Validator.check_schema(entry["args"])
        Draft202012Validator.check_schema(entry["returns"])
        assert len(entry["description"]) > 20
        assert all("description" in part for part in entry["args"]["properties"].values()), entry["name"]


def test_results_fit_the_schemas_they_promise() -> None:
    calls: dict[str, dict[str, Any]] = {
        "text.statistics": {"text": "One two. Three!"},
        "text.sentiment": {"text": "Good."},
        "date.weekday": {"day": "2024-02-29"},
        "date.add": {"start": "2024-02-29", "years": 1},
        "math.solve": {"equation": "x^2=4"},
        "units.convert": {"value": 1, "unit": "km", "to": "m"},
        "sql.query": {"query": "SELECT * FROM products"},
        "image.create": {"width": 4, "height": 4},
        "search.lookup": {"query": "moon"},
    }
    for entry in catalogue():
        if entry["name"] in calls:
            Draft202012Validator(entry["returns"]).validate(call(entry["name"], **calls[entry["name"]]))


def test_the_result_of_one_tool_is_the_argument_of_another() -> None:
    revenue = call(
        "sql.query",
        query="SELECT category, SUM(price * quantity) AS revenue FROM orders "
        "JOIN products ON products.id = product_id GROUP BY category",
    )
    total = call("csv.aggregate", table=revenue["rows"], column="revenue", operation="sum")[0]["value"]
    again = call("sql.query", query="SELECT SUM(revenue) AS total FROM rows", rows=revenue["rows"])
    assert call("json.extract", value=again, path="rows[0].total") == pytest.approx(total)
    picture = call("image.resize", image=call("image.create", width=20, height=10, colour="blue"), width=10)
    assert call("image.histogram", image=picture)["dominant_colour"] == "#0000ff"


# text


def test_text_is_counted() -> None:
    found = text.statistics('It rains. It\'s 3.5 degrees! "Really?" Yes')
    assert (found["words"], found["sentences"], found["unique_words"]) == (6, 4, 6)
    assert text.statistics("")["words_per_sentence"] == 0


def test_keywords_leave_out_little_words() -> None:
    assert text.keywords("The bee and the flower: a bee likes flowers.", 1) == [{"word": "bee", "count": 2}]


def test_a_summary_consists_of_sentences_of_the_text_in_order() -> None:
    story = "Bees make honey. It was cold. Honey bees dance. Honey feeds bees. The end was near."
    assert text.summarise_extractive(story, 2) == "Bees make honey. Honey bees dance."
    assert text.summarise_extractive(story, 99) == story
    assert text.summarise_extractive("", 2) == ""


@pytest.mark.parametrize(
    ("review", "label"),
    [
        ("A wonderful kettle, fast and quiet.", "positive"),
        ("It broke. I am disappointed.", "negative"),
        ("Not good at all.", "negative"),
        ("There’s no problem with it.", "positive"),
        ("It is a kettle.", "neutral"),
    ],
)
def test_the_mood_of_a_text(review: str, label: str) -> None:
    assert text.sentiment(review)["label"] == label


def test_a_diff_tells_how_alike_texts_are() -> None:
    found = text.diff("a\nb\nc", "a\nB\nc\nd")
    assert (found["added"], found["removed"]) == (2, 1)
    assert "+B" in found["diff"]
    assert text.diff("x", "x") == {"similarity": 1.0, "added": 0, "removed": 0, "diff": ""}


def test_replacing_and_digests() -> None:
    assert text.replace("a.b.c", ".", "-") == "a-b-c"
    with pytest.raises(ValueError, match="empty"):
        text.replace("a", "", "b")
    assert text.digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# calculation


@pytest.mark.parametrize(
    ("expression", "exact", "value"),
    [
        ("3 * (2 + sqrt(16))", "18", 18),
        ("1/3 + 1/6", "1/2", 0.5),
        ("0.1 + 0.2", "3/10", 0.3),
        ("2^10 - 7 % 4 + -7 // 2", "1017", 1017),
        ("2*y + y", "3*y", None),
        ("sqrt(-1)", "I", None),
        ("1/0", "zoo", None),
        ("sin(pi/6) + log10(1000) + max(1, 2)", "11/2", 5.5),
    ],
)
def test_expressions_are_calculated_exactly(expression: str, exact: str, value: float | None) -> None:
    assert calculation.evaluate(expression) == {"exact": exact, "value": value}


def test_variables_get_values() -> None:
    assert calculation.evaluate("x^2 + y", {"x": 0.5, "y": 1})["value"] == 1.25


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__",
        "x.y",
        "[1]",
        "lambda: 1",
        "open('x')",
        "9**9**9",
        "10**-10**9",
        "2 +",
        "",
        "True",
        "sqrt(x=2)",
        "'a' * 9",
    ],
)
def test_anything_else_is_refused_and_not_run(expression: str) -> None:
    with pytest.raises(ValueError, match=r"not allowed|unknown function|no arithmetic|not calculated"):
        calculation.evaluate(expression)


def test_equations_are_solved() -> None:
    assert calculation.solve("2*x + 3 = 11") == {"solutions": ["4"], "numeric": [4.0]}
    assert calculation.solve("t^2 == 2", "t")["solutions"] == ["-sqrt(2)", "sqrt(2)"]
    assert calculation.solve("x^2 + 1")["numeric"] == []
    assert calculation.differentiate("x^3") == "3*x**2"


@pytest.mark.parametrize(
    ("value", "unit", "to", "expected"),
    [
        (5, "mi", "km", 8.04672),
        (20, "C", "F", 68),
        (-40, "F", "C", -40),
        (0, "K", "C", -273.15),
        (1, "GiB", "MiB", 1024),
    ],
)
def test_units_are_converted(value: float, unit: str, to: str, expected: float) -> None:
    assert calculation.convert(value, unit, to)["value"] == pytest.approx(expected)


def test_units_must_be_known_and_alike() -> None:
    with pytest.raises(ValueError, match="unknown unit parsec"):
        calculation.convert(1, "parsec", "km")
    with pytest.raises(ValueError, match="same kind"):
        calculation.convert(1, "kg", "km")


# dates


@given(DAYS, DAYS)
def test_the_difference_is_what_must_be_added(start: date, end: date) -> None:
    assert dates.add(start, days=dates.difference(start, end)) == end
    assert dates.difference(start, end, "months") == -dates.difference(end, start, "months")


@given(DAYS, st.integers(0, 500))
def test_months_added_are_months_apart(start: date, months: int) -> None:
    assert dates.difference(start, dates.add(start, months=months), "months") == months


def test_the_last_of_a_month_stays_in_the_month() -> None:
    assert dates.add(date(2024, 1, 31), months=1) == date(2024, 2, 29)
    assert dates.add(date(2024, 2, 29), years=-1) == date(2023, 2, 28)
    assert call("date.difference", start="2000-03-01", end="2024-02-29", unit="years") == 23
    with pytest.raises(ValueError, match="outside the calendar"):
        dates.add(date(2024, 1, 1), years=9000)


def test_a_day_knows_its_place() -> None:
    assert dates.weekday(date(2024, 12, 30)) == {
        "weekday": "Monday",
        "number": 1,
        "week": 1,
        "day_of_year": 365,
        "leap_year": True,
    }


# tables


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM orders",
        "DROP TABLE orders",
        "ATTACH 'x.db' AS x",
        "PRAGMA writable_schema = 1",
        "SELECT 1; SELECT 2",
        "SELECT load_extension('x')",
        "nonsense",
    ],
)
def test_a_query_can_only_read(query: str) -> None:
    with pytest.raises(ValueError, match="refused"):
        tables.query(query)


def test_the_shop_is_consistent() -> None:
    assert tables.query("SELECT COUNT(*) AS n FROM orders")["rows"] == [{"n": 150}]
    joined = (
        "SELECT COUNT(*) AS n FROM orders JOIN customers c ON c.id = customer_id JOIN products p ON p.id = product_id"
    )
    assert tables.query(joined)["rows"] == [{"n": 150}]


def test_long_answers_are_cut_and_say_so() -> None:
    found = tables.query("SELECT a.id FROM orders a, orders b")
    assert len(found["rows"]) == 200
    assert found["truncated"]


def test_columns_are_aggregated_by_group() -> None:
    table = "city,price\nRome,1\nOslo,2\nRome,x\nRome,4"
    assert tables.aggregate(table, "price", "mean", "city") == [
        {"group": "Rome", "value": 2.5, "count": 2},
        {"group": "Oslo", "value": 2.0, "count": 1},
    ]
    assert tables.aggregate(table, "price", "count") == [{"group": "all", "value": 4.0, "count": 4}]
    with pytest.raises(ValueError, match="no column 'size'; there are city, price"):
        tables.aggregate(table, "size", "sum")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.b[1].c", 2), ("a.b[*].c", [1, 2]), ("[*].b[0].c", [1]), ("", {"a": {"b": [{"c": 1}, {"c": 2}]}})],
)
def test_parts_of_nested_data(path: str, expected: object) -> None:
    assert tables.extract({"a": {"b": [{"c": 1}, {"c": 2}]}}, path) == expected


@pytest.mark.parametrize("path", ["x", "a[0]", "a.b[9]", "a.b.c", "a..b", "a.b[x]", "[*].b.c[*]"])
def test_a_wrong_path_says_where(path: str) -> None:
    with pytest.raises(ValueError, match=r"no key|no position|cannot be read|needs a list"):
        tables.extract({"a": {"b": [1]}}, path)


# images and search


def test_images_keep_their_content() -> None:
    image = images.create(40, 20, "red", "circle", "white", "x")
    assert (image["width"], image["height"]) == (40, 20)
    assert images.resize(image, 10)["height"] == 5
    assert images.transform(image, "rotate")["width"] == 20
    plain = images.create(8, 8, "#102030")
    assert images.histogram(plain)["dominant_colour"] == "#102030"
    assert images.histogram(images.transform(plain, "invert"))["dominant_colour"] == "#efdfcf"
    assert sum(images.histogram(images.create(8, 8, "white", "gradient"), 4)["counts"]) == 64


@pytest.mark.parametrize("size", [(0, 5), (5, 4000), (-1, 1)])
def test_sizes_have_bounds(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="pixels a side"):
        images.create(*size)


@pytest.mark.parametrize("png", ["", "?", "aGVsbG8="])
def test_what_is_no_image_is_refused(png: str) -> None:
    with pytest.raises(ValueError, match="no PNG image"):
        images.histogram({"width": 1, "height": 1, "png": png})


def test_notes_are_found() -> None:
    assert search.lookup("highest mountain above the sea")[0]["title"] == "Mount Everest"
    assert search.lookup("who discovered radium?", 1)[0]["title"] == "Marie Curie"
    assert search.lookup("bees")[0]["title"] == "Bee"
    assert len(search.lookup("the", 99)) == 20
    assert search.lookup('"AND NOT (') is not None
    assert search.lookup("?!") == []
    assert search.lookup("zzzz") == []

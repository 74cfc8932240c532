"""Tools on calendar dates, written as in ISO 8601: 2024-02-29."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from typing import Literal

from typing_extensions import TypedDict

from llmsched.tools import tool


class Weekday(TypedDict):
    """Where a date lies in its week and year; Monday is 1."""

    weekday: str
    number: int
    week: int
    day_of_year: int
    leap_year: bool


@tool(name="date.difference")
def difference(start: date, end: date, unit: Literal["days", "weeks", "months", "years"] = "days") -> int:
    """Count the whole days, weeks, months or years from one date to another; negative if the end comes first.

    Args:
        start: For example 2024-01-31.
        end: For example 2024-12-24.
        unit: What to count.
    """
    if end < start:
        return -difference(end, start, unit)
    if unit in ("days", "weeks"):
        return (end - start).days // (7 if unit == "weeks" else 1)
    months = (end.year - start.year) * 12 + end.month - start.month
    # In step with date.add: a month has passed on the day that adding one gives.
    months -= add(start, months=months) > end
    return months // 12 if unit == "years" else months


@tool(name="date.add")
def add(start: date, days: int = 0, weeks: int = 0, months: int = 0, years: int = 0) -> date:
    """Add (or with negative numbers subtract) a span of time to a date.

    Years and months are added first; a day that the month does not have becomes its last one.

    Args:
        start: For example 2024-01-31.
        days: How many days.
        weeks: How many weeks.
        months: How many months.
        years: How many years.
    """
    year, month = divmod(start.year * 12 + start.month - 1 + years * 12 + months, 12)
    if not date.min.year <= year <= date.max.year:
        raise ValueError(f"the year {year} is outside the calendar")
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return date(year, month + 1, day) + timedelta(days=days, weeks=weeks)


@tool(name="date.weekday")
def weekday(day: date) -> Weekday:
    """Tell the weekday, the ISO week and the day of the year of a date.

    Args:
        day: For example 2024-02-29.
    """
    return {
        "weekday": calendar.day_name[day.weekday()],
        "number": day.isoweekday(),
        "week": day.isocalendar().week,
        "day_of_year": day.timetuple().tm_yday,
        "leap_year": calendar.isleap(day.year),
    }

"""Functions on dates and times. A date is a text such as 2024-02-29."""

from __future__ import annotations

import calendar
from datetime import date, timedelta

from llmsched.applications.taskmatrix.catalogue.define import listed


@listed(day="2024-02-29", gives="Thursday")
def weekday(day: date) -> str:
    """Tell the day of the week of a date."""
    return calendar.day_name[day.weekday()]


@listed(start="2024-01-01", end="2024-03-01", gives=60)
def days_between(start: date, end: date) -> int:
    """Count the days between two dates."""
    return (end - start).days


@listed(start="2024-02-28", days=2, gives="2024-03-01")
def add_days(start: date, days: int) -> str:
    """Give the date some days after a date."""
    return (start + timedelta(days=days)).isoformat()


@listed(start="2024-01-31", months=1, gives="2024-02-29")
def add_months(start: date, months: int) -> str:
    """Give the date some months after a date."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return date(year, month + 1, day).isoformat()


@listed(year=2024, gives=True)
def is_leap_year(year: int) -> bool:
    """Tell whether a year is a leap year."""
    return calendar.isleap(year)


@listed(year=2023, month=2, gives=28)
def days_in_month(year: int, month: int) -> int:
    """Tell how many days a month has."""
    return calendar.monthrange(year, month)[1]


@listed(day="2024-12-31", gives=366)
def day_of_year(day: date) -> int:
    """Tell which day of its year a date is."""
    return day.timetuple().tm_yday


@listed(day="2024-01-01", gives=1)
def week_number(day: date) -> int:
    """Tell the number of the calendar week of a date."""
    return day.isocalendar().week


@listed(day="2024-08-15", gives=3)
def quarter(day: date) -> int:
    """Tell the quarter of the year of a date."""
    return (day.month + 2) // 3


@listed(born="2000-06-15", on="2024-06-14", gives=23)
def age(born: date, on: date) -> int:
    """Compute the age in years on a date from the date of birth."""
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


@listed(year=2024, gives="2024-03-31")
def easter(year: int) -> str:
    """Give the date of Easter Sunday in a year."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    week = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * week) // 451
    month, day = divmod(h + week - 7 * m + 114, 31)
    return date(year, month, day + 1).isoformat()


@listed(start="2024-03-01", end="2024-03-11", gives=6)
def workdays_between(start: date, end: date) -> int:
    """Count the working days between two dates, Monday to Friday."""
    if not 0 <= (end - start).days <= 100_000:
        raise ValueError("the end must come after the start, and within 100,000 days")
    return sum((start + timedelta(days=each)).weekday() < 5 for each in range((end - start).days))


@listed(day="2024-02-29", gives="29 February 2024")
def spell_date(day: date) -> str:
    """Write a date in words, with the name of the month."""
    return f"{day.day} {calendar.month_name[day.month]} {day.year}"


@listed(seconds=3725, gives="1:02:05")
def clock(seconds: int) -> str:
    """Write seconds as hours, minutes and seconds."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


@listed(time="1:02:05", gives=3725)
def seconds_of(time: str) -> int:
    """Turn a time in hours, minutes and seconds into seconds."""
    total = 0
    for part in time.split(":"):
        total = total * 60 + int(part)
    return total


@listed(day="2024-02-10", gives="2024-02-29")
def end_of_month(day: date) -> str:
    """Give the last day of the month of a date."""
    return day.replace(day=calendar.monthrange(day.year, day.month)[1]).isoformat()

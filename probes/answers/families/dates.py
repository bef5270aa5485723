"""Days, dates and times of day."""

from __future__ import annotations

import calendar
import random
from datetime import date, datetime, timedelta

from families.item import Item, family, integer, text, word, yes_no

DAYS = tuple(calendar.day_name)
MONTHS = tuple(calendar.month_name)


def _written(day: date) -> str:
    return f"{day.day} {MONTHS[day.month]} {day.year}"


@family(1)
def day_after(rng: random.Random) -> Item:
    """Tomorrow or the day after."""
    today, step = rng.randrange(7), rng.randint(1, 2)
    question = f"Today is {DAYS[today]}. Which day is it {'tomorrow' if step == 1 else 'the day after tomorrow'}?"
    return word(question, DAYS[(today + step) % 7], (DAYS * 2)[today + step], among=DAYS)


@family(2)
def days_later(rng: random.Random) -> Item:
    """A weekday some days from now."""
    today, step = rng.randrange(7), rng.randint(10, 40)
    day = date(2024, 1, 1) + timedelta(days=today + step)  # 1 January 2024 was a Monday
    question = f"If today is {DAYS[today]}, which day of the week is it in {step} days?"
    return word(question, DAYS[(today + step) % 7], DAYS[day.weekday()], among=DAYS)


@family(2)
def leap_year(rng: random.Random) -> Item:
    """Whether a year is a leap year."""
    year = rng.choice([1700, 1800, 1900, 2000, 2100, 2400, *rng.sample(range(1804, 2098), 4)])
    question = f"Is {year} a leap year in the Gregorian calendar?"
    return yes_no(question, calendar.isleap(year), (date(year, 3, 1) - date(year, 2, 1)).days == 29)


@family(2)
def seconds(rng: random.Random) -> Item:
    """A duration in seconds."""
    h, m, s = rng.randint(1, 4), rng.randint(5, 55), rng.randint(5, 55)
    question = f"How many seconds are {h} hours, {m} minutes and {s} seconds?"
    return integer(question, 3600 * h + 60 * m + s, round(timedelta(hours=h, minutes=m, seconds=s).total_seconds()))


@family(3)
def minutes_between(rng: random.Random) -> Item:
    """Minutes between two times, past midnight."""
    start, length = rng.randint(18 * 60, 23 * 60 + 50), rng.randint(100, 460)
    begin = datetime(2024, 1, 1) + timedelta(minutes=start)
    end = begin + timedelta(minutes=length)
    question = f"A night train leaves at {begin:%H:%M} and arrives at {end:%H:%M}. How many minutes does it travel?"
    again = (60 * end.hour + end.minute - 60 * begin.hour - begin.minute) % (24 * 60)
    return integer(question, length, again)


@family(3)
def clock_later(rng: random.Random) -> Item:
    """A time of day later on."""
    start, length = rng.randint(0, 1439), rng.randint(200, 900)
    end = (start + length) % 1440
    moment = datetime(2024, 1, 1) + timedelta(minutes=start + length)
    twelve = f"{(moment.hour + 11) % 12 + 1}:{moment:%M}"
    half = "AM" if moment.hour < 12 else "PM"
    question = (
        f"It is {start // 60:02d}:{start % 60:02d}. What time is it {length // 60} hours and {length % 60} minutes "
        "later, "
        "in 24-hour form?"
    )
    accept = [f"{moment.hour}:{moment:%M}", f"{twelve} {half}", f"{twelve} {half.lower()}"]
    return text(question, f"{end // 60:02d}:{end % 60:02d}", f"{moment:%H:%M}", accept=accept, hint="<HH:MM>")


@family(4)
def days_between(rng: random.Random) -> Item:
    """Days between two dates of two years."""
    first = date(rng.randint(2001, 2023), rng.randint(3, 12), rng.randint(1, 28))
    last = first + timedelta(days=rng.randint(100, 500))
    again = sum(1 for n in range(first.toordinal(), last.toordinal()) if date.fromordinal(n) < last)
    question = f"How many days lie between {_written(first)} and {_written(last)} (last day counted, first one not)?"
    return integer(question, (last - first).days, again)


@family(4)
def date_later(rng: random.Random) -> Item:
    """A date some days later."""
    first, step = date(rng.randint(2001, 2023), rng.randint(1, 12), rng.randint(1, 28)), rng.randint(60, 250)
    last = first + timedelta(days=step)
    again = date.fromordinal(first.toordinal() + step)
    day, month, year = last.day, MONTHS[last.month], last.year
    accept = [f"{day} {month} {year}", f"{month} {day}, {year}", f"{month} {day} {year}"]
    question = f"Which date is {step} days after {_written(first)}?"
    return text(question, last.isoformat(), again.isoformat(), accept=accept, hint="<YYYY-MM-DD>")


@family(5)
def weekday_of_date(rng: random.Random) -> Item:
    """The weekday of a date long ago."""
    day = date(rng.randint(1800, 1990), rng.randint(1, 12), rng.randint(1, 28))
    offset = (14 - day.month) // 12  # Zeller's congruence in the form of the Julian day number
    y, m = day.year - offset, day.month + 12 * offset - 2
    zeller = (day.day + y + y // 4 - y // 100 + y // 400 + 31 * m // 12) % 7
    question = f"Which day of the week was {_written(day)} (Gregorian calendar)?"
    return word(question, DAYS[day.weekday()], DAYS[(zeller - 1) % 7], among=DAYS)

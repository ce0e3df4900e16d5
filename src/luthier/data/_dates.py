"""Dates as they stand in data: ISO 8601, or seconds or milliseconds since 1970."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

_MONTH = re.compile(r"\d{4}(-\d{2})?")
_NUMBER = re.compile(r"\d{9,13}(\.\d+)?")
_MILLISECONDS = 100_000_000_000  # as seconds, this is the year 5138


class DateError(ValueError):
    """Why a value is no date that can be told for sure."""


def parse_date(value: Any) -> dt.datetime:
    """The moment that a value names, in UTC; a date is its first moment, a time without a zone is in UTC.

    Raises:
        DateError: it cannot be told; `01/02/2024` is a day in January for some and in February for others.
    """
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    text = str(value).strip()
    if not isinstance(value, str | int | float) or isinstance(value, bool) or not text:
        raise DateError("a date is missing" if value in (None, "") else f"{value!r} is no date")
    try:
        if _NUMBER.fullmatch(text):
            seconds = float(text) / 1000 if float(text) >= _MILLISECONDS else float(text)
            return dt.datetime.fromtimestamp(seconds, dt.UTC)
        if _MONTH.fullmatch(text):
            return dt.datetime(int(text[:4]), int(text[5:] or 1), 1, tzinfo=dt.UTC)
        return parse_date(dt.datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise DateError(
            f"{text[:40]!r} is no date that can be told for sure; write 2024-01-31 or 2024-01-31T12:00:00Z"
        ) from error

"""The templates of the `answers` suite, one module a subject; importing this registers all of them."""

from families import arithmetic, code, dates, formats, languages, logic, sets, stories, strings, units  # noqa: F401
from families.item import FAMILIES, ask, draw, end_line

__all__ = ["FAMILIES", "ask", "draw", "end_line"]

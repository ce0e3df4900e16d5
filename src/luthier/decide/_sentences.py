"""Figures and lists in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.decide._evidence import RungVerdict


def number(value: float) -> str:
    """Two decimals, more only where the value has them."""
    short = f"{value:.2f}"
    return short if abs(float(short) - value) < 1e-9 else f"{value:g}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def figures(rung: RungVerdict) -> str:
    """Mean, 95 % interval and number of cases: `0.71 [0.66, 0.76] on 150 cases`."""
    cases = "1 case" if rung.answered == 1 else f"{rung.answered} cases"
    return f"{rung.mean:.2f} [{rung.display_low:.2f}, {rung.display_high:.2f}] on {cases}"


def money(dollars: float) -> str:
    """US dollars with as many decimals as they need."""
    return f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:.2f}" if dollars >= 0.01 else f"${dollars:.2g}"


def more(rung: RungVerdict) -> str:
    """How many more cases would settle an open rung, or why that is no use."""
    if rung.answered < rung.planned:
        return f"{rung.planned - rung.answered} of its {rung.planned} cases are still to be answered"
    if rung.more_cases is None:
        return rung.note
    about = f"about {rung.more_cases:,} more cases would settle it (80 % assurance)"
    return f"{about}; {rung.note}" if rung.note else about

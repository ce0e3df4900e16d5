"""Forms of a learning curve, fitted by weighted least squares: error as a function of the number of rows.

Each is `error = c + a * g(n)` with a >= 0, where g falls with n and has one parameter of its own, found on a grid; c
and a are then the solution of a bounded linear problem. Many curves are fitted at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FORMS = ("power", "arctan", "exponential", "logarithm", "constant")
PARAMETERS = np.array([3, 3, 3, 2, 1])
MOST_LEFT = 0.95  # of error that no number of rows takes away
STEEPEST, FLATTEST = 2.0, 0.05  # exponents of the power law
GRID = 24
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Fitted:
    """For every curve and form: limit `c`, size `a` and parameter `shape`, [curves, forms]; `weights` sum to 1."""

    unit: float
    c: Floats
    a: Floats
    shape: Floats
    weights: Floats

    def curves(self, sizes: Floats) -> Floats:
        """Errors [curves, forms, sizes]."""
        falls = [_fall(form, sizes / self.unit, self.shape[:, place, None]) for place, form in enumerate(FORMS)]
        errors: Floats = np.clip(self.c[..., None] + self.a[..., None] * np.stack(falls, axis=1), 0, 1)
        return errors

    def averaged(self, sizes: Floats) -> Floats:
        """Errors [curves, sizes], the forms averaged by their weights."""
        averaged: Floats = (self.curves(sizes) * self.weights[..., None]).sum(axis=1)
        return averaged


def fit(sizes: Floats, errors: Floats, variances: Floats) -> Fitted:
    """Fits every form to every curve.

    Args:
        sizes: numbers of rows, [sizes].
        errors: in [0, 1], [curves, sizes].
        variances: of each error, [sizes].

    Forms are weighed by how likely they make the errors, less what each of their parameters gains by chance (Akaike's
    weights, Burnham and Anderson 2002).
    """
    unit = float(sizes.max())
    found = [_fit_form(form, sizes / unit, errors, 1 / variances) for form in FORMS]
    c, a, shape, misfit = (np.stack(parts, axis=1) for parts in zip(*found, strict=True))
    criterion = misfit + 2 * PARAMETERS
    likely = np.exp(-(criterion - criterion.min(axis=1, keepdims=True)) / 2)
    return Fitted(unit, c, a, shape, likely / likely.sum(axis=1, keepdims=True))


def _shapes(form: str) -> Floats:
    if form == "power":
        return np.geomspace(FLATTEST, STEEPEST, GRID)
    return np.geomspace(0.02, 4.0, GRID) if form in ("arctan", "exponential") else np.array([0.0])


def _fall(form: str, x: Floats, shape: Floats) -> Floats:
    """The function g at x = rows as a share of those that there are, so that g(1) is of the order of 1."""
    if form == "power":
        fall: Floats = x**-shape
    elif form == "arctan":
        fall = 1 - 2 / np.pi * np.arctan(x / shape)
    elif form == "exponential":
        fall = np.exp(-x / shape)
    else:
        fall = (-np.log(x) if form == "logarithm" else 0 * x) + 0 * shape
    return fall


def _fit_form(form: str, x: Floats, errors: Floats, precision: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """(c, a, parameter, misfit) of the best parameter for each curve."""
    shapes = _shapes(form)
    falls = _fall(form, x[None], shapes[:, None])  # [grid, sizes]
    bounds = (0.0, 1.0) if form == "logarithm" else (0.0, MOST_LEFT)
    c, a = _two(falls, errors, precision, bounds)  # [curves, grid]
    rest = errors[:, None] - c[..., None] - a[..., None] * falls
    misfit = (rest**2 * precision).sum(axis=-1)
    best = misfit.argmin(axis=1)
    rows = np.arange(len(errors))
    return c[rows, best], a[rows, best], shapes[best], misfit[rows, best]


def _two(falls: Floats, errors: Floats, precision: Floats, bounds: tuple[float, float]) -> tuple[Floats, Floats]:
    """Least squares for c within bounds and a >= 0: the free solution, or the best on the edge that it breaks."""
    total = precision.sum()
    g, e = falls @ precision / total, errors @ precision / total  # [grid], [curves]
    gg = ((falls - g[:, None]) ** 2 * precision).sum(axis=-1)
    ge = ((errors - e[:, None]) * precision) @ (falls - g[:, None]).T  # [curves, grid]
    a = np.maximum(ge / np.maximum(gg, TINY), 0)
    c = e[:, None] - a * g
    held = np.clip(c, *bounds)
    second = (falls**2 * precision).sum(axis=-1)
    through = ((errors * precision) @ falls.T - held * (falls @ precision)) / np.maximum(second, TINY)
    return held, np.where(c == held, a, np.maximum(through, 0))

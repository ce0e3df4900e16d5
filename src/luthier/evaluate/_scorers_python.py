"""Scoring with a function of the user's."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import numbers
import reprlib
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from luthier.errors import Problem, ScorerError
from luthier.evaluate._records import Scored
from luthier.models import Constraint

_FORM = "the file must define: def score(answer: str, wanted: str) -> float  (a number in [0, 1])"


class PythonScorer:
    """The number that a user's function gives for (answer, wanted)."""

    def __init__(self, function: Callable[[str, str], Any], *, name: str = "python", binary: bool = False) -> None:
        self.name = name
        self.binary = binary
        self._function = function

    @classmethod
    def from_file(cls, path: Path, function: str, *, binary: bool) -> PythonScorer:
        """Load the function from a file of its own; the file may import installed packages, not its neighbours.

        Raises:
            ScorerError: the file cannot be run, or holds no such function of two arguments.
        """
        found = getattr(_load(path), function, None)
        if not callable(found):
            raise ScorerError(f"{path} defines no function {function}", why=_FORM, fix="set score.function to its name")
        try:
            inspect.signature(found).bind("", "")
        except ValueError:  # a built-in function may have no signature; what it gives is looked at all the same
            pass
        except TypeError as error:
            raise ScorerError(f"{function}() in {path} does not take (answer, wanted): {error}", fix=_FORM) from error
        return cls(found, name=f"python {path.name}:{function}", binary=binary)

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        try:
            value = self._function(answer, wanted)
        except (Exception, SystemExit) as error:  # whatever the user's code does, the message must name the case
            raise self._wrong(f"raised {_said(error)}", _place(error)) from error
        if isinstance(value, bool | np.bool_):
            return Scored(float(value))
        if not isinstance(value, numbers.Real):
            raise self._wrong(f"gave {reprlib.repr(value)}, a {type(value).__name__}, not a number")
        try:
            number = float(value)
        except OverflowError:  # a whole number of hundreds of digits
            number = math.inf
        if not 0 <= number <= 1:  # nan as well
            raise self._wrong(f"gave {reprlib.repr(value)}, which is not in [0, 1]")
        if self.binary and number not in (0, 1):
            raise self._wrong(f"gave {number:g}, but score.binary says that scores are 0 or 1")
        return Scored(number)

    def constraint(self) -> Constraint | None:
        """None: what the function wants of an answer is not known."""
        return None

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Whether the function gives the wanted output itself more than 0."""
        return None if self.score(wanted, wanted).value > 0 else "the scorer gives the wanted output itself 0"

    def _wrong(self, what: str, problems: Sequence[Problem] = ()) -> ScorerError:
        fix = "correct the scorer's file"
        return ScorerError(f"the scorer ({self.name}) {what}", why=_FORM, fix=fix, problems=problems)


def _said(error: BaseException) -> str:
    """An exception's kind and message; one of the user's own may fail to say anything."""
    return f"{type(error).__name__}: {traceback.TracebackException.from_exception(error)}"


def _place(error: BaseException) -> list[Problem]:
    """The line of the user's file that was running last."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    return [Problem(own[-1].line or "raised here", own[-1].filename, own[-1].lineno)] if own else []


def _load(path: Path) -> ModuleType:
    """Run a Python file as a module under a name of its own, without leaving compiled files beside it."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ScorerError(f"{path} cannot be read: {error}", fix="correct score.file in luthier.yaml") from error
    name = "_luthier_scorer_" + hashlib.sha256(str(path).encode() + source).hexdigest()[:16]
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # a loader was given
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses in the file look their module up here
    try:
        exec(loader.source_to_code(source, str(path)), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever the user's code does, the message must name the file
        del sys.modules[name]
        raise ScorerError(
            f"{path} cannot be run: {type(error).__name__}: {error}", why=_FORM, fix="correct the scorer's file"
        ) from error
    return module

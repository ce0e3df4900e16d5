"""Luthier from Python: `Project`, one method a verb."""

from luthier.api._project import Checked, Lived, Progress, Project
from luthier.api._start import init_example, init_task

__all__ = ["Checked", "Lived", "Progress", "Project", "init_example", "init_task"]

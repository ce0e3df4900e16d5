"""What you want: `luthier.yaml` read into frozen models, every mistake named with its line."""

from luthier.spec._task import MethodName, Score, Task

__all__ = ["MethodName", "Score", "Task"]

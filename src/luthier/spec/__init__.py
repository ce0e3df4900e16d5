"""What you want: `luthier.yaml` read into frozen models, every mistake named with its line."""

from luthier.spec._load import load_task, task_schema
from luthier.spec._suggest import did_you_mean
from luthier.spec._task import (
    AnswerScore,
    ChrfScore,
    ContainsScore,
    DecideSettings,
    ExactScore,
    JsonScore,
    LabelScore,
    MethodName,
    NumberScore,
    PythonScore,
    RegexScore,
    RetrievalSettings,
    RougeScore,
    Score,
    SplitSettings,
    Task,
    TrackerName,
    TrainSettings,
)

__all__ = [
    "AnswerScore",
    "ChrfScore",
    "ContainsScore",
    "DecideSettings",
    "ExactScore",
    "JsonScore",
    "LabelScore",
    "MethodName",
    "NumberScore",
    "PythonScore",
    "RegexScore",
    "RetrievalSettings",
    "RougeScore",
    "Score",
    "SplitSettings",
    "Task",
    "TrackerName",
    "TrainSettings",
    "did_you_mean",
    "load_task",
    "task_schema",
]

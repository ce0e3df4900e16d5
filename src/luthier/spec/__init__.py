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
    JudgeScore,
    LabelScore,
    LatencySettings,
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
from luthier.spec._yaml import parse_yaml

__all__ = [
    "AnswerScore",
    "ChrfScore",
    "ContainsScore",
    "DecideSettings",
    "ExactScore",
    "JsonScore",
    "JudgeScore",
    "LabelScore",
    "LatencySettings",
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
    "parse_yaml",
    "task_schema",
]

"""Scorers: what counts as right, what counts as valid, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from luthier.data import Example, Message
from luthier.errors import ScorerError
from luthier.evaluate import Scorer, last_number, make_scorer, squad_tokens
from luthier.spec import Score


def scorer(examples: list[Example] | None = None, **config: Any) -> Scorer:
    return make_scorer(TypeAdapter(Score).validate_python(config), examples or [])


def example(output: str) -> Example:
    return Example((Message("user", "x"),), output)


def value(it: Scorer, answer: str, wanted: str) -> float:
    return it.score(answer, wanted).value


@pytest.mark.parametrize(
    ("config", "answer", "wanted", "expected"),
    [
        ({"kind": "exact"}, " yes\n", "yes", 1),
        ({"kind": "exact"}, "Yes", "yes", 0),
        ({"kind": "exact", "ignore_case": True}, "STRASSE", "straße", 1),
        ({"kind": "contains"}, "It is in PARIS, France.", "Paris", 1),
        ({"kind": "contains", "ignore_case": False}, "It is in PARIS.", "Paris", 0),
        ({"kind": "contains"}, "par is", "Paris", 0),
        ({"kind": "regex"}, "order 4711 sent", r"\b\d{4}\b", 1),
        ({"kind": "regex", "pattern": r"^OK$"}, "not OK", "anything", 0),
        ({"kind": "number"}, "17 + 25 = 42.", "42", 1),
        ({"kind": "number"}, "it costs $1,234.50", "1234.5", 1),
        ({"kind": "number"}, "between 3-5", "5", 1),
        ({"kind": "number"}, "x=-3", "-3", 1),
        ({"kind": "number"}, "\N{MINUS SIGN}3", "-3", 1),
        ({"kind": "number"}, "3.15", "3.14", 0),
        ({"kind": "number", "tolerance": 0.01}, "3.15", "3.14", 1),
        ({"kind": "number"}, "no idea", "3", 0),
        ({"kind": "number"}, "1e999", "3", 0),
        ({"kind": "answer", "measure": "exact"}, "The  Eiffel-Tower!", "eiffeltower", 1),
        ({"kind": "answer"}, "in the big city", "the city", 0.5),
        ({"kind": "answer"}, "", "city", 0),
    ],
)
def test_what_counts_as_right(config: dict[str, Any], answer: str, wanted: str, expected: float) -> None:
    assert value(scorer(**config), answer, wanted) == pytest.approx(expected)


def test_answer_f1_is_the_one_of_squad() -> None:
    # tokens (big, city) against (city, of, light): one in common, 2 * 1 / (2 + 3)
    assert value(scorer(kind="answer"), "the big city", "a city of light") == pytest.approx(0.4)
    assert squad_tokens("The cat's 2 hats.") == ["cats", "2", "hats"]


@pytest.mark.parametrize(
    ("answer", "right", "valid"),
    [
        ("billing", 1, 1),
        (" Billing ", 1, 1),
        ("billing.", 1, 1),
        ('"billing".', 1, 1),
        ("'Billing.'", 1, 1),
        ("**billing**", 1, 1),
        ("“billing”", 1, 1),
        ("billing\nBecause the invoice is wrong.", 1, 1),
        ("lost  parcel", 0, 1),
        ("The label is billing", 0, 0),
        ("not billing", 0, 0),
        ("billing or shipping", 0, 0),
        ("Because of the invoice.\nbilling", 0, 0),
        ("", 0, 0),
        ("\n\n", 0, 0),
    ],
)
def test_a_label_answer_must_be_a_label_and_not_contain_one(answer: str, right: float, valid: float) -> None:
    found = scorer(kind="label", labels=["billing", "shipping", "Lost parcel"]).score(answer, "Billing")
    assert (found.value, found.details["valid"]) == (right, valid)


def test_a_label_that_ends_with_a_full_stop_or_stands_in_quotes_is_itself_a_label() -> None:
    it = scorer(kind="label", labels=["etc.", '"quoted"', "plain"])
    assert value(it, "etc.", "etc.") == 1
    assert value(it, '"quoted"', '"quoted"') == 1
    assert value(it, "quoted", '"quoted"') == 0


def test_labels_are_taken_from_the_examples_in_their_most_frequent_spelling() -> None:
    it = scorer([example(o) for o in ("spam", "Ham", "ham ", "Ham", "spam", "SPAM", "spam")], kind="label")
    constraint = it.constraint()
    assert constraint is not None and constraint.choices == ("spam", "Ham")
    assert it.wanted_is_valid("HAM") is None
    assert it.wanted_is_valid("eggs") == "'eggs' is not one of the labels: spam, Ham"


def test_labels_that_would_be_scored_as_the_same_are_refused_all_at_once() -> None:
    with pytest.raises(ScorerError) as caught:
        scorer(kind="label", labels=["Yes", "yes ", "No", "no", ""])
    text = str(caught.value)
    assert "'Yes', 'yes '" in text and "'No', 'no'" in text and "an empty label" in text and "fix:" in text


def test_no_labels_at_all_is_an_error_that_says_what_to_type() -> None:
    with pytest.raises(ScorerError, match="there are no labels") as caught:
        scorer([example("  ")], kind="label")
    assert "labels: [a, b]" in caught.value.fix


WANTED = json.dumps({"intent": "PlayMusic", "slots": {"artist": "Abba", "year": 1976, "live": True}})


@pytest.mark.parametrize(
    ("answer", "precision", "recall", "exact"),
    [
        (WANTED, 1, 1, 1),
        (f"```json\n{WANTED}\n```", 1, 1, 1),
        (f"```\n{WANTED}```", 1, 1, 1),
        ('{"intent": " playmusic", "slots": {"artist": "ABBA ", "year": 1976.0, "live": true}}', 1, 1, 1),
        ('{"intent": "PlayMusic"}', 1, 0.25, 0),
        ('{"intent": "PlayMusic", "slots": {"artist": "Abba", "year": "1976", "live": 1}}', 0.5, 0.5, 0),
        ('{"intent": "PlayMusic", "slots": {}}', 0.5, 0.25, 0),
        ('{"intent": "PlayMusic", "slots": {"artist": "Abba", "year": 1976, "live": true, "x": 1}}', 0.8, 1, 0),
        ("[]", 0, 0, 0),
    ],
)
def test_json_fields(answer: str, precision: float, recall: float, exact: float) -> None:
    found = scorer(kind="json").score(answer, WANTED)
    f1 = 2 * precision * recall / (precision + recall) if precision else 0
    assert found.value == pytest.approx(f1)
    assert found.details == pytest.approx({"valid": 1, "exact": exact, "precision": precision, "recall": recall})
    assert value(scorer(kind="json", measure="exact"), answer, WANTED) == exact


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "PlayMusic",
        f"Here you are: {WANTED}",
        f"{WANTED} {WANTED}",
        f"```json\n{WANTED}\n```\nand\n```json\n{WANTED}\n```",
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        "{'a': 1}",
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_json_that_is_not_valid_scores_zero(answer: str) -> None:
    found = scorer(kind="json").score(answer, WANTED)
    assert (found.value, found.details["valid"]) == (0, 0)


def test_json_keys_with_dots_are_not_paths_and_huge_integers_are_compared() -> None:
    it = scorer(kind="json")
    assert value(it, '{"a.b": 1}', '{"a": {"b": 1}}') == 0
    assert value(it, '{"a": ' + "9" * 400 + "}", '{"a": 1.5}') == 0
    assert value(it, "{}", "{}") == 1
    deep = '{"a":' * 900 + "1" + "}" * 900
    assert value(it, deep, deep) == 1


SCHEMA = {
    "type": "object",
    "properties": {"zone": {"enum": ["A", "B"]}, "count": {"$ref": "#/$defs/count"}},
    "required": ["zone"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer", "minimum": 0}},
}


def test_json_that_breaks_the_schema_scores_zero_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(SCHEMA))
    it = scorer(kind="json", schema=path)
    assert it.score('{"zone": "A"}', '{"zone": "A", "count": 3}').details["valid"] == 1
    assert value(it, '{"zone": "A", "count": -1}', '{"zone": "A", "count": 3}') == 0
    assert "breaks the schema at $.count: -1" in str(it.wanted_is_valid('{"zone": "A", "count": -1}'))
    assert it.wanted_is_valid('{"zone": "A"}') is None
    assert "not JSON" in str(it.wanted_is_valid("A"))
    constraint = it.constraint()
    # decoding follows the order of the properties, so that order is kept
    assert constraint is not None and constraint.json_schema is not None
    assert list(json.loads(constraint.json_schema)["properties"]) == ["zone", "count"]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ('{"type": "objekt"}', "no JSON Schema"),
        ("[1]", "a JSON Schema is an object"),
        ("{", "cannot be read as JSON"),
        ('{"$ref": "#/$defs/nowhere"}', "leads nowhere"),
        ('{"$ref": "https://example.org/schema.json"}', "leads nowhere"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_when_the_scorer_is_made(
    tmp_path: Path, schema: str, message: str
) -> None:
    path = tmp_path / "s.json"
    path.write_text(schema)
    with pytest.raises(ScorerError, match=message) as caught:
        scorer(kind="json", schema=path)
    assert str(path) in str(caught.value) and caught.value.fix


def test_chrf_and_rouge_agree_with_their_packages() -> None:
    chrf = scorer(kind="chrf")
    assert value(chrf, "the cat sat", "the cat sat") == pytest.approx(1)
    assert value(chrf, "", "the cat sat") == 0
    assert 0.3 < value(chrf, "the cat stood", "the cat sat") < 0.9
    rouge = scorer(kind="rouge")
    assert value(rouge, "the cat sat on it", "the cat lay on it") == pytest.approx(0.8)
    assert "Latin" in str(rouge.wanted_is_valid("猫が座った"))
    assert rouge.wanted_is_valid("Katze") is None


@pytest.mark.parametrize(
    ("config", "wanted", "why"),
    [
        ({"kind": "contains"}, " ", "stands in every answer"),
        ({"kind": "regex"}, "(", "is no pattern"),
        ({"kind": "regex"}, "a*", "matches every answer"),
        ({"kind": "number"}, "none", "holds no number"),
        ({"kind": "answer"}, "The.", "holds no word"),
        ({"kind": "chrf"}, "", "no characters"),
    ],
)
def test_wanted_outputs_that_cannot_be_scored_against(config: dict[str, Any], wanted: str, why: str) -> None:
    it = scorer(**config)
    assert why in str(it.wanted_is_valid(wanted))
    assert it.wanted_is_valid("word 1") is None


def test_patterns_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ScorerError, match="is no pattern"):
        scorer(kind="regex", pattern="(")
    with pytest.raises(ScorerError, match="matches every answer"):
        scorer(kind="regex", pattern="x?")
    with pytest.raises(ScorerError, match="is no pattern"):
        scorer(kind="regex").score("a", "(")


def test_which_scorers_are_binary_and_which_constrain(tmp_path: Path) -> None:
    path = tmp_path / "score.py"
    path.write_text("def score(answer, wanted):\n    return answer == wanted\n")
    configs = [
        {"kind": "exact"},
        {"kind": "label", "labels": ["a"]},
        {"kind": "number"},
        {"kind": "contains"},
        {"kind": "regex"},
        {"kind": "answer", "measure": "exact"},
        {"kind": "json", "measure": "exact"},
        {"kind": "python", "file": path, "binary": True},
        {"kind": "json"},
        {"kind": "answer"},
        {"kind": "chrf"},
        {"kind": "rouge"},
        {"kind": "python", "file": path},
    ]
    made = [scorer(**config) for config in configs]
    assert [it.binary for it in made] == [True] * 8 + [False] * 5
    assert [it.constraint() is not None for it in made] == [c["kind"] == "label" for c in configs]
    assert len({it.name for it in made}) == 12  # the python scorer's name does not say whether it is binary


def python(tmp_path: Path, body: str, **config: Any) -> Scorer:
    path = tmp_path / "score.py"
    path.write_text(body)
    return scorer(kind="python", file=path, **config)


def test_a_python_scorer_runs_in_isolation(tmp_path: Path) -> None:
    body = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass Point:\n    x: int\n\n"
        "def score(answer, wanted):\n    return Point(1).x * (answer == wanted)\n"
    )
    before = set(sys.path)
    it = python(tmp_path, body)
    assert (value(it, "a", "a"), value(it, "a", "b")) == (1, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["score.py"]  # no compiled files beside it
    assert "score" not in sys.modules and set(sys.path) == before
    # the same file changed within the same second is the new one
    assert value(python(tmp_path, body.replace("Point(1)", "Point(0)")), "a", "a") == 0


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("float('nan')", "gave nan, which is not in"),
        ("1.01", "gave 1.01, which is not in"),
        ("-1", "gave -1, which is not in"),
        ("None", "gave None, a NoneType, not a number"),
        ("'1'", "gave '1', a str, not a number"),
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("exit(3)", "raised SystemExit: 3"),
        ("10**400", "which is not in"),
        ("[0.5] * 100000", r"gave \[0.5, .{,60}, a list, not a number"),
        ("[][0]", "raised IndexError"),
    ],
)
def test_a_python_scorer_that_gives_no_score_is_an_error(tmp_path: Path, result: str, message: str) -> None:
    it = python(tmp_path, f"def score(answer, wanted):\n    return {result}\n")
    with pytest.raises(ScorerError, match=message) as caught:
        it.score("a", "b")
    assert "score.py" in str(caught.value) and caught.value.fix


def test_a_binary_python_scorer_gives_0_or_1(tmp_path: Path) -> None:
    it = python(tmp_path, "import numpy as np\ndef score(a, w):\n    return np.bool_(a == w)\n", binary=True)
    assert value(it, "a", "a") == 1
    assert it.wanted_is_valid("a") is None
    with pytest.raises(ScorerError, match="0 or 1"):
        python(tmp_path, "def score(a, w):\n    return 0.5\n", binary=True).score("a", "b")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def other(a, w):\n    return 1\n", "defines no function score"),
        ("def score(a):\n    return 1\n", "does not take"),
        ("score = 3\n", "defines no function score"),
        ("import not_a_module_at_all\n", "cannot be run: ModuleNotFoundError"),
        ("raise SystemExit(1)\n", "cannot be run: SystemExit"),
        ("def score(\n", "cannot be run: SyntaxError"),
    ],
)
def test_a_python_file_that_cannot_be_used_is_refused(tmp_path: Path, body: str, message: str) -> None:
    loaded = set(sys.modules)
    with pytest.raises(ScorerError, match=message):
        python(tmp_path, body)
    assert not [name for name in set(sys.modules) - loaded if "luthier_scorer" in name and "run" in message]


def test_a_missing_python_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="cannot be read"):
        scorer(kind="python", file=tmp_path / "none.py")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", None), ("-", None), (".", None), ("1.", 1.0), (".5", 0.5), ("a 1,000,000 b", 1e6), ("2e3", 2000.0)],
)
def test_last_number(text: str, expected: float | None) -> None:
    assert last_number(text) == expected


def test_the_line_of_a_python_scorer_that_raised_is_named(tmp_path: Path) -> None:
    body = "def first(text):\n    return text.split()[7]\n\ndef score(a, w):\n    return first(a) == w\n"
    with pytest.raises(ScorerError, match="raised IndexError: list index out of range") as caught:
        python(tmp_path, body).score("a", "b")
    [problem] = caught.value.problems
    assert (str(problem.file), problem.line) == (str(tmp_path / "score.py"), 2)


def test_a_scorer_whose_own_objects_cannot_be_shown_is_an_error(tmp_path: Path) -> None:
    mute = "class Mute(Exception):\n    def __repr__(self):\n        raise ValueError\n    __str__ = __repr__\n\n"
    for does, message in (("raise", "raised Mute"), ("return", "a Mute, not a number")):
        with pytest.raises(ScorerError, match=message):
            python(tmp_path, f"{mute}def score(answer, wanted):\n    {does} Mute()\n").score("a", "b")


def test_a_built_in_function_without_a_signature_can_score(tmp_path: Path) -> None:
    assert value(python(tmp_path, "import operator\nscore = operator.eq\n"), "a", "a") == 1
    with pytest.raises(ScorerError, match="gave 'b', a str"):
        python(tmp_path, "score = max\n").score("a", "b")

"""`luthier.yaml` is read whole: every mistake at once, each with its line, and nothing outside the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.errors import LuthierError, PathError, SpecError
from luthier.spec import JsonScore, JudgeScore, Task, did_you_mean, load_task, task_schema

GOOD = """\
task: triage
goal: Turn a message into a record.
examples: examples.jsonl
documents: docs/
instructions: prompt.md
score: {kind: json, schema: triage.schema.json}
bar: 0.90
base: smollm2-135m
volume: 100000
general: [general.jsonl]
review_by: 2030-01-31
split: {test_cases: 60, group: customer}
"""

BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "task"
    (root / "docs").mkdir(parents=True)
    for name in ("examples.jsonl", "triage.schema.json", "general.jsonl"):
        (root / name).write_text("{}")
    (root / "prompt.md").write_text("\ufeffYou sort messages.\nBe brief.\n", encoding="utf-8")
    return root


def write(folder: Path, text: str) -> Path:
    file = folder / "luthier.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def mistakes(folder: Path, text: str) -> dict[int | None, list[str]]:
    """What is said about each line."""
    with pytest.raises(LuthierError) as caught:
        load_task(write(folder, text))
    assert caught.value.fix
    found: dict[int | None, list[str]] = {}
    for problem in caught.value.problems:
        found.setdefault(problem.line, []).append(problem.what)
    return found


def minimal(**changes: str) -> str:
    lines = {"task": "t", "goal": "g", "examples": "examples.jsonl", "score": "{kind: exact}", "base": "b"} | changes
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def test_a_good_file_becomes_a_task_with_absolute_paths(folder: Path) -> None:
    task = load_task(write(folder, GOOD))
    assert task.folder == folder.resolve()
    assert task.examples == folder.resolve() / "examples.jsonl"
    assert task.documents == folder.resolve() / "docs"
    assert task.general == (folder.resolve() / "general.jsonl",)
    assert isinstance(task.score, JsonScore)
    assert task.score.schema_file == folder.resolve() / "triage.schema.json"
    assert task.instructions == "You sort messages.\nBe brief."
    assert task.base == "smollm2-135m"
    assert (task.bar, task.volume, task.split.test_cases, task.split.group) == (0.9, 100000, 60, "customer")
    assert str(task.review_by) == "2030-01-31"


def test_the_folder_may_be_given_instead_of_the_file(folder: Path) -> None:
    write(folder, GOOD)
    assert load_task(folder) == load_task(folder / "luthier.yaml")


def test_instructions_of_several_lines_are_text_even_when_they_end_like_a_file(folder: Path) -> None:
    task = load_task(write(folder, minimal(instructions="|\n  Answer as in\n  prompt.md")))
    assert task.instructions == "Answer as in\nprompt.md\n"


def test_all_mistakes_come_at_once_with_their_lines(folder: Path) -> None:
    found = mistakes(
        folder,
        "task: my task\n"
        "gaol: x\n"
        "examples: exampels.jsonl\n"
        "score: {kind: jsn, schema: s.json}\n"
        "bar: 1.5\n"
        "base: 5\n"
        "volume: 0\n"
        "seed: 3\n"
        "split: {trian: 0.5, train: 0.9}\n"
        "decide:\n"
        "  alpha: 0.05\n"
        "  methods: [prompt, few-shot nearst]\n"
        "goal: a\n"
        "goal: b\n",
    )
    assert found[1] == [
        "`task`: `my task` must begin with a letter or digit and hold only letters, digits, `.`, `_`, `-`"
    ]
    assert found[2] == ["`gaol` is not a key of a task; did you mean `goal`?"]
    assert found[3] == ["`examples`: exampels.jsonl does not exist; did you mean `examples.jsonl`?"]
    assert found[4] == ["`score.kind`: there is no scorer `jsn`; did you mean `json`?"]
    assert found[5] == ["`bar` must be less than or equal to 1, not `1.5`"]
    assert found[6] == ["`base` must be text, and 5 is a number: write it in quotes"]
    assert found[7] == ["`volume` must be greater than or equal to 1, not `0`"]
    assert found[8] == ["`seed` is not a key of a task; did you mean `split.seed` or `train.seed`?"]
    assert found[9] == ["`split.trian` is not a key of `split`; did you mean `train`?"]
    assert "`decide.methods[1]`: `few-shot nearst` is not one of" in found[12][0]
    assert found[12][0].endswith("did you mean `few-shot nearest`?")
    assert found[14] == ["`goal` is written twice, first on line 13; keep one"]
    assert set(found) == {*range(1, 10), 12, 14}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("decide", "{methods: []}", "`decide.methods` is empty: leave it out"),
        ("decide", "{methods: prompt}", "`decide.methods` must be a list, not `prompt`: write `[a, b]`"),
        ("volume", "1" + "0" * 400, "`volume` must be less than or equal to 1000000000000000"),
        ("base", '""', "`base` is empty; write `base: smollm2-135m`"),
        ("goal", '"  "', "`goal`: say in a sentence"),
        ("decide", "{methods: [prompt, few-shot, prompt]}", "`decide.methods`: prompt is named twice"),
        ("decide", "{methods: [prompt, retrieval]}", "decide.methods names retrieval, and there are no documents"),
        ("latency", "{p50_seconds: 2, p95_seconds: 1}", "`latency`: half of the requests may take 2 seconds"),
    ],
)
def test_values_that_say_nothing_are_refused(folder: Path, key: str, value: str, said: str) -> None:
    [(_, [told])] = mistakes(folder, minimal(**{key: value})).items()
    assert told.startswith(said)


def test_a_scorers_keys_are_named_as_the_user_wrote_them(folder: Path) -> None:
    found = mistakes(folder, minimal(score="\n  kind: json\n  shcema: s.json\n  measure: f2"))
    assert found[6] == ["`score.shcema` is not a key of `score`; did you mean `schema`?"]
    assert found[7] == ["`score.measure`: `f2` is not one of f1, exact"]


def test_the_internal_name_of_a_key_is_not_accepted_and_cannot_bypass_the_path_rules(folder: Path) -> None:
    found = mistakes(folder, minimal(score="{kind: json, schema_file: /etc/hostname}"))
    assert found == {4: ["`score.schema_file` is not a key of `score`; did you mean `schema`?"]}


def test_an_unknown_scorer_without_a_near_one_lists_them_all(folder: Path) -> None:
    (what,) = mistakes(folder, minimal(score="{kind: zzzz}"))[4]
    for kind in ("exact", "label", "json", "number", "contains", "regex", "answer", "chrf", "rouge", "python"):
        assert kind in what


@pytest.mark.parametrize("score", ["json", "{}", "{schema: s}", "[]", ""])
def test_a_score_that_is_no_mapping_with_a_kind_says_how_to_write_it(folder: Path, score: str) -> None:
    (what,) = mistakes(folder, minimal(score=score))[4]
    assert "kind" in what and "exact" in what


def test_missing_keys_say_what_to_write(folder: Path) -> None:
    found = mistakes(folder, "task: t\n")
    assert len(found[1]) == 4
    assert "`base` is missing; write `base: smollm2-135m`" in found[1]


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "true"])
def test_a_bare_yes_is_not_taken_for_a_label(folder: Path, word: str) -> None:
    (what,) = mistakes(folder, minimal(score=f"{{kind: label, labels: [a, {word}]}}"))[4]
    assert "`score.labels[1]`" in what and "quotes" in what


def test_a_boolean_is_no_number_and_a_flag_is_no_mistake(folder: Path) -> None:
    assert list(mistakes(folder, minimal(bar="yes"))) == [6]
    task = load_task(write(folder, minimal(score="{kind: exact, ignore_case: yes}")))
    assert task.score.kind == "exact" and task.score.ignore_case


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("examples", "../other.jsonl", "leaves the task's folder"),
        ("examples", "/etc/hostname", "leaves the task's folder"),
        ("examples", "escape.jsonl", "leaves the task's folder"),
        ("examples", "loop", "cannot be read"),
        ("examples", "''", "names no file"),
        ("examples", '"a\\0b"', "names no file"),
        ("examples", "a" * 5000, "cannot be read"),
        ("documents", "examples.jsonl", "is no folder"),
        ("documents", "linked", "is a link that leaves the task's folder"),
        ("prices", "docs", "is no file"),
        ("traffic", "traffic.jsonl", "does not exist"),
        ("instructions", "missing.md", "does not exist"),
        ("instructions", "../secret.md", "leaves the task's folder"),
        ("score", "{kind: python, file: ../code.py}", "leaves the task's folder"),
        ("general", "[../g.jsonl]", "leaves the task's folder"),
        ("base", "./model", "does not exist"),
        ("base", "/nowhere/model", "does not exist"),
        ("other_bases", "[./model]", "does not exist"),
        ("decide", "{optimise: 400, optimiser: ./model}", "does not exist"),
    ],
)
def test_paths_must_exist_and_stay_inside(folder: Path, key: str, value: str, said: str) -> None:
    outside = folder.parent / "outside.jsonl"
    outside.write_text("{}")
    (folder.parent / "secret.md").write_text("secret")
    (folder / "escape.jsonl").symlink_to(outside)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "linked").mkdir()
    (folder / "linked" / "inner.txt").symlink_to(outside)
    text = minimal(**{key: value})
    line = 1 + [row.split(":")[0] for row in text.splitlines()].index(key)
    with pytest.raises(PathError) as caught:
        load_task(write(folder, text))
    assert [p.line for p in caught.value.problems] == [line]
    assert said in caught.value.problems[0].what


def test_paths_may_leave_the_folder_when_that_is_allowed(folder: Path) -> None:
    outside = folder.parent / "outside.jsonl"
    outside.write_text("{}")
    task = load_task(write(folder, minimal(examples="../outside.jsonl")), allow_outside=True)
    assert task.examples == outside.resolve()


def test_a_link_inside_the_folder_is_followed(folder: Path) -> None:
    (folder / "link.jsonl").symlink_to("examples.jsonl")
    assert load_task(write(folder, minimal(examples="link.jsonl"))).examples == folder.resolve() / "examples.jsonl"


def test_a_base_that_lies_in_the_folder_is_a_path_and_any_other_a_name(folder: Path) -> None:
    (folder / "models" / "m").mkdir(parents=True)
    (folder.parent / "shared-model").mkdir()
    bases = {
        "models/m": str(folder.resolve() / "models" / "m"),
        "./models/m": str(folder.resolve() / "models" / "m"),
        "../shared-model": str(folder.resolve().parent / "shared-model"),
        "org/name": "org/name",
        "http://localhost:8000/v1#m": "http://localhost:8000/v1#m",
    }
    for written, read in bases.items():
        assert load_task(write(folder, minimal(base=written))).base == read


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: &a [*a]\n", 1),
        (BOMB, 1),
        ("a: b\nc: " + "[" * 50_000, 2),
        ("\ta: b\n", 1),
        ("a: b\nc: d: e\n", 2),
        ("a: b\nc: 'd\n", 3),
        ("a: \0\n", 1),
        ("a: b\n---\nc: d\n", 2),
    ],
)  # fmt: skip
def test_broken_yaml_is_named_by_line(folder: Path, text: str, line: int) -> None:
    with pytest.raises(SpecError) as caught:
        load_task(write(folder, text))
    assert [p.line for p in caught.value.problems] == [line]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!python/object/apply:os.system [x]\n", "tag"),
        ("a: !!set {x}\n", "tag"),
        ("? [a]\n: b\n", "key must be a word"),
        ("a: " + "1" * 6000 + "\n", "not a valid int"),
        ("review_by: 2024-13-45\n", "not a valid timestamp"),
    ],
)
def test_values_that_yaml_cannot_mean_are_named(folder: Path, text: str, said: str) -> None:
    assert any(said in what for what in mistakes(folder, text)[1])


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "just words\n"])
def test_a_file_that_is_no_mapping(folder: Path, text: str) -> None:
    with pytest.raises(SpecError):
        load_task(write(folder, text))


def test_not_utf8_and_too_large(folder: Path) -> None:
    file = folder / "luthier.yaml"
    file.write_bytes(b"task: t\ngoal: caf\xe9\n")
    with pytest.raises(SpecError) as caught:
        load_task(file)
    assert caught.value.problems[0].line == 2
    file.write_text("goal: " + "x" * 300_000)
    with pytest.raises(SpecError, match="too large"):
        load_task(file)


def test_no_file_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_task(tmp_path)
    assert "luthier init" in caught.value.fix
    (tmp_path / "luthier.yml").write_text(GOOD)
    with pytest.raises(SpecError, match=r"did you mean `luthier\.yml`"):
        load_task(tmp_path)
    with pytest.raises(SpecError, match="does not exist"):
        load_task(tmp_path / "nowhere")


def test_shares_must_sum_to_one(folder: Path) -> None:
    found = mistakes(folder, minimal(split="{train: 0.9}"))
    assert "must be 1, not 1.200" in found[6][0]


JUDGE = "{kind: judge, model: 'https://x/v1#m', rubric: rubric.md, calibration: judged.csv"


def test_a_judge_takes_its_rubric_from_a_file_and_its_labels_may_come_later(folder: Path) -> None:
    (folder / "rubric.md").write_text("Be fair.\n", "utf-8")
    write(folder, minimal(score=f"{JUDGE}}}"))
    score = load_task(folder).score
    assert isinstance(score, JudgeScore) and score.rubric == "Be fair."
    assert score.calibration == folder.resolve() / "judged.csv" and not score.calibration.exists()


def test_what_is_wrong_with_a_judge_is_named(folder: Path) -> None:
    (folder / "rubric.md").write_text("Be fair.\n", "utf-8")
    for change, told in (
        (", mode: pairwise, scale: 1..5", "mode: pairwise has no scale"),
        (", scale: 1..7", "is not one of pass/fail, 1..5"),
        (", scal: 1..5", "did you mean `scale`"),
    ):
        assert told in mistakes(folder, minimal(score=f"{JUDGE}{change}}}"))[4][0]
    outside = minimal(score=JUDGE.replace("judged.csv", "../judged.csv") + "}")
    assert "leaves the task's folder" in mistakes(folder, outside)[4][0]
    missing = minimal(score=JUDGE.replace("rubric.md", "rubrik.md") + "}")
    assert "did you mean `rubric.md`" in mistakes(folder, missing)[4][0]


def test_nothing_is_written(folder: Path) -> None:
    write(folder, GOOD)
    before = sorted(folder.iterdir())
    load_task(folder)
    assert sorted(folder.iterdir()) == before


def test_the_schema_describes_every_key_as_users_write_it() -> None:
    schema = task_schema()
    json.dumps(schema)
    assert set(schema["properties"]) == set(Task.model_fields)
    assert "schema" in schema["$defs"]["JsonScore"]["properties"]
    assert schema["additionalProperties"] is False


def test_did_you_mean() -> None:
    assert did_you_mean("promt", ["prompt", "text"]) == "; did you mean `prompt`?"
    assert did_you_mean("few_shot", ["few-shot", "prompt"]) == "; did you mean `few-shot`?"
    assert did_you_mean("zzz", ["prompt"]) == ""

"""Test files of promptfoo, Inspect and lm-eval: every row is read faithfully, or reported with line and reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from luthier.cli import main
from luthier.data import Reading, scan_examples, scan_inputs
from luthier.errors import DataError


def read(folder: Path, rows: Any, name: str = "rows.jsonl") -> Reading:
    """Write rows (JSON Lines, or one JSON or YAML document) and read them; every row must be somewhere."""
    file = folder / name
    if name.endswith(".jsonl"):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        file.write_text(json.dumps(rows, indent=1) if name.endswith(".json") else yaml.safe_dump(rows), "utf-8")
    reading = scan_examples(file, keep_rest=True)
    count = len(rows if isinstance(rows, list) else rows["tests"])
    assert len(reading.examples) + len(reading.problems) == count
    assert all(problem.line for problem in reading.problems)
    return reading


def one(folder: Path, row: dict[str, Any]) -> tuple[str, str]:
    [example] = read(folder, [row]).examples
    return example.input_text, example.output


def reason(folder: Path, row: dict[str, Any]) -> str:
    """Why a row cannot be used; beside it stands one that can."""
    good = {"vars": {"x": "in"}, "assert": [{"type": "equals", "value": "out"}]}
    if "vars" not in row:
        good = {"input": "in", "target": ["out"]}
    reading = read(folder, [good, row])
    [problem] = reading.problems
    assert problem.line == 2
    return problem.what


CONFIG = {
    "prompts": ["Sort: {{message}} ({{ who.name }})"],
    "providers": [{"id": "openai:gpt-4o"}],
    "defaultTest": {"vars": {"who": {"name": "Ann"}}, "assert": [{"type": "latency", "threshold": 5}]},
    "tests": [
        {"vars": {"message": "an invoice"}, "assert": [{"type": "equals", "value": "billing"}]},
        {
            "vars": {"message": "a parcel", "who": {"name": "Bo"}},
            "assert": [{"type": "equals", "value": "{{ message }}"}],
        },
        {"vars": {"message": "hello"}},
    ],
}


@pytest.mark.parametrize("name", ["promptfooconfig.yaml", "promptfooconfig.json"])
def test_a_configuration_of_promptfoo_with_what_its_tests_share(tmp_path: Path, name: str) -> None:
    reading = read(tmp_path, CONFIG, name)
    assert [(e.input_text, e.output) for e in reading.examples] == [
        ("Sort: an invoice (Ann)", "billing"),
        ("Sort: a parcel (Bo)", "a parcel"),
    ]
    [problem] = reading.problems
    assert "no wanted output follows from the assertions: `latency` does not say it" in problem.what
    text = (tmp_path / name).read_text("utf-8").splitlines()
    assert any("hello" in line for line in text[(problem.line or 0) - 1 : (problem.line or 0) + 5])
    assert [rest["message"] for rest in reading.rest] == ["an invoice", "a parcel"]


def test_prompts_that_are_conversations(tmp_path: Path) -> None:
    prompt = json.dumps([{"role": "system", "content": "Be {{tone}}."}, {"role": "user", "content": "{{q}}"}])
    test = {"vars": {"tone": "kind", "q": "Hi?"}, "assert": [{"type": "equals", "value": {"a": 1}}]}
    [example] = read(tmp_path, {"prompts": [prompt], "tests": [test]}, "c.json").examples
    assert [(m.role, m.content) for m in example.messages] == [("system", "Be kind."), ("user", "Hi?")]
    assert example.output == '{"a": 1}'


@pytest.mark.parametrize(
    ("asserts", "wanted"),
    [
        ([{"type": "equals", "value": "a"}, {"type": "is-json", "weight": 0}], "a"),
        ([{"type": "contains", "value": "a"}], "a"),
        ([{"type": "icontains", "value": "a"}, {"type": "llm-rubric", "value": "kind"}], "a"),
        ([{"type": "contains-any", "value": ["a"]}], "a"),
        ([{"type": "regex", "value": "^two words$"}], "two words"),
        ([{"type": "similar", "value": "a text", "threshold": 0.8}], "a text"),
        ([{"type": "assert-set", "assert": [{"type": "equals", "value": 12}]}], "12"),
        (
            [{"type": "equals", "value": '{"a": 1}'}, {"type": "is-json"}, {"type": "contains", "value": "a"}],
            '{"a": 1}',
        ),
    ],
)
def test_assertions_from_which_a_wanted_output_follows(tmp_path: Path, asserts: Any, wanted: str) -> None:
    assert one(tmp_path, {"vars": {"q": "in"}, "assert": asserts}) == ("in", wanted)


@pytest.mark.parametrize(
    ("asserts", "said"),
    [
        ([], "no assertion says what the answer should be"),
        ([{"type": "is-json"}], "`is-json` says what form the answer has, not what it is"),
        ([{"type": "regex", "value": "[0-9]+"}], "`regex` is a pattern that many answers fit"),
        ([{"type": "javascript", "value": "output.length"}], "`javascript` judges answers by a program"),
        ([{"type": "contains-all", "value": ["a", "b"]}], "`contains-all` asks for several parts"),
        ([{"type": "not-equals", "value": "a"}], "`not-equals` does not say it"),
        ([{"type": "equals", "value": "a"}, {"type": "equals", "value": "b"}], "want 2 different answers"),
        ([{"type": "equals", "value": "a"}, {"type": "is-json"}], "'a' does not pass `is-json`"),
        (
            [{"type": "equals", "value": "abc"}, {"type": "not-icontains", "value": "B"}],
            "does not pass `not-icontains`",
        ),
        ([{"type": "equals", "value": "abc"}, {"type": "regex", "value": "^x"}], "does not pass `regex`"),
        ([{"type": "equals", "value": "file://wanted.txt"}], "is in a file; write it here"),
        ([{"type": "equals", "value": "a", "transform": "output.trim()"}], "looks at a transformed answer"),
        ([{"type": "equals"}], "`equals` has no value"),
        ([{"value": "a"}], "an object with a `type`"),
    ],
)
def test_assertions_from_which_none_follows_say_why(tmp_path: Path, asserts: Any, said: str) -> None:
    assert said in reason(tmp_path, {"vars": {"q": "in"}, "assert": asserts})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vars": {"q": ["a", "b"]}}, "`q` is a list, which promptfoo makes several tests of"),
        ({"vars": {"q": "file://a.txt"}}, "`q` is in a file"),
        ({"vars": {"q": "{{ other }}"}}, "`q` holds a template itself"),
        ({"vars": {"a": "1", "b": "2"}}, "no prompt says how the variables (`a`, `b`) stand in it"),
        ({"vars": {"q": "x"}, "prompts": ["{{ q | upper }}"]}, "only plain names are filled in"),
        ({"vars": {"q": "x"}, "prompts": ["{% if q %}a{% endif %}"]}, "only plain names are filled in"),
        ({"vars": {"q": "x"}, "prompts": ["{{ w }}"]}, "asks for the variable `w`, which has no value"),
        ({"vars": {"q": "x"}, "prompts": ["{{q}}", "{{q}}!"]}, "there are 2 prompts"),
        ({"vars": {"q": "x"}, "prompts": ["file://p.txt"]}, "not written here (file://p.txt)"),
        ({"vars": {"q": "x"}, "options": {"prefix": "Sir, "}}, "options.prefix changes the prompt"),
        ({"vars": {"q": "x"}, "options": "fast"}, "`options` must be an object"),
    ],
)
def test_prompts_that_cannot_be_filled_in_say_why(tmp_path: Path, changes: Any, said: str) -> None:
    assert said in reason(tmp_path, {"assert": [{"type": "equals", "value": "a"}]} | changes)


def test_no_template_is_run(tmp_path: Path) -> None:
    test = {"vars": {"q": "x"}, "prompts": ["{{ q.__class__.__mro__ }}"], "assert": [{"type": "equals", "value": "a"}]}
    assert "which has no value" in reason(tmp_path, test)


def test_samples_of_inspect(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    rows = [
        {"input": "2 + 2?", "target": "4", "id": 1, "metadata": {"source": "sums"}},
        {"input": talk, "target": ["because", "so"], "id": "b"},
        {"input": "Pick.", "choices": ["red", "blue"], "target": "B"},
        {"input": talk, "choices": ["no", "yes"], "target": ["A"]},
        {"input": "Pick two.", "choices": ["a", "b"], "target": ["A", "B"]},
        {"input": "Pick.", "choices": ["a", "b"], "target": "C"},
        {"input": "Build it.", "target": ["done"], "files": {"a.txt": "x"}},
    ]
    (tmp_path / "s.json").write_text(json.dumps(rows), "utf-8")
    reading = scan_examples(tmp_path / "s.json")
    assert len(reading.examples) + len(reading.problems) == len(rows)
    # an open target in plain text has a form of its own, which fewer rows of this file have
    said = [problem.what for problem in reading.problems]
    assert any("the row has input + target" in what for what in said)
    assert any("`target` names 2 choices" in what for what in said)
    assert any("'C', which names none of the 2 choices" in what for what in said)
    assert any("`files` belongs to a task in an environment" in what for what in said)
    assert [e.output for e in reading.examples] == ["because", "B", "A"]
    assert reading.examples[1].input_text == "Pick.\n\nA) red\nB) blue"
    assert reading.examples[2].messages[-1].content == "Why?\n\nA) no\nB) yes"
    assert reading.examples[2].messages[0].role == "system"


@pytest.mark.parametrize(
    ("row", "asked", "wanted"),
    [
        ({"question": "Q?", "choices": ["x", "y"], "answer": 1}, "Q?\n\nA) x\nB) y", "B"),
        ({"question": "Q?", "choices": ["x", "y"], "answer": "A", "subject": "law"}, "Q?\n\nA) x\nB) y", "A"),
        ({"question": "Q?", "choices": ["x", "y"], "answer": "y"}, "Q?\n\nA) x\nB) y", "B"),
        (
            {"question": "Q?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
            "Q?\n\nA) x\nB) y",
            "B",
        ),
        ({"ctx": "He ran", "endings": ["home.", "up."], "label": "0"}, "He ran\n\nA) home.\nB) up.", "A"),
        ({"query": "Q: 1 or 2?", "choices": ["1", "2"], "gold": 1}, "Q: 1 or 2?", "2"),
        ({"query": "Q?", "choices": ["x", "y"], "gold": 1, "label": 0}, "Q?\n\nA) x\nB) y", "B"),
        ({"query": "Q?", "gold": "y"}, "Q?", "y"),
        ({"doc": {"question": "Q?", "choices": ["x", "y"], "answer": 0}, "doc_id": 3}, "Q?\n\nA) x\nB) y", "A"),
        ({"doc": {"a": 1}, "arguments": [["ask this", {}]], "target": " 18"}, "ask this", "18"),
        ({"doc": {"a": 1}, "arguments": {"gen_args_0": {"arg_0": "ask this"}}, "target": "18"}, "ask this", "18"),
    ],
)
def test_documents_of_lm_eval(tmp_path: Path, row: dict[str, Any], asked: str, wanted: str) -> None:
    assert one(tmp_path, row) == (asked, wanted)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Q?", "choices": ["x", "y"], "answer": 7}, "'7', which names none"),
        ({"question": "Q?", "choices": ["x", "y"], "answer": True}, "'True', which names none"),
        ({"question": "Q?", "choices": ["1", "2"], "answer": "1"}, "the text of one choice and the number of another"),
        ({"question": "Q?", "choices": ["x"], "answer": 0}, "at least two texts"),
        ({"question": "Q?", "choices": [f"c{i}" for i in range(27)], "answer": 0}, "letters for 26"),
        ({"question": 5, "choices": ["x", "y"], "answer": 0}, "must be a text, or messages"),
        ({"doc_id": 0, "doc": {"a": 1}, "target": 4}, "`doc` has no question with its answer"),
        ({"input": "a", "target": []}, "`target` is an empty list"),
    ],
)
def test_documents_that_cannot_be_used_say_why(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    assert said in reason(tmp_path, row)


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"prompt": "p", "completion": "c", "vars": {"a": 1}, "assert": []}, "c"),
        ({"prompt": "p", "choices": ["x", "y"], "answer": "long text"}, "long text"),
        ({"question": "q", "output": "c", "choices": ["x", "y"], "doc": "d"}, "c"),
        ({"question": "q", "context": "k", "answers": ["a", "b"]}, "a"),
    ],
)
def test_rows_of_the_usual_forms_are_left_alone(tmp_path: Path, row: dict[str, Any], wanted: str) -> None:
    assert one(tmp_path, row)[1] == wanted


def test_plain_words_of_yaml_are_texts(tmp_path: Path) -> None:
    lines = [f"- {{prompt: p{i}, completion: {word}}}" for i, word in enumerate(("yes", "012x", "1:30", "2024-01-31"))]
    lines += [
        '- {prompt: p4, completion: "true"}',
        "- {prompt: p5, completion: 012}",
        "- {prompt: p6, completion: 1.50}",
    ]
    (tmp_path / "a.yml").write_text("\n".join(lines), "utf-8")
    found = scan_examples(tmp_path / "a.yml")
    assert [e.output for e in found.examples] == ["yes", "012x", "1:30", "2024-01-31", "true", "12", "1.5"]
    assert [e.source.line for e in found.examples] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tests: [1, 2", "cannot be read as YAML"),
        ("- !!python/object/apply:os.system ['true']", "is not read; write the value plainly"),
        ("tests: file://tests.csv", "names the file of its tests"),
        ("just a word", "holds no rows"),
        ("- " * 40 + "x", "nested deeper than 32 levels"),
        ("- {prompt: a, prompt: b}", "stands twice"),
        ("- {<<: {prompt: a}, completion: b}", "merged keys"),
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(7)
        ) + "tests: [*h]\n", "more than 1,000,000 values"),
    ],
)  # fmt: skip
def test_bad_yaml_is_refused_or_reported(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    try:
        found = " ".join(str(problem) for problem in scan_examples(tmp_path / "a.yaml").problems)
    except DataError as error:
        found = str(error)
    assert said in found


def test_init_starts_from_a_test_file_and_check_says_what_is_left_out(tmp_path: Path) -> None:
    tests = [
        {"vars": {"q": f"question {i} of {i * i}"}, "assert": [{"type": "contains", "value": f"word {i * 7}"}]}
        for i in range(40)
    ]
    tests.append({"vars": {"q": "hm"}, "assert": [{"type": "is-json"}]})
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests), "utf-8")
    folder = tmp_path / "task"
    run = CliRunner().invoke(main, ["init", str(folder), "--examples", str(tmp_path / "tests.yaml")])
    assert run.exit_code == 0, run.output
    assert "score: {kind: contains}" in (folder / "luthier.yaml").read_text("utf-8")
    checked = CliRunner().invoke(main, ["check", "-C", str(folder), "--json", "--fix"])
    findings = {f["code"]: f for f in json.loads(checked.output)["findings"]}
    assert findings["wrong-keys"]["count"] == 1
    fixed = scan_examples(folder / "tests.fixed.jsonl")
    assert [len(fixed.examples), len(fixed.problems)] == [40, 0]


def test_init_refuses_a_test_file_without_a_usable_row(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("- {vars: {q: a}, assert: [{type: is-json}]}\n", "utf-8")
    run = CliRunner().invoke(main, ["init", str(tmp_path / "task"), "--examples", str(tmp_path / "t.yaml")])
    assert run.exit_code == 2
    assert "says what form the answer has" in run.output
    assert not (tmp_path / "task").exists()


def test_what_stands_beside_a_question_is_not_lost(tmp_path: Path) -> None:
    asked = {"text": "A long passage", "question": "q", "choices": ["yes", "no"], "label": 1}
    good = {"question": "q", "choices": ["yes", "no"], "answer": 1}
    [problem] = read(tmp_path, [good, asked]).problems
    assert problem.line == 2 and "`text` stands beside `question`" in problem.what
    sourced = {"question": "Who?", "answer": "Ann", "doc": {"title": "T", "text": "Ann did it."}}
    assert one(tmp_path, sourced) == ("Who?", "Ann")


@pytest.mark.parametrize(("key", "wanted"), [(1, "A"), (4, "D"), ("2", "B")])
def test_a_number_that_is_the_label_of_a_choice_names_that_choice(tmp_path: Path, key: Any, wanted: str) -> None:
    row = {"question": "q", "choices": {"text": list("wxyz"), "label": ["1", "2", "3", "4"]}, "answerKey": key}
    assert one(tmp_path, row)[1] == wanted


def test_a_number_that_is_one_choice_and_the_place_of_another_is_refused(tmp_path: Path) -> None:
    row = {"question": "q", "choices": ["2", "3", "4"], "answer": 2}
    good = {"question": "q", "choices": ["yes", "no"], "answer": 1}
    [problem] = read(tmp_path, [good, row]).problems
    assert "the text of one choice and the number of another" in problem.what


def test_unlabelled_rows_are_asked_as_labelled_ones(tmp_path: Path) -> None:
    row = {"question": "q", "choices": ["yes", "no"]}
    asked, _ = one(tmp_path, row | {"answer": 1})
    (tmp_path / "traffic.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    found = scan_inputs(tmp_path / "traffic.jsonl")
    assert [messages[-1].content for messages in found.inputs] == [asked] and not found.problems


def test_an_alias_inside_what_it_names_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "rows.yaml"
    file.write_text("- &a {vars: *a}\n- {prompt: in, completion: out}\n", "utf-8")
    found = scan_examples(file)
    [problem] = found.problems
    assert problem.line == 1 and "deeper than 32 levels" in problem.what and len(found.examples) == 1

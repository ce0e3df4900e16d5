"""Rows that would teach nothing or the wrong thing are refused, each of them named."""

import os
import subprocess
import sys

import pytest

from luthier.data import Message
from luthier.errors import TeachesNothingError, TrainingError
from luthier.models import render_prompt
from luthier.train import TrainingRow, _apart, check_rows
from luthier.train import _rows as rows_module
from luthier.train._apart import call_apart
from luthier.train._rows import encode_rows, rounded_length, sort_rows


def made(output="billing", *, number=1, prompt="my invoice"):
    return TrainingRow(f"row-{number}", (Message("user", prompt),), output, f"data.jsonl:{number}")


def test_a_row_begins_with_the_served_prompt_and_ends_with_the_end_of_turn(base, rows):
    for row, encoded in zip(rows, encode_rows(base, rows, None), strict=True):
        prompt = render_prompt(base.tokenizer, row.messages)
        assert list(encoded.ids[: encoded.start]) == prompt
        assert base.tokenizer.decode(encoded.ids[encoded.start : -1]) == row.output
        assert encoded.ids[-1] == base.tokenizer.eos_token_id


def test_rows_that_can_be_taught_have_no_problem(base, rows):
    assert check_rows(base, rows, None) == []


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (made(""), "the answer is empty"),
        (made(" \n"), "the answer is empty"),
        (made("billing<|im_end|>"), "control token(s) of the model: <|im_end|>"),
        (made("word " * 600), "cut off"),
        (made(prompt="word " * 600), "cut off"),
    ],
)
def test_a_row_that_teaches_nothing_is_refused(base, row, what):
    (problem,) = check_rows(base, [row], None)
    assert what in problem.what and problem.file == "data.jsonl:1" and "row-1" in problem.what


def test_all_bad_rows_are_named_at_once(base, rows):
    bad = [made("", number=7), *rows, made("x <|im_start|>", number=9)]
    with pytest.raises(TeachesNothingError) as caught:
        encode_rows(base, bad, None)
    assert [problem.file for problem in caught.value.problems] == ["data.jsonl:7", "data.jsonl:9"]
    assert "2 of 22 training rows" in str(caught.value) and "fix:" in str(caught.value)


def test_a_length_limit_refuses_and_never_cuts(base, rows):
    lengths = [len(row.ids) for row in encode_rows(base, rows, None)]
    assert [row.ids for row in encode_rows(base, rows, max(lengths))]
    with pytest.raises(TeachesNothingError) as caught:
        encode_rows(base, rows, max(lengths) - 1)
    assert len(caught.value.problems) == lengths.count(max(lengths))


def test_a_template_without_an_end_of_turn_is_refused(base, tiny_model_folder):
    from luthier.models import load_folder

    endless = load_folder(tiny_model_folder, name="endless")
    endless.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}"
    (problem,) = check_rows(endless, [made()], None)
    assert "never learn to stop" in problem.what


def test_a_template_that_leaves_an_answer_out_is_refused(base, tiny_model_folder):
    """Only the end of the turn would be learned: to say nothing."""
    from luthier.models import load_folder

    silent = load_folder(tiny_model_folder, name="silent")
    silent.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' }}"
        "{% if m['role'] == 'user' %}{{ m['content'] + '\n' }}{% else %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    (problem,) = check_rows(silent, [made()], None)
    assert problem.what == "row row-1: no token of the answer is left to learn"


def test_a_model_without_a_template_is_refused(tiny_model_folder):
    from luthier.models import load_folder

    plain = load_folder(tiny_model_folder, name="plain")
    plain.tokenizer.chat_template = None
    (problem,) = check_rows(plain, [made()], None)
    assert "no chat template" in problem.what


def test_no_rows_at_all(base):
    with pytest.raises(TeachesNothingError, match="no rows"):
        encode_rows(base, [], None)


def test_default_length_is_rounded_up(base, rows):
    encoded = encode_rows(base, rows, None)
    longest = max(len(row.ids) for row in encoded)
    assert rounded_length(encoded) % 64 == 0 and 0 <= rounded_length(encoded) - longest < 64


@pytest.fixture
def apart(monkeypatch):
    """Three processes, from six rows on; counts how often rows were given to them."""
    calls = []
    monkeypatch.setattr(rows_module, "EACH", 2)
    monkeypatch.setattr(rows_module, "processors", lambda: 3)
    monkeypatch.setattr(rows_module, "call_apart", lambda *given: calls.append(given) or call_apart(*given))
    return calls


def test_several_processes_render_what_one_does(base, rows, monkeypatch, apart):
    bad = [
        *rows[:7],
        made(" ", number=7),
        *rows[7:],
        made("x <|im_start|>", number=9),
        made(prompt="ж 日本 <|im_end|>\n"),
    ]
    with_tokens = base.with_tokens(("<refund>",))
    spoken = [*bad, made("<refund> it", number=11)]
    for model, asked in ((base, bad), (with_tokens, spoken)):
        found = sort_rows(model, asked, 100)
        [(_, _, parts)] = apart
        assert sum(len(part["rows"]) for part in parts) == len(asked) and len(parts) == 3
        apart.clear()
        monkeypatch.setattr(rows_module, "EACH", 1000)
        assert found == sort_rows(model, asked, 100) and len(found[1]) == 2 and apart == []
        assert all(type(token) is int for row in found[0] for token in row.ids)
        monkeypatch.setattr(rows_module, "EACH", 2)


def test_few_rows_are_rendered_in_one_process(base, rows, apart):
    assert sort_rows(base, rows[:3], None)[0] and apart == []


def test_a_process_that_fails_says_why():
    with pytest.raises(TrainingError, match="has ended") as caught:
        call_apart("luthier.train._rows", "encode_part", [{"module": "transformers", "class": "NoSuchClass"}] * 2)
    assert "NoSuchClass" in caught.value.why and "OMP_NUM_THREADS=1" in caught.value.fix


def test_processes_end_when_this_one_is_interrupted(monkeypatch):
    started = []

    def start(code):
        if len(started) == 2:
            raise KeyboardInterrupt
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(_apart, "_start", start)
    with pytest.raises(KeyboardInterrupt):
        call_apart("luthier.train._rows", "encode_part", [{}] * 3)
    for process in started:
        assert process.wait(10) != 0
        process.stdin.close()


def test_as_many_processes_as_torch_has_threads(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert _apart.processors() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert _apart.processors() == 1

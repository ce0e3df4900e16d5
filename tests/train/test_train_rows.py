"""Rows that would teach nothing or the wrong thing are refused, each of them named."""

import pytest

from luthier.data import Message
from luthier.errors import TeachesNothingError
from luthier.models import render_prompt
from luthier.train import TrainingRow, check_rows
from luthier.train._rows import encode_rows, rounded_length


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

"""What a row teaches: the tokens shown are those that are trained; what the template does by itself is told."""

from __future__ import annotations

import pytest

from luthier.audit import Dataset, check_taught, show_rows
from luthier.data import Example, Message, Source
from luthier.models import load_outline, outline_at_hand
from luthier.spec import Task
from luthier.train import TrainingRow
from luthier.train._rows import encode_rows

OTHER_TEMPLATES = {
    "no default": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "no system": "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "no end": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
    "starts twice": "{{ bos_token + bos_token }}{% for m in messages %}{{ m['role'] + '\n' + m['content'] }}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}",
    "lower": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | lower + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
}


@pytest.fixture
def base(tiny_model_folder):
    def make(template: str | None = None):
        outline = load_outline(str(tiny_model_folder))
        if template is not None:
            outline.tokenizer.chat_template = OTHER_TEMPLATES[template]
        return outline

    return make


def row(line: int, text: str, output: str, system: str | None = None) -> Example:
    start = () if system is None else (Message("system", system),)
    return Example((*start, Message("user", text)), output, source=Source("d.jsonl", line))


def data(rows: list[Example], **task) -> Dataset:
    values = {"task": "t", "goal": "Sort it.", "examples": "d.jsonl", "score": {"kind": "exact"}, "base": "b"} | task
    return Dataset(Task.model_validate(values), rows)


def found(rows: list[Example], outline, **task) -> dict[str, tuple[str, int, list[int]]]:
    findings = check_taught(data(rows, **task), outline)
    return {f.code: (f.severity, f.count, [source.line for source in f.rows]) for f in findings}


ROWS = [row(i, f"message {i}", "billing") for i in range(1, 7)]


def test_what_is_shown_is_what_is_trained(base):
    outline, shown = base(), show_rows(data(ROWS), base(), 2)
    system = Message("system", "Sort it.")
    trained = encode_rows(outline, [TrainingRow("a", (system, *ROWS[0].messages), "billing", "")], None)[0]
    assert len(shown) == 2 and shown[0].source == "d.jsonl:1"
    assert [text for text, _ in shown[0].tokens] == [outline.tokenizer.decode([i]) for i in trained.ids]
    assert [learned for _, learned in shown[0].tokens] == [i >= trained.start for i in range(len(trained.ids))]
    assert "".join(text for text, learned in shown[0].tokens if learned) == "billing<|im_end|>"


def test_a_template_that_speaks_by_itself(base):
    assert found(ROWS, base()) == {"default-system": ("note", 6, [])}
    assert found(ROWS, base("no default")) == {}


def test_rows_that_are_cut_off(base):
    rows = [*ROWS, row(7, "word " * 40, "billing"), row(8, "short", "b" * 60)]
    cut = found(rows, base("no default"), train={"max_length": 48})
    assert cut == {"cut-off": ("blocks", 2, [7, 8])}
    assert (
        found([row(1, "word " * 600, "billing")], base("no default"))["cut-off"][0] == "blocks"
    )  # longer than the base reads


def test_an_answer_with_control_tokens(base):
    rows = [*ROWS, row(7, "text", "billing<|im_end|>"), row(8, "typed <|im_end|> by a user", "billing")]
    assert found(rows, base("no default")) == {"control-token": ("blocks", 1, [7])}


def test_a_template_that_refuses_or_never_ends_or_changes_the_answer(base):
    assert found(ROWS, base("no system")) == {"template-refuses": ("blocks", 6, [1, 2, 3, 4, 5, 6])}
    assert found(ROWS, base("no end")) == {"end-not-learned": ("blocks", 6, [1, 2, 3, 4, 5, 6])}
    rows = [*ROWS, row(7, "text", "Card-Lost")]
    assert found(rows, base("lower")) == {"lossy-tokens": ("blocks", 1, [7])}
    fine = [row(1, "text", " spaces , around .  "), row(2, "text", "cafe\u0301")]
    assert found(fine, base("no default")) == {}
    assert found(ROWS, base("starts twice"))["double-start"] == ("harms", 6, [])


def test_system_prompts_that_only_some_rows_bring(base):
    some = [row(i, f"text {i}", "x", "Be brief.") for i in (7, 8)]
    assert found([*ROWS, *some], base("no default")) == {"mixed-system": ("harms", 2, [7, 8])}
    odd = [row(i, f"text {i}", "x", "Be brief." if i < 29 else "Be long.") for i in range(20, 30)]
    assert found(odd, base("no default")) == {"mixed-system": ("harms", 1, [29])}
    personas = [row(i, f"text {i}", "x", f"You are number {i}.") for i in range(20, 30)]
    assert found(personas, base("no default"))["mixed-system"][0] == "note"
    assert found([row(i, f"text {i}", "x", "Be brief.") for i in range(9)], base("no default")) == {}


def test_instructions_that_stand_in_the_rows_already(base):
    told = "Sort each message into one of the four teams."
    rows = [row(1, f"{told}\n\nmy invoice", "billing"), row(2, "my parcel", "shipping")]
    assert found(rows, base("no default"), instructions=told) == {"instructions-twice": ("harms", 1, [1])}
    typed = row(1, "SORT EACH MESSAGE\n into one of: the four teams\n\nmy invoice", "billing")
    assert found([typed, rows[1]], base("no default"), instructions=told) == {"instructions-twice": ("harms", 1, [1])}
    part = row(1, "Sort each message into one of the four teams' boxes, then", "billing")
    assert found([part, rows[1]], base("no default"), instructions=f"{told} Answer.") == {}
    assert found([row(1, "my invoice", "billing", told)] * 2, base("no default"), instructions=told) == {}


def test_only_what_is_at_hand_is_looked_at(tiny_model_folder, tmp_path):
    found = outline_at_hand(str(tiny_model_folder))
    assert found is not None and found.name == str(tiny_model_folder)
    for elsewhere in (
        "nobody/has-this-model",
        "https://host/v1#m",
        f"scripted:{tmp_path}/x.json",
        str(tmp_path / "none"),
    ):
        assert outline_at_hand(elsewhere) is None

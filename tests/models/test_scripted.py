import pytest

from luthier.data import Message
from luthier.errors import ModelError
from luthier.models import Model, Request, ScriptedModel


def asking(text, max_tokens=10):
    return Request((Message("system", "sort this"), Message("user", text)), max_tokens)


def test_it_is_a_model(scripted_model):
    assert isinstance(scripted_model, Model)
    answers = dict(scripted_model.answer([asking("My Invoice is wrong"), asking("hello there")]))
    assert [answers[0].text, answers[1].text] == ["billing", "other"]
    assert answers[0].prompt_tokens == 6 and answers[0].completion_tokens == 1 and answers[0].finish == "stop"


def test_a_mapping_and_its_default():
    model = ScriptedModel({"a": "one", "*": "  any\n"})
    assert [a.text for _, a in model.answer([asking("a"), asking("b")])] == ["one", "  any\n"]


def test_the_limit_cuts():
    [(_, answer)] = ScriptedModel({"*": "one two three"}).answer([asking("a", 2)])
    assert answer.text == "one two" and answer.completion_tokens == 2 and answer.finish == "length"


def test_no_answer_names_the_request():
    stream = ScriptedModel({"a": "one"}).answer([asking("a"), asking("unheard of")])
    assert next(stream)[1].text == "one"
    with pytest.raises(ModelError, match="request 1: 'unheard of'"):
        next(stream)


def test_identity():
    assert (
        ScriptedModel({"a": "1"}).identity == ScriptedModel({"a": "1"}).identity != ScriptedModel({"a": "2"}).identity
    )
    assert ScriptedModel(lambda r: "x", identity="mine").identity == "mine"


@pytest.mark.parametrize("text", ["[1]", '{"a": 1}'])
def test_files_that_are_no_script(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ModelError, match="is not a script"):
        ScriptedModel.from_file(tmp_path / "s.json")

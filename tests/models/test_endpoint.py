import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from luthier.data import Message
from luthier.errors import EndpointError, ModelError, TooLongError
from luthier.models import Budget, Constraint, EndpointModel, Model, Price, Request, VotingModel, load_model


def completion(text="hello", finish="stop", prompt=10, cached=None, **more):
    usage = {"prompt_tokens": prompt, "completion_tokens": 3, "total_tokens": prompt + 3}
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    message = {"role": "assistant", "content": text}
    return {"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage} | more


class Server:
    """An endpoint that answers from a function of the request's body: (status, body) or a body."""

    def __init__(self):
        self.seen, self.keys, self.busy, self.most = [], [], 0, 0
        self.reply = lambda body: completion()
        self.content_type = "application/json"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.seen.append(body)
                    outer.keys.append(self.headers["Authorization"])
                    outer.busy += 1
                    outer.most = max(outer.most, outer.busy)
                answer = outer.reply(body)
                with lock:
                    outer.busy -= 1
                status, answer = answer if isinstance(answer, tuple) else (200, answer)
                data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", outer.content_type)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Retry-After-Ms", "1")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def model(server):
    found = EndpointModel(f"{server.address}#m", retries=2, timeout=5)
    yield found
    if found._client is not None:
        found._client.close()


def requests(n=1, **how):
    return [Request((Message("system", "s"), Message("user", f"question {i}")), 7, **how) for i in range(n)]


def test_it_asks_and_answers(server, model):
    server.reply = lambda body: completion(body["messages"][-1]["content"].upper(), prompt=100, cached=64)
    assert isinstance(model, Model)
    answers = dict(model.answer(requests(20)))
    assert [answers[i].text for i in range(20)] == [f"QUESTION {i}" for i in range(20)]
    assert answers[0].prompt_tokens == 100 and answers[0].shared_tokens == 64 and answers[0].completion_tokens == 3
    assert answers[0].seconds > 0 and answers[0].finish == "stop"
    body = server.seen[0]
    assert body["model"] == "m" and body["temperature"] == 0 and body["max_tokens"] == 7
    assert body["messages"][0] == {"role": "system", "content": "s"}
    assert set(server.keys) == {"Bearer secret-key"}


def test_samples_are_asked_for_with_their_temperature_and_seed(server, model):
    server.reply = lambda body: completion(str(body["seed"] % 2), prompt=10)
    voting = VotingModel(model, votes=9, temperature=0.7, form=str, form_name="text")
    [(_, answer)] = voting.answer(requests())
    assert {body["temperature"] for body in server.seen} == {0.7} and len({body["seed"] for body in server.seen}) == 9
    ones = sum(body["seed"] % 2 for body in server.seen)
    assert answer.text == str(int(ones > 4)) and answer.prompt_tokens == 90 and answer.completion_tokens == 27


def test_eight_at_a_time_and_as_they_come(server, model):
    def reply(body):
        time.sleep(0.3 if body["messages"][-1]["content"] == "question 0" else 0.02)
        return completion()

    server.reply = reply
    order = [index for index, _ in model.answer(requests(24))]
    assert sorted(order) == list(range(24)) and order.index(0) > 8
    assert 2 <= server.most <= 8


def test_nothing_is_asked_for_no_requests(server, model):
    assert list(model.answer([])) == [] and server.seen == []


def test_lost_tries_are_repeated(server, model):
    server.reply = lambda body: completion() if len(server.seen) > 2 else (500, {"error": {"message": "busy"}})
    [(_, answer)] = model.answer(requests())
    assert answer.text == "hello" and len(server.seen) == 3


@pytest.mark.parametrize(
    ("status", "told", "fix"),
    [
        (401, "refused the key", "export OPENAI_API_KEY"),
        (404, "was not found", "model's name after `#`"),
        (400, "refused the request: Error code: 400 - no such luck", "response_format"),
        (429, "over its rate limit or quota after 3 tries", "answers are kept"),
        (503, "failed after 3 tries: ", "answers are kept"),
    ],
)
def test_refusals_say_what_to_type(server, model, status, told, fix):
    server.reply = lambda body: (status, {"error": {"message": "no such luck"}})
    with pytest.raises(EndpointError) as caught:
        list(model.answer(requests()))
    assert told in str(caught.value) and fix in caught.value.fix and "request 0" in caught.value.what
    assert "secret-key" not in str(caught.value)
    assert len(server.seen) == (3 if status in (429, 503) else 1)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "no", "code": "context_length_exceeded"},
        {"message": "no", "type": "exceed_context_size_error"},
        {"message": "This model's maximum context length is 4096 tokens."},
    ],
)
def test_a_prompt_beyond_the_context_is_told_apart(server, model, error):
    server.reply = lambda body: (400, {"error": error})
    with pytest.raises(TooLongError, match="request 0: a request does not fit") as caught:
        list(model.answer(requests()))
    assert "longer context" in caught.value.fix and len(server.seen) == 1


def test_what_is_paid_for_is_given_out_before_the_error(server, model):
    def reply(body):
        if body["messages"][-1]["content"] == "question 2":
            return 400, {"error": {"message": "bad"}}
        time.sleep(0.1)
        return completion()

    server.reply = reply
    got = []
    with pytest.raises(EndpointError, match="request 2"):
        for index, _ in model.answer(requests(30)):
            got.append(index)
    assert {0, 1, 3, 4, 5, 6, 7} <= set(got) and 2 not in got
    assert len(server.seen) < 30  # nothing more is sent once one has failed


@pytest.mark.parametrize(
    "garbage",
    [
        "<html>welcome</html>",
        "",
        "[]",
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
        {k: v for k, v in completion().items() if k != "usage"},
        completion() | {"choices": [{"message": {"content": 5}}]},
        completion() | {"usage": {"prompt_tokens": -1, "completion_tokens": 1}},
    ],
)
def test_garbage_is_asked_for_again_and_then_an_error(server, model, garbage):
    server.reply = lambda body: garbage
    with pytest.raises(EndpointError, match="no chat completion"):
        list(model.answer(requests()))
    assert len(server.seen) == 3
    server.reply = lambda body: completion("well") if len(server.seen) > 4 else garbage
    assert next(model.answer(requests()))[1].text == "well"


def test_unusual_answers(server, model):
    server.reply = lambda body: completion(None, finish="length")
    [(_, answer)] = model.answer(requests())
    assert answer.text == "" and answer.finish == "length"
    server.reply = lambda body: (
        completion() | {"choices": [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}]}
    )
    [(_, answer)] = model.answer(requests())
    assert answer.text == "I cannot" and answer.finish == "stop"
    for finish in ("content_filter", "tool_calls"):
        server.reply = lambda body, finish=finish: completion(None, finish=finish)
        [(_, answer)] = model.answer(requests())
        assert (answer.text, answer.finish) == ("", finish)


def test_half_a_character_is_replaced_and_whole_ones_stay(server, model):
    server.reply = lambda body: completion("\ud800 cut, \ud83d\ude00 whole")
    [(_, answer)] = model.answer(requests())
    assert answer.text == "\ufffd cut, \U0001f600 whole"


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10**400, "completion_tokens": 3},
        {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": -1000}},
    ],
)
def test_a_usage_that_cannot_be_is_no_answer(server, model, usage):
    server.reply = lambda body: completion(usage=usage)
    with pytest.raises(EndpointError, match="no chat completion"):
        list(model.answer(requests()))


def test_no_more_tokens_are_cached_than_there_were(server, model):
    server.reply = lambda body: completion(prompt=10, cached=1000)
    [(_, answer)] = model.answer(requests())
    assert answer.prompt_tokens == answer.shared_tokens == 10  # or the fresh ones would cost less than nothing


def test_a_reply_nested_too_deep_is_garbage(server, model):
    server.reply = lambda body: "[" * 100_000
    with pytest.raises(EndpointError, match="no chat completion"):
        list(model.answer(requests()))


def test_a_reply_is_utf_8_whatever_the_header_says(server, model):
    server.content_type = "application/json; charset=iso-8859-1"
    server.reply = lambda body: json.dumps(completion("déjà vu"), ensure_ascii=False)
    [(_, answer)] = model.answer(requests())
    assert answer.text == "déjà vu"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, {"error": "the model is not loaded"}, "the model is not loaded"),
        (404, {"detail": "no such route"}, "no such route"),
        (403, "<html>  blocked by\nthe proxy</html>", "blocked by the proxy"),
        (
            402,
            {"error": {"message": "top up your account"}},
            "refused the request: Error code: 402 - top up your account",
        ),
    ],
)
def test_what_a_refusal_says_is_passed_on_however_it_says_it(server, model, status, body, told):
    server.reply = lambda asked: (status, body)
    with pytest.raises(EndpointError) as caught:
        list(model.answer(requests()))
    assert told in caught.value.what and "tries" not in caught.value.what and len(server.seen) == 1


def test_settings_that_a_model_does_not_take_are_left_out_from_then_on(server, model):
    def reply(body):
        for name in ("temperature", "max_tokens"):
            if name in body:
                return 400, {"error": {"message": f"unsupported {name}", "param": name}}
        return completion()

    server.reply = reply
    assert len(list(model.answer(requests()))) == 1
    assert server.seen[-1]["max_completion_tokens"] == 7 and "seed" in server.seen[-1]
    before = len(server.seen)
    list(model.answer(requests()))
    assert len(server.seen) == before + 1


def test_a_model_that_samples_as_it_likes_is_not_voted_on(server, model):
    refusal = {"error": {"message": "unsupported temperature", "param": "temperature"}}
    server.reply = lambda body: (400, refusal) if "temperature" in body else completion()
    voting = VotingModel(model, votes=3, temperature=0.7, form=str, form_name="text")
    with pytest.raises(EndpointError, match="lets nobody set the temperature"):
        list(voting.answer(requests()))


def test_choices_and_schemas_are_asked_for(server, model):
    server.reply = lambda body: completion('{"answer": "b"}')
    [(_, answer)] = model.answer(requests(constraint=Constraint(choices=("a", "b"))))
    assert answer.text == "b"
    schema = server.seen[-1]["response_format"]["json_schema"]
    assert schema["strict"] is True and schema["schema"]["properties"]["answer"]["enum"] == ["a", "b"]
    server.reply = lambda body: completion("just b")
    [(_, answer)] = model.answer(requests(constraint=Constraint(choices=("a", "b"))))
    assert answer.text == "just b"
    for text, strict in (
        ('{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}', True),
        ('{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}', False),
        ('{"type":"object","properties":{"a":{"type":"object"}},"required":["a"],"additionalProperties":false}', False),
    ):
        [(_, answer)] = model.answer(requests(constraint=Constraint(json_schema=text)))
        sent = server.seen[-1]["response_format"]["json_schema"]
        assert sent["schema"] == json.loads(text) and sent["strict"] is strict


def test_a_server_that_is_not_there():
    model = EndpointModel("http://127.0.0.1:9/v1#m", retries=0, timeout=2)
    with pytest.raises(EndpointError, match="failed after 1 tries"):
        list(model.answer(requests()))
    model._client.close()


def test_the_key_stays_off_the_open_network():
    from luthier.models._endpoint import _may_see_key

    assert _may_see_key("https://api.openai.com/v1") and _may_see_key("http://localhost:80/v1")
    assert _may_see_key("http://127.0.0.5/v1") and _may_see_key("http://[::1]:8000/v1")
    assert not _may_see_key("http://10.0.0.4/v1") and not _may_see_key("http://example.org/v1")


def test_without_a_key(server, model, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    list(model.answer(requests()))
    assert server.keys == ["Bearer none"]


@pytest.mark.parametrize("name", ["https://host/v1", "https://host/v1#", "http://#m"])
def test_names_without_a_model(name):
    with pytest.raises(ModelError, match="names no model"):
        load_model(name)


def test_identity_and_counting():
    one = EndpointModel("http://h/v1#m")
    assert one.identity == EndpointModel("http://h/v1/#m").identity != EndpointModel("http://h/v1#n").identity
    assert one.count_tokens((Message("user", "12345678"), Message("user", ""))) == 4 + 2 + 4


def test_replies_that_are_no_answer_are_charged_where_they_say_what_they_took(server, model):
    price = Price(1.0, 2.0, 1.0, "test", "2026-01-31")
    budget = Budget(1.0, price)
    model.spend_within(budget)
    tries = iter([completion() | {"choices": []}, "<html>", completion(), completion()])
    server.reply = lambda body: next(tries)
    list(model.answer(requests(1)))
    assert budget.spent == pytest.approx(2 * (10 + 2 * 3) / 1e6)  # one reply without choices, one answer
    list(model.answer(requests(1)))
    assert budget.spent == pytest.approx(3 * (10 + 2 * 3) / 1e6)

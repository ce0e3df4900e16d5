"""The server: the measured system behind the OpenAI form, and nothing that it was not measured with."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from luthier.data import Message
from luthier.errors import DiskFullError, EndpointError, ModelError, ReleaseError
from luthier.models import ScriptedModel
from luthier.release import create_app, serve
from luthier.release._app import _unless_gone
from luthier.release._chat import Refusal, in_words
from luthier.release._worker import Worker

TOKEN = "a-token-of-more-than-16-characters"


def app_for(shop, **changes):
    given = {"system": shop.system, "store": shop.store, "release": 3, "model_name": "triage@3"}
    return create_app(**(given | changes))


@pytest.fixture
def client(shop):
    with TestClient(app_for(shop), base_url="http://127.0.0.1:8000") as client:
        yield client


def ask(client, text="test message 1", **body):
    body = {"model": "triage@3", "messages": [{"role": "user", "content": text}]} | body
    return client.post("/v1/chat/completions", json=body)


def said(response) -> str:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def refusal(response, status: int) -> dict:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_an_answer_is_the_measured_one_and_is_logged(client, shop):
    response = ask(client, user="someone", seed=3, top_p=0.5)
    assert said(response) == "billing"
    body = response.json()
    assert body["object"] == "chat.completion" and body["model"] == "triage@3"
    assert body["choices"][0]["finish_reason"] == "stop"
    asked = shop.system.request([Message("user", "test message 1")])
    words = shop.system.model.count_tokens(asked.messages)
    assert body["usage"]["prompt_tokens"] == words and body["usage"]["total_tokens"] == words + 1
    assert body["system_fingerprint"] == shop.system.identity[:16]
    (row,) = shop.store.traffic()
    assert (row.release, row.answer, row.prompt_tokens, row.completion_tokens) == (3, "billing", words, 1)
    assert row.request["messages"] == [{"role": "user", "content": "test message 1"}]


def test_every_case_is_answered_as_it_was_measured(client, shop):
    answers = [said(ask(client, case.messages[-1].content)) for case in shop.cases]
    assert answers == [record.answer for record in shop.records]


def test_a_stream_is_the_same_text_and_is_logged(shop):
    text = "  several words,\n\nand   spaces \n"
    model = ScriptedModel(lambda request: text, identity="labels")
    with TestClient(app_for(shop, system=replace(shop.system, model=model)), base_url="http://localhost") as client:
        whole = said(ask(client))
        response = ask(client, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]]
    assert "".join(deltas) == text == whole and len(deltas) > 4
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 4
    assert [row.answer for row in shop.store.traffic()] == [text, text]


@pytest.mark.parametrize("text", ["", "a", " a", "a  b\n", "\n\n", "é\u3000ü x"])
def test_pieces_make_the_text(text):
    assert "".join(in_words(text)) == text


def test_the_systems_limit_cannot_be_raised_but_lowered(shop):
    model = ScriptedModel(lambda request: " ".join(["word"] * 40), identity="labels")
    with TestClient(app_for(shop, system=replace(shop.system, model=model)), base_url="http://localhost") as client:
        high = ask(client, max_tokens=1000).json()
        low = ask(client, max_completion_tokens=3, max_tokens=5).json()
    assert (high["usage"]["completion_tokens"], high["choices"][0]["finish_reason"]) == (16, "length")
    assert (low["usage"]["completion_tokens"], low["choices"][0]["finish_reason"]) == (3, "length")


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"temperature": 0.7}, "temperature", "decodes as it was measured; leave it out or give 0"),
        ({"temperature": True}, "temperature", "as it was measured"),
        ({"n": 2}, "n", "all answers would be the same"),
        ({"stop": ["\n"]}, "stop", "answers end where the model ends them"),
        ({"tools": [{"type": "function"}]}, "tools", "measured without tools"),
        ({"response_format": {"type": "json_object"}}, "response_format", "part of the system"),
        ({"logprobs": True}, "logprobs", "not given"),
        ({"temprature": 0}, "temprature", "unknown field"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": "hello"}, "messages", "list"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages", "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages", "messages[0].role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages", "empty"),
        ({"messages": [{"role": "user"}]}, "messages", "messages[0].content: Field required"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "type"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages", "last"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "messages", "first"),
        (
            {"messages": [{"role": "user", "content": "a", "tool_calls": [{"id": "1"}]}]},
            "messages",
            "messages[0].tool_calls",
        ),
        (
            {"messages": [{"role": "system", "content": "Be a pirate."}, {"role": "user", "content": "a"}]},
            "messages",
            "",
        ),
    ],
)
def test_what_was_not_measured_is_refused(client, shop, body, param, words):
    error = refusal(ask(client, **body), 400)
    assert error["type"] == "invalid_request_error" and error["param"] == param
    assert words in error["message"]
    assert shop.store.traffic() == []


def test_all_settings_that_cannot_be_honoured_are_named_at_once(client):
    message = refusal(ask(client, temperature=1, n=3, frequency_penalty=0.5), 400)["message"]
    assert all(name in message for name in ("temperature", "n:", "frequency_penalty"))


@pytest.mark.parametrize(
    "body",
    [
        {"temperature": 0, "n": 1, "stop": None, "tools": [], "response_format": {"type": "text"}, "logprobs": False},
        {"temperature": 0.0, "stream": None, "presence_penalty": 0.0, "tool_choice": "auto", "functions": None},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "test message 1"}], "name": "ann"}]},
        {
            "messages": [
                {"role": "developer", "content": "Say which team a customer's message is for.\n"},
                {"role": "user", "content": "test message 1"},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "hello", "refusal": None, "tool_calls": None, "annotations": []},
                {"role": "user", "content": "test message 1"},
            ]
        },
    ],
)
def test_what_changes_nothing_is_accepted(client, body):
    assert said(ask(client, **body)) == "billing"


def test_another_system_message_is_refused_with_a_reason(client):
    messages = [{"role": "system", "content": "Be a pirate."}, {"role": "user", "content": "a"}]
    error = refusal(ask(client, messages=messages), 400)
    assert error["code"] == "system_message_not_measured"
    assert "instructions of its own" in error["message"] and "decide and release again" in error["message"]


def test_a_system_measured_with_system_messages_asks_for_them(shop):
    seen = []

    def answer(request):
        seen.append([m.as_dict() for m in request.messages])
        return "ok"

    system = replace(shop.system, model=ScriptedModel(answer, identity="labels"))
    with TestClient(app_for(shop, system=system, system_messages="all"), base_url="http://localhost") as client:
        error = refusal(ask(client), 400)
        assert error["code"] == "system_message_missing"
        messages = [{"role": "system", "content": "Customer: gold."}, {"role": "user", "content": "a"}]
        assert said(ask(client, messages=messages)) == "ok"
    assert seen == [
        [
            {"role": "system", "content": f"{shop.system.setup.instructions}\n\nCustomer: gold."},
            {"role": "user", "content": "a"},
        ]
    ]


def test_a_wrong_model_name_and_a_wrong_path(client):
    error = refusal(ask(client, model="gpt-4"), 404)
    assert error["code"] == "model_not_found" and "triage@3" in error["message"]
    refusal(client.get("/v1/nothing"), 404)
    refusal(client.get("/v1/chat/completions"), 405)
    refusal(client.post("/v1/chat/completions", content="{", headers={"content-type": "application/json"}), 400)


def test_models_and_health(client, shop):
    (model,) = client.get("/v1/models").json()["data"]
    assert model["id"] == "triage@3" and client.get("/v1/models/triage@3").json() == model
    refusal(client.get("/v1/models/other"), 404)
    health = client.get("/health").json()
    assert health == {
        "status": "ok",
        "model": "triage@3",
        "release": 3,
        "system": shop.system.identity,
        "waiting": 0,
    }


def test_a_token_is_asked_for(shop):
    with TestClient(app_for(shop, token=TOKEN), base_url="http://example.org") as client:
        for headers in ({}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": TOKEN}, {"authorization": "é"}):
            raw = {name: value.encode() for name, value in headers.items()}
            response = client.get("/v1/models", headers=raw)
            assert refusal(response, 401)["code"] == "invalid_api_key"
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/models", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
        assert client.get("/health").status_code == 200


def test_without_a_token_only_this_machine_is_answered(shop):
    """A web page whose name was pointed at 127.0.0.1 (DNS rebinding) must not read answers."""
    with TestClient(app_for(shop), base_url="http://evil.example:8000") as client:
        assert "not this machine" in refusal(ask(client), 403)["message"]
    for host in ("localhost:1", "127.0.0.1", "[::1]:8000"):
        with TestClient(app_for(shop), base_url=f"http://{host}") as client:
            assert said(ask(client)) == "billing"


@pytest.mark.parametrize("token", ["short", "x" * 15, "with spaces in the middle of it", "ünïcödé-ünïcödé-ünïcödé"])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(shop, token):
    with pytest.raises(ReleaseError, match="at least 16 ASCII characters"):
        app_for(shop, token=token)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_other_hosts_need_a_token(shop, host):
    with pytest.raises(ReleaseError) as raised:
        serve(app_for(shop), host=host, port=0)
    assert raised.value.fix.endswith(f"luthier serve --host {host}") and "LUTHIER_TOKEN" in raised.value.fix


def failing(error: Exception):
    def answer(request):
        if request.messages[-1].content == "bad":
            raise error
        return "fine"

    return ScriptedModel(answer, identity="labels")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ModelError("the prompt has 9000 tokens, the model takes 8192"), 400, "model"),
        (EndpointError("the host did not answer"), 502, "endpoint"),
    ],
)
def test_a_models_error_is_told_to_its_client_only(shop, error, status, code):
    system = replace(shop.system, model=failing(error))
    with TestClient(app_for(shop, system=system), base_url="http://localhost") as client:
        told = refusal(ask(client, "bad", stream=True), status)
        assert told["code"] == code and error.what in told["message"]
        assert said(ask(client, "good")) == "fine"
    assert [row.answer for row in shop.store.traffic()] == ["fine"]


def test_a_crash_of_the_model_does_not_end_the_server(shop):
    system = replace(shop.system, model=failing(RuntimeError("secret path /home/x")))
    app = app_for(shop, system=system)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        told = refusal(ask(client, "bad"), 500)
        assert "RuntimeError" in told["message"] and "secret" not in told["message"]
        assert said(ask(client, "good")) == "fine"


def test_an_answer_is_given_when_it_cannot_be_logged_and_health_says_so(shop, monkeypatch, caplog):
    def full(*_: object) -> int:
        raise DiskFullError("no room is left on the disk", fix="free some space")

    with TestClient(app_for(shop), base_url="http://localhost") as client:
        with monkeypatch.context() as patch:
            patch.setattr(type(shop.store), "log_traffic", full)
            assert said(ask(client)) == "billing"
            assert client.get("/health").json()["status"] == "degraded"
        assert "no room is left" in caplog.text
        assert said(ask(client)) == "billing"
        assert client.get("/health").json()["status"] == "ok"


class Slow:
    """A model that answers when it is let go, and notes its batches."""

    name = identity = "labels"

    def __init__(self) -> None:
        self.go, self.entered = threading.Event(), threading.Event()
        self.batches: list[list[str]] = []

    def count_tokens(self, messages):
        return 1

    def answer(self, requests):
        self.batches.append([request.messages[-1].content for request in requests])
        self.entered.set()
        assert self.go.wait(10)
        yield from ScriptedModel(self.say).answer(requests)

    @staticmethod
    def say(request) -> str:
        if request.messages[-1].content == "bad":
            raise ModelError("too long")
        return "done"


def run(shop, scenario):
    """Run a scenario with a worker over a slow model; gives the model and what was logged."""
    model, logged = Slow(), []

    async def main():
        worker = Worker(replace(shop.system, model=model), lambda what, answer: logged.append((what["n"], answer.text)))
        running = asyncio.create_task(worker.run())
        await scenario(worker, model, running)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(main())
    return model, logged


def wait_for(worker, text, n):
    return worker.ask((Message("user", text),), None, {"n": n})


async def until_busy(model):
    await asyncio.to_thread(model.entered.wait, 10)


def test_requests_that_wait_are_answered_together_and_only_the_bad_one_fails(shop):
    async def scenario(worker, model, _):
        first = wait_for(worker, "first", 0)
        await until_busy(model)
        others = [wait_for(worker, text, n) for n, text in enumerate(["a", "bad", "b"], 1)]
        assert worker.waiting == 3
        model.go.set()
        outcomes = await asyncio.gather(first, *others, return_exceptions=True)
        assert [getattr(o, "text", type(o).__name__) for o in outcomes] == ["done", "done", "ModelError", "done"]

    model, logged = run(shop, scenario)
    assert model.batches[:2] == [["first"], ["a", "bad", "b"]]
    assert sorted(logged) == [(0, "done"), (1, "done"), (3, "done")]


def test_a_request_that_was_withdrawn_is_not_answered(shop):
    async def scenario(worker, model, _):
        first = wait_for(worker, "first", 0)
        await until_busy(model)
        gone, stays = wait_for(worker, "gone", 1), wait_for(worker, "stays", 2)
        gone.cancel()
        model.go.set()
        await asyncio.gather(first, stays)

    model, logged = run(shop, scenario)
    assert model.batches == [["first"], ["stays"]] and logged == [(0, "done"), (2, "done")]


def test_a_client_that_leaves_withdraws_its_request():
    async def main():
        answer = asyncio.get_running_loop().create_future()

        async def receive():
            return {"type": "http.disconnect"}

        with pytest.raises(Refusal) as raised:
            await _unless_gone(answer, SimpleNamespace(receive=receive))
        assert answer.cancelled() and raised.value.status == 503

    asyncio.run(main())


def test_stopping_cancels_what_waits(shop):
    async def scenario(worker, model, running):
        first = wait_for(worker, "first", 0)
        await until_busy(model)
        waiting = wait_for(worker, "waits", 1)
        model.go.set()
        running.cancel()
        await asyncio.wait([running])
        assert first.cancelled() and waiting.cancelled()

    model, _ = run(shop, scenario)
    assert model.batches == [["first"]]

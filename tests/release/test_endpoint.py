"""The real server on a real port, asked by the openai client."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import openai
import pytest
import uvicorn

from luthier.errors import ReleaseError
from luthier.models import ScriptedModel
from luthier.release import create_app, serve

TOKEN = "a-token-of-more-than-16-characters"


@contextmanager
def serving(shop, monkeypatch, **app) -> Iterator[str]:
    """Serve in a thread; gives the base URL."""
    urls: list[str] = []
    known = threading.Event()
    servers: list[uvicorn.Server] = []
    built = uvicorn.Server.__init__

    def kept(self, config):
        servers.append(self)
        built(self, config)

    def ready(url: str) -> None:
        urls.append(url)
        known.set()

    monkeypatch.setattr(uvicorn.Server, "__init__", kept)
    application = create_app(shop.system, store=shop.store, release=1, model_name="triage@1", **app)
    thread = threading.Thread(target=serve, args=(application,), kwargs={"port": 0, "ready": ready})
    thread.start()
    try:
        assert known.wait(20)
        yield urls[0]
    finally:
        servers[0].should_exit = True
        thread.join(20)
    assert not thread.is_alive()


def test_the_openai_client_gets_the_measured_answers(shop, monkeypatch):
    with (
        serving(shop, monkeypatch, token=TOKEN) as url,
        openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == ["triage@1"]
        for case, record in list(zip(shop.cases, shop.records, strict=True))[:3]:
            messages = [{"role": m.role, "content": m.content} for m in case.messages]
            whole = client.chat.completions.create(model="triage@1", messages=messages)
            assert whole.choices[0].message.content == record.answer
            assert whole.usage.prompt_tokens == record.prompt_tokens
            stream = client.chat.completions.create(
                model="triage@1", messages=messages, stream=True, stream_options={"include_usage": True}
            )
            chunks = list(stream)
            text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert text == record.answer and chunks[-1].usage == whole.usage
        with pytest.raises(openai.BadRequestError, match="decodes as it was measured"):
            client.chat.completions.create(model="triage@1", messages=messages, temperature=0.7)
        with pytest.raises(openai.NotFoundError, match="triage@1"):
            client.chat.completions.create(model="gpt-4", messages=messages)
        with pytest.raises(openai.AuthenticationError, match="Bearer"):
            client.with_options(api_key="wrong").models.list()
    assert len(shop.store.traffic()) == 6


def test_a_port_in_use_is_named(shop):
    app = create_app(shop.system, store=shop.store, release=1, model_name="triage@1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ReleaseError, match=f"port {port} on 127.0.0.1 is taken") as raised:
            serve(app, port=port)
    assert f"--port {port + 1}" in raised.value.fix


def test_an_address_of_another_machine_is_refused(shop):
    app = create_app(shop.system, store=shop.store, release=1, model_name="triage@1", token=TOKEN)
    with pytest.raises(ReleaseError, match=r"cannot listen on 203\.0\.113\.7"):
        serve(app, host="203.0.113.7", port=0)


def test_ctrl_c_finishes_the_answer_and_ends_cleanly(shop):
    """The interrupt comes while an answer is being made: the client still gets it, and `serve` returns."""
    urls, answers = [], []

    def slow(request) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        return "done"

    def ask() -> None:
        with openai.OpenAI(base_url=urls[0], api_key="none", max_retries=0) as client:
            reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
            answers.append(reply.choices[0].message.content)

    asking = threading.Thread(target=ask)

    def ready(url: str) -> None:
        urls.append(url)
        asking.start()

    system = replace(shop.system, model=ScriptedModel(slow, identity="labels"))
    serve(create_app(system, store=shop.store, release=1, model_name="m"), port=0, ready=ready)
    asking.join(20)
    assert answers == ["done"] and [row.answer for row in shop.store.traffic()] == ["done"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(urls[0].split(":")[2].split("/")[0])), timeout=5)

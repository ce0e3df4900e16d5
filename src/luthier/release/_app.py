"""The web application over a system: `/v1/chat/completions`, `/v1/models`, `/health`. Imported only to serve."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse

from luthier import __version__
from luthier.errors import EndpointError, LuthierError, ModelError
from luthier.models import Answer
from luthier.release._chat import ChatBody, Refusal, Reply, SystemMessages, check_settings, conversation, in_words
from luthier.release._worker import Worker

if TYPE_CHECKING:
    from luthier.decide import System
    from luthier.store import Store

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def build_app(
    system: System,
    *,
    store: Store,
    release: int,
    token: str | None,
    model_name: str,
    system_messages: SystemMessages,
) -> FastAPI:
    """See `create_app`."""

    def record(logged: dict[str, Any], answer: Answer) -> None:
        store.log_traffic(release, logged, answer.text, answer.prompt_tokens, answer.completion_tokens, answer.seconds)

    @asynccontextmanager
    async def working(app: FastAPI) -> AsyncIterator[None]:
        app.state.worker = Worker(system, record)
        running = asyncio.create_task(app.state.worker.run())
        yield
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    async def admit(request: Request) -> None:
        _admit(request, token)

    app = FastAPI(title=model_name, version=__version__, lifespan=working, docs_url=None, redoc_url=None)
    app.state.token = token
    _answer_errors(app)
    _add_health(app, {"model": model_name, "release": release, "system": system.identity})
    guarded = APIRouter(prefix="/v1", dependencies=[Depends(admit)])
    _add_models(guarded, model_name)
    _add_chat(guarded, system, model_name, system_messages)
    app.include_router(guarded)
    return app


def _add_health(app: FastAPI, what: dict[str, Any]) -> None:
    @app.get("/health")
    async def health() -> dict[str, Any]:
        worker: Worker = app.state.worker
        state = {**what, "waiting": worker.waiting}
        if worker.unlogged:
            return {"status": "degraded", "why": "traffic is not logged", **state}
        return {"status": "ok", **state}


def _add_models(router: APIRouter, name: str) -> None:
    card = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "luthier"}

    @router.get("/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card]}

    @router.get("/models/{asked:path}")
    async def model(asked: str) -> dict[str, Any]:
        _check_name(asked, name)
        return card


def _add_chat(router: APIRouter, system: System, name: str, own: SystemMessages) -> None:
    @router.post("/chat/completions")
    async def chat(body: ChatBody, request: Request) -> Response:
        _check_name(body.model, name)
        check_settings(body)
        messages = conversation(body, system.setup.instructions, own)
        logged = {"messages": [m.as_dict() for m in messages], "max_tokens": body.limit, "stream": body.stream}
        answer = await _unless_gone(request.app.state.worker.ask(messages, body.limit, logged), request)
        reply = Reply(name, system.identity[:16])
        if not body.stream:
            return JSONResponse(reply.whole(answer))
        return StreamingResponse(_events(reply, answer, body.wants_usage), media_type="text/event-stream")


def _events(reply: Reply, answer: Answer, usage: bool) -> Iterator[str]:
    """The stream of an answer that is known: a failure is an error response before it, never half a stream."""
    yield reply.first()
    for piece in in_words(answer.text):
        yield reply.piece(piece)
    yield from reply.last(answer, usage=usage)


async def _unless_gone(answer: asyncio.Future[Answer], request: Request) -> Answer:
    """The answer; withdrawn from the queue when the client goes away first."""
    gone = asyncio.create_task(_disconnected(request))
    either: list[asyncio.Future[Any]] = [answer, gone]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not answer.done():
            answer.cancel()
    if answer.cancelled():
        raise Refusal(503, "the server is shutting down, or the client has gone", code="not_answered")
    return answer.result()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _check_name(asked: str, name: str) -> None:
    if asked != name:
        raise Refusal(
            404, f"the model {asked!r} is not served here; this is {name!r}", param="model", code="model_not_found"
        )


def _admit(request: Request, token: str | None) -> None:
    """With a token: whoever knows it. Without: this machine, and no web page that a name was rebound for."""
    if token is None:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
        if host not in LOOPBACK_NAMES:
            raise Refusal(403, f"host {host!r} is not this machine; without a token only it is answered", code="host")
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not right:
        raise Refusal(401, "send the server's token: Authorization: Bearer TOKEN", code="invalid_api_key")


def _answer_errors(app: FastAPI) -> None:
    """Every error as the OpenAI API words it."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse(error.as_dict(), error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        return await refused(_, _malformed(error))

    @app.exception_handler(404)  # by number: what the router raises is not FastAPI's own class
    @app.exception_handler(405)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(Refusal(error.status_code, str(error.detail)).as_dict(), error.status_code, error.headers)

    @app.exception_handler(LuthierError)
    async def failed(_: Request, error: LuthierError) -> JSONResponse:
        # the model says what is wrong with the request; a hosted model's or a store's failure is not the client's fault
        status = 502 if isinstance(error, EndpointError) else 400 if isinstance(error, ModelError) else 500
        return await refused(_, Refusal(status, " ".join(str(error).split()), code=error.code))

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        return await refused(_, Refusal(500, f"the model failed: {type(error).__name__}; see the server's log"))


def _malformed(error: RequestValidationError) -> Refusal:
    problems = []
    for problem in error.errors():
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"][1:]).lstrip(".")
        problems.append(f"{place}: {problem['msg']}" if place else problem["msg"])
    where = error.errors()[0]["loc"][1:2]
    return Refusal(400, "; ".join(problems), param=str(where[0]) if where else None, code="invalid_body")

"""The HTTP server of the PyTorch engine, in the dialect of llama.cpp's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import torch
from aiohttp import web
from jinja2 import TemplateError
from pydantic import BaseModel, ValidationError

from qcheck.jsonio import loads
from qcheck.lab.catalog import TorchSettings
from qcheck.lab.decoder import read_decoder
from qcheck.lab.gguf_files import open_gguf
from qcheck.lab.messages import EngineStart
from qcheck.lab.tokenizer import read_tokenizer, token_bytes
from qcheck.lab.torch_engine.batching import Batcher
from qcheck.lab.torch_engine.chat import ChatTemplate
from qcheck.lab.torch_engine.completions import (
    ChatRequest,
    CompletionRequest,
    chat_choice,
    completion_body,
    text_choice,
)
from qcheck.lab.torch_engine.generation import generate
from qcheck.lab.torch_engine.placing import placed

__all__ = ["Server"]

MAX_REQUEST_BYTES: Final = 1 << 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = TypeVar("Body", bound=BaseModel)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        kind = {404: "not_found_error", 500: "server_error"}.get(error.status, "invalid_request_error")
        body = {"error": {"code": error.status, "message": error.text, "type": kind}}
        return web.json_response(body, status=error.status)


async def _parsed(request: web.Request, form: type[Body]) -> Body:
    """The body of a request. Raises HTTPBadRequest."""
    try:
        return form.model_validate(loads(await request.read()))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise web.HTTPBadRequest(text=f"Field '{field}': {first['msg']}" if field else first["msg"]) from error
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"the body is not JSON: {error}") from error


class Server:
    """The HTTP handlers, with the model that they serve. Raises LabError for a file that is no model of the lab."""

    def __init__(self, start: EngineStart) -> None:
        settings = start.settings
        assert isinstance(settings, TorchSettings)
        reader = open_gguf(Path(start.model))
        decoder = placed(read_decoder(reader, getattr(torch, settings.dtype)), settings)
        eos = reader.fields["tokenizer.ggml.eos_token_id"].contents()
        self._model = start.model
        self._context = decoder.shape.context
        self._tokenizer = read_tokenizer(reader)
        self._pieces = token_bytes(reader)
        self._template = ChatTemplate(start.template)
        self._batcher = Batcher(
            partial(generate, decoder, eos=eos, rows=settings.batch, pad_to=settings.pad_to), settings.batch
        )

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[_errors_as_json])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.cleanup_ctx.append(self._batches)
        return app

    async def _batches(self, _: web.Application) -> AsyncIterator[None]:
        self._worker = asyncio.create_task(self._batcher.run())
        yield
        self._worker.cancel()

    async def _health(self, _: web.Request) -> web.Response:
        if self._worker.done():
            raise web.HTTPServiceUnavailable(text="nothing computes answers any more")
        return web.json_response({"status": "ok"})

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": self._model, "object": "model", "created": 0, "owned_by": "pytorch"}
        return web.json_response({"object": "list", "data": [model]})

    async def _complete(self, request: web.Request) -> web.Response:
        body = await _parsed(request, CompletionRequest)
        if isinstance(body.prompt, str):
            ids = self._tokenizer.encode(body.prompt).ids
        elif all(0 <= token < len(self._pieces) for token in body.prompt):
            ids = body.prompt
        else:
            raise web.HTTPBadRequest(text="Prompt contains invalid tokens")
        prompt = body.to_prompt(ids, self._room(ids), body.logprobs or 0)
        answer = await self._batcher.answer(replace(prompt, echo=body.echo))
        choice = text_choice(body, answer, self._pieces)
        return web.json_response(completion_body("text_completion", self._model, choice, len(ids), answer))

    async def _chat(self, request: web.Request) -> web.Response:
        body = await _parsed(request, ChatRequest)
        messages = [message.model_dump() for message in body.messages]
        try:
            text = self._template.render(
                messages, body.tools, body.chat_template_kwargs, continue_final=body.continue_final_message
            )
        except ValueError as error:
            raise web.HTTPInternalServerError(text=str(error)) from error  # llama.cpp's status for the same
        except (TemplateError, TypeError, KeyError) as error:
            raise web.HTTPBadRequest(text=f"the chat template does not take these messages: {error}") from error
        ids = self._tokenizer.encode(text).ids
        answer = await self._batcher.answer(body.to_prompt(ids, self._room(ids), body.listed))
        choice = chat_choice(body, text, answer, self._pieces)
        return web.json_response(completion_body("chat.completion", self._model, choice, len(ids), answer))

    def _room(self, ids: Sequence[int]) -> int:
        """How many tokens of the context a prompt leaves. Raises HTTPBadRequest where it leaves none."""
        if (room := self._context - len(ids)) > 0:
            return room
        raise web.HTTPBadRequest(
            text=f"request ({len(ids)} tokens) exceeds the available context size ({self._context} tokens)"
        )

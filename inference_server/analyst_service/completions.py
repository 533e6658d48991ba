# SPDX-License-Identifier: AGPL-3.0-or-later
"""What OpenAI's protocol asks and answers, for one endpoint: chat completions.

See https://platform.openai.com/docs/api-reference/chat/create. What cannot be done is refused; fields that only say how
a request is billed or kept are passed over, as other servers do.
"""

import binascii
import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference_server.api.problems import ProblemCode, ProblemError
from inference_server.risk.analyst.language_model import LanguageAnswer, LanguageRequest, Speaker, Turn
from inference_server.risk.analyst.schema import ANY_OBJECT, JsonSchema, SchemaError

DEFAULT_TOKENS = 512
_UNSUPPORTED = ("tools", "functions", "logprobs", "top_logprobs", "logit_bias", "audio", "prediction")
"""Fields that change the answer, and that are refused unless they are empty."""
_NEUTRAL = {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}
"""Fields that are taken with the value that changes nothing."""
_DATA_URL = "data:image/jpeg;base64,"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "image_url"]
    text: str = ""
    image_url: dict[str, Any] = {}


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]


class _JsonSchemaFormat(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    schema_: dict[str, Any] = Field(alias="schema")


class _Format(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchemaFormat | None = None


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class Completion(BaseModel):
    """A request as it came."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    messages: list[_Message] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(None, ge=1, le=1 << 17)
    max_completion_tokens: int | None = Field(None, ge=1, le=1 << 17)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = Field(None, ge=0, lt=1 << 32)
    n: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    response_format: _Format | None = None


def completion_of(content: bytes) -> Completion:
    """Return the request in a body. Raises ProblemError."""
    try:
        asked = Completion.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise invalid(f"{where}: {first['msg']}.") from error
    given = asked.model_extra or {}
    for name in _UNSUPPORTED:
        if given.get(name):
            raise invalid(f"{name} is not supported here.")
    for name, neutral in _NEUTRAL.items():
        if given.get(name) not in {None, neutral}:
            raise invalid(f"{name} is not supported here; only {neutral} is taken.")
    if asked.n not in {None, 1}:
        raise invalid("n: one answer is given at a time; leave it out, or ask several times.")
    return asked


def request_of(asked: Completion, *, sees_pictures: bool, seconds: float) -> LanguageRequest:
    """Return what the model is asked. Raises ProblemError."""
    start = next((at for at, message in enumerate(asked.messages) if not _is_system(message)), len(asked.messages))
    before, last = asked.messages[start:-1], asked.messages[-1]
    if last.role != "user" or any(_is_system(message) for message in before):
        raise invalid("messages: first come those of the system, and the last one is the user's.")
    pictures = tuple(_pictures(last))
    if pictures and not sees_pictures:
        raise invalid("messages: this model sees no pictures.")
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    try:
        return LanguageRequest(
            prefix="\n\n".join(_text(message) for message in asked.messages[:start]),
            earlier=tuple(Turn(Speaker(message.role), _text(message)) for message in before),
            prompt=_text(last),
            schema=_schema(asked.response_format),
            max_tokens=asked.max_completion_tokens or asked.max_tokens or DEFAULT_TOKENS,
            temperature=0.7 if asked.temperature is None else asked.temperature,
            seed=asked.seed or 0,
            stop=tuple(stop),
            pictures=pictures,
            deadline_seconds=seconds,
            strict=False,
        )
    except SchemaError as error:
        raise invalid(f"response_format: {error}") from error
    except ValueError as error:
        raise invalid(f"{error}.") from error


def _is_system(message: _Message) -> bool:
    return message.role in {"system", "developer"}


def _text(message: _Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content if part.type == "text")


def _pictures(message: _Message) -> Iterator[bytes]:
    for part in message.content if isinstance(message.content, list) else ():
        if part.type == "image_url":
            url = part.image_url.get("url")
            if not isinstance(url, str) or not url.startswith(_DATA_URL):
                raise invalid(f"messages: a picture is a URL that begins with {_DATA_URL}; none is fetched.")
            try:
                yield b64decode(url.removeprefix(_DATA_URL), validate=True)
            except (binascii.Error, ValueError) as error:
                raise invalid("messages: a picture is not in base64.") from error


def _schema(wanted: _Format | None) -> JsonSchema | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ANY_OBJECT
    if wanted.json_schema is None:
        raise invalid("response_format.json_schema is missing.")
    return JsonSchema(wanted.json_schema.schema_)


def invalid(detail: str) -> ProblemError:
    """Return the error of a request that cannot be answered as it is."""
    remedy = "docs/protocol.md describes what the analyst service understands."
    return ProblemError(ProblemCode.INVALID_REQUEST, detail, remedy, status=400)


def usage(answer: LanguageAnswer) -> dict[str, Any]:
    """Return how many tokens an answer took."""
    return {
        "prompt_tokens": answer.tokens_in,
        "completion_tokens": answer.tokens_out,
        "total_tokens": answer.tokens_in + answer.tokens_out,
        "prompt_tokens_details": {"cached_tokens": answer.tokens_in - answer.tokens_evaluated},
    }


def finish_reason(answer: LanguageAnswer) -> str:
    """Return why an answer ended."""
    return "stop" if answer.complete else "length"


def whole(number: str, created: int, answer: LanguageAnswer) -> dict[str, Any]:
    """Return an answer that is sent at once."""
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
    return {
        "id": number,
        "object": "chat.completion",
        "created": created,
        "model": answer.model,
        "choices": [choice],
        "usage": usage(answer),
    }


def chunk(number: str, created: int, model: str, delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Return a piece of an answer as an event."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return event(_chunk(number, created, model) | {"choices": [choice]})


def usage_chunk(number: str, created: int, answer: LanguageAnswer) -> bytes:
    """Return the last event but one, for who asks for it."""
    return event(_chunk(number, created, answer.model) | {"choices": [], "usage": usage(answer)})


def _chunk(number: str, created: int, model: str) -> dict[str, Any]:
    return {"id": number, "object": "chat.completion.chunk", "created": created, "model": model}


def event(message: dict[str, Any]) -> bytes:
    """Return a message as a server-sent event."""
    return f"data: {json.dumps(message)}\n\n".encode()


DONE = b"data: [DONE]\n\n"
ALIVE = b": working\n\n"
"""A comment, which readers pass over: the model still reads or thinks."""

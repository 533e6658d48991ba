# SPDX-License-Identifier: AGPL-3.0-or-later
"""Declaring a route once: for the router, for the checks before its handler, and for the OpenAPI document."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any

from aiohttp import hdrs, web
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from inference_server.api.accepting import preferred_form
from inference_server.api.authentication import AUTHENTICATOR
from inference_server.api.bodies import BODY_LIMITS, MAX_BODY, MULTIPART_EXTRA, Sent, read_json
from inference_server.api.context import CONTEXT, ApiContext
from inference_server.api.files import StoredFile, file_response
from inference_server.api.pictures import Look, Picture
from inference_server.api.problems import ProblemCode, invalid_request
from inference_server.core.camera import MAX_CAMERA_ID_LENGTH
from inference_server.detection.annotate import PictureForm
from inference_server.storage.tokens import Scope


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC the time must lie in the years 1 to 9999") from error


CameraId = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=MAX_CAMERA_ID_LENGTH)]
RowId = Annotated[int, Field(ge=1, lt=2**63)]
Width = Annotated[int, Field(ge=64, le=3840, description="Scales the picture down to this width; never up.")]
PageSize = Annotated[int, Field(ge=1, le=200, description="How many items a page holds.")]
Time = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Cursor = Annotated[str, Field(min_length=1, max_length=64, description="The `next_cursor` of the page before.")]

MOST_EXPLAINED = 5
"""Mistakes of one request that its answer names."""

PICTURE_TURNS = web.AppKey("picture_turns", asyncio.Semaphore)


BODY = "body"
"""The field of the parameters that is the request's body instead of a part of its path or query."""
CALLER = "caller"
"""The field of the parameters that is the name of the token which the request carries."""
NOT_SENT = frozenset({BODY, CALLER})
"""Fields of the parameters that stand neither in the path nor in the query."""


class Parameters(BaseModel):
    """What a request says in its path and query, checked. A name that no field has is refused.

    A field `body` declares that the request has one: a model, sent as JSON, or a `Sent`, which the handler reads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class PictureParameters(Parameters):
    """How wide a picture may be, and how it is encoded: where nothing is said, as the request's `Accept` likes it."""

    width: Width | None = None
    format: PictureForm | None = None

    @property
    def look(self) -> Look:
        """How the picture is wanted."""
        return Look(self.width, self.format or PictureForm.JPEG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route[Asked: Parameters, Answer: BaseModel | Picture | StoredFile | None]:
    """One method of one path. A scope of None needs no token; problems are those beyond the usual ones."""

    method: HTTPMethod = HTTPMethod.GET
    path: str
    summary: str
    scope: Scope | None
    parameters: type[Asked]
    answer: type[Answer]
    handler: Callable[[ApiContext, Asked], Awaitable[Answer]]
    problems: tuple[ProblemCode, ...] = ()
    max_body: Callable[[ApiContext], int] | None = None
    """How many bytes the file may have that is sent; None where none is."""
    created: Callable[[Answer], bool] | None = None
    """Tells of an answer whether something new was made (201)."""
    later: bool = False
    """Whether a success means that the work has begun and goes on (202)."""

    @property
    def has_body(self) -> bool:
        """Whether a request of this route has a body."""
        return BODY in self.parameters.model_fields

    @property
    def path_names(self) -> frozenset[str]:
        """The parameters that stand in the path; all others stand in the query."""
        return frozenset(re.findall(r"{(\w+)}", self.path))

    @property
    def status(self) -> HTTPStatus:
        """The status of a success."""
        if self.later:
            return HTTPStatus.ACCEPTED
        return HTTPStatus.OK if issubclass(self.answer, BaseModel | Picture | StoredFile) else HTTPStatus.NO_CONTENT

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Check a request, run the handler and return its answer as a response. Raises ProblemError."""
        besides: dict[str, Any] = {}
        if self.scope is not None:
            token = await request.app[AUTHENTICATOR].authorize(request, self.scope)
            besides = {CALLER: token.name} if CALLER in self.parameters.model_fields else {}
        asked = self._parse(request, {**await self._body(request), **besides})
        if isinstance(asked, PictureParameters) and asked.format is None:
            asked = asked.model_copy(update={"format": preferred_form(request)})
        answer = await self.handler(request.app[CONTEXT], asked)
        if isinstance(answer, Picture):
            return await _picture_response(request, answer)
        if isinstance(answer, StoredFile):
            return file_response(answer)
        if answer is None:
            return web.Response(status=self.status)
        status = HTTPStatus.CREATED if self.created and self.created(answer) else self.status
        return web.Response(text=answer.model_dump_json(), content_type="application/json", status=status)

    async def _body(self, request: web.Request) -> dict[str, Any]:
        if not self.has_body:
            return {}
        if self.parameters.model_fields[BODY].annotation is Sent:
            return {BODY: Sent(request, self.max_body(request.app[CONTEXT]) if self.max_body else MAX_BODY)}
        return {BODY: await read_json(request)}

    def _parse(self, request: web.Request, besides: dict[str, Any]) -> Asked:
        repeated = {name for name in request.query if len(request.query.getall(name)) > 1}
        repeated |= request.query.keys() & self.path_names
        if repeated:
            raise invalid_request(f"Given more than once: {_named(repeated)}.")
        if hidden := NOT_SENT & self.parameters.model_fields.keys() & request.query.keys():
            raise invalid_request(_sentence(min(hidden), "extra_forbidden", ""))
        try:
            return self.parameters.model_validate({**request.query, **request.match_info, **besides})
        except ValidationError as error:
            if all(item["loc"][:1] == (BODY,) for item in error.errors()):
                raise invalid_request(_explained(error)) from error
            known = self.parameters.model_fields.keys() - self.path_names - NOT_SENT
            remedy = f"Known parameters: {_named(known)}." if known else "This path takes no parameters."
            raise invalid_request(_explained(error), remedy) from error


type AnyRoute = Route[Any, Any]


def register(application: web.Application, routes: Iterable[AnyRoute]) -> None:
    """Give each route to the application's router. What can be got can be asked for its head too."""
    for route in routes:
        added = application.router.add_route(route.method, route.path, route.respond)
        if route.max_body:
            application[BODY_LIMITS][added] = route.max_body(application[CONTEXT]) + MULTIPART_EXTRA
        if route.method is HTTPMethod.GET:
            application.router.add_route(HTTPMethod.HEAD, route.path, route.respond)


async def _picture_response(request: web.Request, picture: Picture) -> web.Response:
    if any(tag.value in {picture.etag, "*"} for tag in request.if_none_match or ()):
        response = web.Response(status=HTTPStatus.NOT_MODIFIED)
    else:
        async with request.app[PICTURE_TURNS]:
            content = await asyncio.to_thread(picture.render)
        response = web.Response(body=content, content_type=picture.media_type)
    response.etag = picture.etag
    response.headers[hdrs.CACHE_CONTROL] = "private, no-cache"
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    return response


def _explained(error: ValidationError) -> str:
    problems = error.errors()[:MOST_EXPLAINED]
    return " ".join(
        _sentence(_place(item["loc"]), item["type"], item["msg"].removeprefix("Value error, ")) for item in problems
    )


def _place(steps: Sequence[int | str]) -> str:
    """Return the name of a parameter, or the way to a field of the body."""
    if steps[0] == BODY and len(steps) > 1:
        return ".".join(str(step)[:40] for step in steps[1:6])
    return str(steps[0])[:40]


def _sentence(name: str, kind: str, message: str) -> str:
    return f'There is no parameter "{name}".' if kind == "extra_forbidden" else f"{name}: {message}."


def _named(names: Iterable[str]) -> str:
    return ", ".join(name[:40] for name in sorted(names))

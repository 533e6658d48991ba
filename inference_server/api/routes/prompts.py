# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prompts: their versions, and which of them is in use."""

from http import HTTPMethod
from types import NoneType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, ProblemError, prompt_not_found
from inference_server.api.routes import prompt_trials
from inference_server.api.routing import AnyRoute, Parameters, Route, RowId
from inference_server.api.schema import UtcTime, WireObject
from inference_server.core.prompt import PromptKind, PromptVersion
from inference_server.risk.prompts.parts import PARTS
from inference_server.risk.prompts.text import MOST_CHARACTERS, Prompt, PromptError, read_prompt
from inference_server.storage import prompts
from inference_server.storage.prompts import MOST_VERSIONS, NewPrompt, Removal, TooManyVersionsError
from inference_server.storage.rows import storable
from inference_server.storage.tokens import Scope

MOST_NOTE = 500
PromptText = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]


class PromptVariableObject(WireObject):
    """A variable that a prompt may have."""

    name: str
    description: str
    in_prefix: bool
    """Whether the prefix may have it too: it is the same for every event."""


class PromptSectionObject(WireObject):
    """A section that a prompt may have."""

    id: str
    description: str
    core: bool
    """Whether each prompt must have it, and it is never left out."""


class PromptObject(WireObject):
    """A kind of prompt."""

    kind: PromptKind
    active: int | None
    """The number of the version in use."""
    versions: int
    variables: tuple[PromptVariableObject, ...]
    sections: tuple[PromptSectionObject, ...]


class PromptList(WireObject):
    """The kinds of prompts."""

    items: tuple[PromptObject, ...]


class PromptVersionObject(WireObject):
    """A version without its text."""

    kind: PromptKind
    number: int
    name: str
    note: str
    created_at: UtcTime
    created_by: str | None
    shipped: bool
    active: bool
    activated_at: UtcTime | None


class PromptVersionList(WireObject):
    """The versions of a kind, newest first."""

    items: tuple[PromptVersionObject, ...]


class FullPromptVersionObject(PromptVersionObject):
    """A version with its text."""

    text: str
    warnings: tuple[str, ...]
    """What may be used and is perhaps not meant."""
    problem: str | None
    """Why this server cannot use it."""


class OnePrompt(Parameters):
    """Names a kind of prompt."""

    kind: PromptKind


class OnePromptVersion(OnePrompt):
    """Names a version of a prompt."""

    number: RowId


class NewVersionBody(BaseModel):
    """A text that becomes a version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: PromptText
    note: Annotated[str, Field(max_length=MOST_NOTE)] = ""


class NewPromptVersion(OnePrompt):
    """Names a kind of prompt, and brings a new version of it."""

    body: NewVersionBody
    caller: str


async def list_kinds(context: ApiContext, _asked: Parameters) -> PromptList:
    """Return the kinds of prompts, and what they are made of."""
    async with context.database.reading() as connection:
        return PromptList(items=tuple([await _kind(connection, kind) for kind in PromptKind]))


async def list_versions(context: ApiContext, asked: OnePrompt) -> PromptVersionList:
    """Return the versions of a kind."""
    async with context.database.reading() as connection:
        found = await prompts.of_kind(connection, asked.kind)
    return PromptVersionList(items=tuple(map(_object, found)))


async def get(context: ApiContext, asked: OnePromptVersion) -> FullPromptVersionObject:
    """Return a version with its text."""
    async with context.database.reading() as connection:
        version = await prompts.get(connection, asked.kind, asked.number)
    if version is None:
        raise prompt_not_found(asked.kind, asked.number)
    return _full(version)


async def add(context: ApiContext, asked: NewPromptVersion) -> FullPromptVersionObject:
    """Store a text as a new version, which is not in use yet."""
    prompt = prompt_trials.read(asked.kind, asked.body.text)
    new = NewPrompt(
        kind=asked.kind,
        name=prompt.name,
        text=asked.body.text,
        note=storable(asked.body.note),
        created_by=asked.caller,
    )
    try:
        async with context.database.writing() as connection:
            return _full(await prompts.add(connection, new, context.clock.now()))
    except TooManyVersionsError as error:
        raise ProblemError(
            ProblemCode.PROMPT_IN_USE,
            f"{error}, and there may be {MOST_VERSIONS}.",
            "Remove some that were never used.",
        ) from error


async def activate(context: ApiContext, asked: OnePromptVersion) -> PromptVersionObject:
    """Make a version the one in use; the next event is judged with it."""
    async with context.database.writing() as connection:
        version = await prompts.get(connection, asked.kind, asked.number)
        if version is None:
            raise prompt_not_found(asked.kind, asked.number)
        prompt_trials.read(asked.kind, version.text)
        active = await prompts.activate(connection, asked.kind, asked.number, context.clock.now())
    return _object(active or version)


async def remove(context: ApiContext, asked: OnePromptVersion) -> None:
    """Remove a version that was never in use."""
    async with context.database.writing() as connection:
        removal = await prompts.remove(connection, asked.kind, asked.number)
    if removal is Removal.NOT_FOUND:
        raise prompt_not_found(asked.kind, asked.number)
    if removal is Removal.IN_USE:
        raise ProblemError(
            ProblemCode.PROMPT_IN_USE,
            f"Version {asked.number} of the prompt {asked.kind} is or was in use, or came with the product.",
            "It stays, so that it can be told what judged an event; activate another one instead.",
        )


async def _kind(connection: AsyncConnection, kind: PromptKind) -> PromptObject:
    versions = await prompts.of_kind(connection, kind)
    parts = PARTS[kind]
    described = {**parts.prefix_variables, **parts.task_variables}
    return PromptObject(
        kind=kind,
        active=next((version.number for version in versions if version.active), None),
        versions=len(versions),
        variables=tuple(
            PromptVariableObject(name=name, description=text, in_prefix=name in parts.prefix_variables)
            for name, text in described.items()
        ),
        sections=tuple(
            PromptSectionObject(id=name, description=part.description, core=part.core)
            for name, part in parts.sections.items()
        ),
    )


def _object(version: PromptVersion) -> PromptVersionObject:
    return PromptVersionObject(**{name: getattr(version, name) for name in PromptVersionObject.model_fields})


def _full(version: PromptVersion) -> FullPromptVersionObject:
    prompt: Prompt | None = None
    problem: str | None = None
    try:
        prompt = read_prompt(version.kind, version.text)
    except PromptError as error:
        problem = str(error)
    return FullPromptVersionObject(
        **_object(version).model_dump(),
        text=version.text,
        warnings=prompt.warnings if prompt else (),
        problem=problem,
    )


_VERSIONS = "/api/prompts/{kind}/versions"
_VERSION = f"{_VERSIONS}/{{number}}"

ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/prompts",
        summary="The kinds of prompts, and what they are made of",
        scope=Scope.READ,
        parameters=Parameters,
        answer=PromptList,
        handler=list_kinds,
    ),
    Route(
        path=_VERSIONS,
        summary="The versions of a prompt, newest first",
        scope=Scope.READ,
        parameters=OnePrompt,
        answer=PromptVersionList,
        handler=list_versions,
    ),
    Route(
        method=HTTPMethod.POST,
        path=_VERSIONS,
        summary="Store a new version of a prompt",
        scope=Scope.ADMIN,
        parameters=NewPromptVersion,
        answer=FullPromptVersionObject,
        handler=add,
        problems=(ProblemCode.PROMPT_UNUSABLE, ProblemCode.PROMPT_IN_USE, ProblemCode.TOO_SLOW),
        created=lambda _version: True,
    ),
    Route(
        path=_VERSION,
        summary="One version with its text",
        scope=Scope.READ,
        parameters=OnePromptVersion,
        answer=FullPromptVersionObject,
        handler=get,
        problems=(ProblemCode.PROMPT_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.DELETE,
        path=_VERSION,
        summary="Remove a version that was never in use",
        scope=Scope.ADMIN,
        parameters=OnePromptVersion,
        answer=NoneType,
        handler=remove,
        problems=(ProblemCode.PROMPT_NOT_FOUND, ProblemCode.PROMPT_IN_USE),
    ),
    Route(
        method=HTTPMethod.POST,
        path=f"{_VERSION}/activate",
        summary="Put a version to use; an older one to roll back",
        scope=Scope.ADMIN,
        parameters=OnePromptVersion,
        answer=PromptVersionObject,
        handler=activate,
        problems=(ProblemCode.PROMPT_NOT_FOUND, ProblemCode.PROMPT_UNUSABLE),
    ),
)

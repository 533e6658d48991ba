# SPDX-License-Identifier: AGPL-3.0-or-later
"""Models: what there is, and installing and removing them."""

import asyncio
from http import HTTPMethod
from types import NoneType
from typing import Annotated

from pydantic import Field

from inference_server.api.bodies import Sent
from inference_server.api.context import ApiContext
from inference_server.api.model_objects import (
    ImportedModelObject,
    ModelObject,
    PullObject,
    imported_model_object,
    model_object,
    pull_object,
)
from inference_server.api.problems import ProblemCode, ProblemError
from inference_server.api.routing import AnyRoute, Parameters, Route
from inference_server.api.schema import WireObject
from inference_server.core.model import ModelProblem, ModelUnavailable
from inference_server.storage.tokens import Scope

ModelId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]

_CODES = {
    ModelProblem.FAILED: ProblemCode.INTERNAL,
    ModelProblem.UNKNOWN: ProblemCode.MODEL_NOT_FOUND,
    ModelProblem.NOT_INSTALLED: ProblemCode.MODEL_NOT_INSTALLED,
    ModelProblem.IN_USE: ProblemCode.MODEL_IN_USE,
    ModelProblem.BUSY: ProblemCode.MODEL_BUSY,
    ModelProblem.UNPINNED: ProblemCode.MODEL_UNPINNED,
    ModelProblem.NO_SPACE: ProblemCode.DISK_NEARLY_FULL,
    ModelProblem.REFUSED: ProblemCode.MODEL_REFUSED,
}


class ModelList(WireObject):
    """The catalogue, and how many bytes the models folder has room for."""

    items: tuple[ModelObject, ...]
    free_bytes: int


class OneModel(Parameters):
    """Names a model."""

    model_id: ModelId


class PullQuery(OneModel):
    """What is to be installed."""

    accept_unpinned: Annotated[bool, Field(description="Take files too of which nobody has published a digest.")] = (
        False
    )


class NewModelFile(Parameters):
    """Sends a file of a model."""

    model_id: Annotated[
        ModelId | None, Field(description="Which model it is to be; needed unless it is published.")
    ] = None
    name: Annotated[
        str, Field(max_length=255, description="What the file is called, where it is not sent in a form.")
    ] = ""
    body: Sent


class RemovalQuery(OneModel):
    """What is to be removed."""

    force: Annotated[bool, Field(description="Even if it is in use, or a file of the owner's own.")] = False


async def list_all(context: ApiContext, _asked: Parameters) -> ModelList:
    """Return every model."""
    items = await context.models.list_all()
    return ModelList(items=tuple(map(model_object, items)), free_bytes=await context.models.free_bytes())


async def one(context: ApiContext, asked: OneModel) -> ModelObject:
    """Return a model."""
    try:
        return model_object(await context.models.get(asked.model_id))
    except ModelUnavailable as error:
        raise _problem(error) from error


async def pull(context: ApiContext, asked: PullQuery) -> PullObject:
    """Let a model be installed."""
    try:
        return pull_object(context.models.ask(asked.model_id, accept_unpinned=asked.accept_unpinned))
    except ModelUnavailable as error:
        raise _problem(error) from error


async def take_in(context: ApiContext, asked: NewModelFile) -> ImportedModelObject:
    """Receive a file of a model, and install it."""
    try:
        with context.models.receiving(asked.body.size) as incoming:
            async for piece in asked.body.pieces(context.limits.model_seconds):
                await asyncio.to_thread(incoming.write, piece)
            name = asked.body.name or asked.name
            return imported_model_object(await context.models.take_in(incoming, name, asked.model_id))
    except ModelUnavailable as error:
        raise _problem(error) from error


async def cancel(context: ApiContext, asked: OneModel) -> None:
    """End the installation of a model."""
    try:
        await context.models.cancel(asked.model_id)
    except ModelUnavailable as error:
        raise _problem(error) from error


async def remove(context: ApiContext, asked: RemovalQuery) -> None:
    """Delete the files of a model."""
    try:
        await context.models.remove(asked.model_id, force=asked.force)
    except ModelUnavailable as error:
        raise _problem(error) from error


def _problem(error: ModelUnavailable) -> ProblemError:
    return ProblemError(_CODES[error.problem], f"{str(error).rstrip('.')}.", error.remedy)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/models",
        summary="Every model of the catalogue, and whether it is installed",
        scope=Scope.ADMIN,
        parameters=Parameters,
        answer=ModelList,
        handler=list_all,
    ),
    Route(
        method=HTTPMethod.POST,
        path="/api/models/import",
        summary="Take in the file of a model, as the body or as the one file of a form",
        scope=Scope.ADMIN,
        parameters=NewModelFile,
        answer=ImportedModelObject,
        handler=take_in,
        created=lambda _answer: True,
        max_body=lambda context: context.models.most_import_bytes,
        problems=(
            ProblemCode.MODEL_REFUSED,
            ProblemCode.MODEL_BUSY,
            ProblemCode.DISK_NEARLY_FULL,
            ProblemCode.TOO_LARGE,
            ProblemCode.TOO_SLOW,
            ProblemCode.STORAGE_DOWN,
        ),
    ),
    Route(
        path="/api/models/{model_id}",
        summary="A model",
        scope=Scope.ADMIN,
        parameters=OneModel,
        answer=ModelObject,
        handler=one,
        problems=(ProblemCode.MODEL_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.POST,
        path="/api/models/{model_id}/pull",
        summary="Install a model; the WebSocket and the model tell how far that is",
        scope=Scope.ADMIN,
        parameters=PullQuery,
        answer=PullObject,
        handler=pull,
        problems=(ProblemCode.MODEL_NOT_FOUND, ProblemCode.MODEL_UNPINNED, ProblemCode.DISK_NEARLY_FULL),
        later=True,
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/models/{model_id}/pull",
        summary="Cancel the installation of a model; what was downloaded is kept",
        scope=Scope.ADMIN,
        parameters=OneModel,
        answer=NoneType,
        handler=cancel,
        problems=(ProblemCode.MODEL_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/models/{model_id}",
        summary="Delete the files of a model",
        scope=Scope.ADMIN,
        parameters=RemovalQuery,
        answer=NoneType,
        handler=remove,
        problems=(
            ProblemCode.MODEL_NOT_FOUND,
            ProblemCode.MODEL_NOT_INSTALLED,
            ProblemCode.MODEL_IN_USE,
            ProblemCode.MODEL_BUSY,
        ),
    ),
)

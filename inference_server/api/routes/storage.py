# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is stored, and cleaning it up."""

from http import HTTPMethod

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, cleanup_running
from inference_server.api.routing import AnyRoute, Parameters, Route
from inference_server.api.schema import CleanupObject, StorageObject
from inference_server.core.cleanup import CleanupBusyError
from inference_server.storage.tokens import Scope


class CleanupQuery(Parameters):
    """Whether to say only what would be deleted."""

    dry_run: bool = False


async def report(context: ApiContext, _asked: Parameters) -> StorageObject:
    """Return what is kept and where, and what the next cleanup will delete."""
    return schema.storage(await context.accounts.report())


async def clean(context: ApiContext, asked: CleanupQuery) -> CleanupObject:
    """Delete what is older than the settings allow, or say what that is."""
    if asked.dry_run:
        return schema.cleanup(await context.accounts.plan())
    try:
        return schema.cleanup(await context.housekeeping.clean())
    except CleanupBusyError as error:
        raise cleanup_running() from error


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/system/storage",
        summary="What is kept and where, and what the next cleanup will delete",
        scope=Scope.READ,
        parameters=Parameters,
        answer=StorageObject,
        handler=report,
    ),
    Route(
        method=HTTPMethod.POST,
        path="/api/system/cleanup",
        summary="Delete what is older than the settings allow, or say what that is",
        scope=Scope.ADMIN,
        parameters=CleanupQuery,
        answer=CleanupObject,
        handler=clean,
        problems=(ProblemCode.CLEANUP_RUNNING,),
    ),
)

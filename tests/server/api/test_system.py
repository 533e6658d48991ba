# SPDX-License-Identifier: AGPL-3.0-or-later
"""Health, readiness and the server object."""

from inference_server import __version__
from inference_server.core.status import DetectorState, DetectorStatus, QueueStatus
from inference_server.observability.health import HealthState
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Connect
from tests.support.home import SERVER_ID, Home


async def test_liveness_needs_no_token(connect: Connect) -> None:
    client = await connect(scope=None)
    response = await client.get("/api/system/health")
    assert response.status == 200
    assert await response.json() == {"status": "ok", "version": __version__}


async def test_readiness_follows_the_server(a_home: Home, connect: Connect) -> None:
    client = await connect(scope=None)
    response = await client.get("/api/system/ready")
    assert (response.status, await response.json()) == (200, {"status": "ready"})
    a_home.ready = False
    response = await client.get("/api/system/ready")
    problem = await response.json()
    assert (response.status, response.content_type) == (503, "application/problem+json")
    assert problem["code"] == "not_ready"
    assert problem["remedy"]


async def test_full_health_shows_every_component(a_home: Home, connect: Connect) -> None:
    a_home.health.report("detector", HealthState.DEGRADED, last_error="no GPU", remedy="install one", latency_ms=12.5)
    a_home.health.report("database", HealthState.OK)
    client = await connect(Scope.READ)
    report = await (await client.get("/api/system/health/full")).json()
    assert report["status"] == "degraded"
    assert report["server_id"] == SERVER_ID
    assert [part["name"] for part in report["components"]] == ["database", "detector"]
    assert report["components"][1] == {
        "name": "detector",
        "state": "degraded",
        "since": "2026-11-23T08:00:00Z",
        "last_error": "no GPU",
        "still_works": None,
        "remedy": "install one",
        "details": {"latency_ms": 12.5},
    }


async def test_the_server_object_is_current(a_home: Home, connect: Connect) -> None:
    client = await connect(Scope.READ)
    a_home.queue = QueueStatus(depth=3, dead_letters=1)
    a_home.detector = DetectorStatus(DetectorState.DOWN, message="Put the model file there.")
    server = await (await client.get("/api/system/info")).json()
    assert (server["server_id"], server["name"], server["version"]) == (SERVER_ID, "Test home", __version__)
    assert (server["schema_version"], server["min_schema_version"]) == (1, 1)
    assert (server["queue_depth"], server["dead_letters"]) == (3, 1)
    assert server["detector"] == {
        "state": "down",
        "model": None,
        "name": None,
        "fallback": False,
        "provider": None,
        "wanted_provider": None,
        "message": "Put the model file there.",
    }

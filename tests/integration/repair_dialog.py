# SPDX-License-Identifier: Apache-2.0
"""The dialog of an issue, as the frontend shows it."""

from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from custom_components.home_security_intelligence.const import DOMAIN

type Client = TestClient[web.Request, web.Application]


class Dialog:
    """Opens and submits the dialog of an issue."""

    def __init__(self, client: Client, issue_id: str) -> None:
        self._client = client
        self._issue_id = issue_id
        self._flow_id = ""

    async def open(self) -> dict[str, Any]:
        """The first form."""
        form = await self._post("", {"handler": DOMAIN, "issue_id": self._issue_id})
        self._flow_id = form["flow_id"]
        return form

    async def submit(self) -> dict[str, Any]:
        """What the form leads to."""
        return await self._post(f"/{self._flow_id}", {})

    async def _post(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        answer = await self._client.post(f"/api/repairs/issues/fix{path}", json=body)
        assert answer.ok, await answer.text()
        result: dict[str, Any] = await answer.json()
        return result

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Completes Home Assistant's onboarding, or logs in, through the API its own front end uses."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from .home_assistant_client import HomeAssistantClient, HomeAssistantError
from .repository import local_time_zone


@dataclass(frozen=True, slots=True)
class Account:
    """The owner's account that onboarding creates."""

    username: str = "demo"
    password: str = "demo"  # noqa: S105
    name: str = "Demo"
    language: str = "en"


class Login:
    """Obtains access tokens from one Home Assistant."""

    def __init__(self, url: str, account: Account, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._client_id = f"{url}/"
        self._account = account
        self._session = session

    async def access_token(self) -> str:
        """Create the account where there is none yet, and log in."""
        done = await self._finished_steps()
        if "user" in done:
            code = await self._log_in()
        else:
            code = await self._create_account()
        token = await self._redeem(code)
        if not {"core_config", "analytics", "integration"} <= done:
            await self._finish_onboarding(token, done)
        return token

    async def _finished_steps(self) -> set[str]:
        async with self._session.get(f"{self._url}/api/onboarding") as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return {"user", "core_config", "analytics", "integration"}
            return {step["step"] for step in await response.json() if step["done"]}

    async def _create_account(self) -> str:
        answer = await self._post(
            "/api/onboarding/users",
            {
                "client_id": self._client_id,
                "name": self._account.name,
                "username": self._account.username,
                "password": self._account.password,
                "language": self._account.language,
            },
        )
        return str(answer["auth_code"])

    async def _log_in(self) -> str:
        flow = await self._post(
            "/auth/login_flow",
            {"client_id": self._client_id, "handler": ["homeassistant", None], "redirect_uri": self._client_id},
        )
        answer = await self._post(
            f"/auth/login_flow/{flow['flow_id']}",
            {
                "client_id": self._client_id,
                "username": self._account.username,
                "password": self._account.password,
            },
        )
        if answer["type"] != "create_entry":
            raise HomeAssistantError(f"Home Assistant refused the login of {self._account.username}: {answer}")
        return str(answer["result"])

    async def _redeem(self, code: str) -> str:
        form = {"grant_type": "authorization_code", "code": code, "client_id": self._client_id}
        async with self._session.post(f"{self._url}/auth/token", data=form) as response:
            if not response.ok:
                raise HomeAssistantError(f"/auth/token: {response.status} {await response.text()}")
            return str((await response.json())["access_token"])

    async def _finish_onboarding(self, token: str, done: set[str]) -> None:
        steps: dict[str, dict[str, str]] = {
            "core_config": {},
            "analytics": {},
            "integration": {"client_id": self._client_id, "redirect_uri": self._client_id},
        }
        async with HomeAssistantClient.connect(self._url, token) as client:
            if zone := await asyncio.to_thread(local_time_zone):
                await client.call("config/core/update", time_zone=zone)
            for step, data in steps.items():
                if step not in done:
                    await client.post(f"/api/onboarding/{step}", data)

    async def _post(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(f"{self._url}{path}", json=data) as response:
            if not response.ok:
                raise HomeAssistantError(f"{path}: {response.status} {await response.text()}")
            answer: dict[str, Any] = await response.json()
            return answer

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The dialog, the device and what it says about a detector that is not the wanted one."""

from tests.e2e.house import E2E, WANTED_MODEL, House
from tests.e2e.watch import Watch

pytestmark = E2E


async def test_the_dialog_refuses_a_wrong_token_and_takes_the_right_one(house: House) -> None:
    refused, accepted = house.dialog
    assert (refused["type"], refused["errors"]) == ("form", {"base": "invalid_auth"})
    assert (accepted["type"], accepted["title"]) == ("create_entry", "Home Security Intelligence")
    assert (await house.entry())["state"] == "loaded"
    assert "Home Security Intelligence" in await house.devices()


async def test_a_substitute_detector_is_shown_and_explained(house: House, watch: Watch) -> None:
    detector = watch.states["sensor.home_security_intelligence_detector"]
    assert detector["state"] == "YOLOv3-tiny"
    assert detector["attributes"]["fallback"] is True
    assert WANTED_MODEL in detector["attributes"]["message"]

    entry_id = (await house.entry())["entry_id"]
    issues = {issue["issue_id"]: issue for issue in (await house.client.call("repairs/list_issues"))["issues"]}
    issue = issues[f"detector_fallback_{entry_id}"]
    assert issue["severity"] == "warning"
    assert WANTED_MODEL in issue["translation_placeholders"]["message"]

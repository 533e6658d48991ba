# SPDX-License-Identifier: AGPL-3.0-or-later
"""A running FTP server with one account."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ftp import FtpHouse


@pytest.fixture
def house(tmp_path: Path) -> Iterator[FtpHouse]:
    """Give a running server that knows the camera `front_door`."""
    with FtpHouse(tmp_path).running() as running:
        running.account("front_door")
        yield running

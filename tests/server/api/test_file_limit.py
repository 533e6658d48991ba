# SPDX-License-Identifier: AGPL-3.0-or-later
"""The limit of open files."""

import resource

import pytest

from inference_server.api.file_limit import ENOUGH, raise_file_limit


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (1024, 4096, 4096),
        (1024, 1 << 20, ENOUGH),
        (1024, resource.RLIM_INFINITY, ENOUGH),
        (4096, 4096, None),
        (1 << 20, 1 << 20, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))
    raise_file_limit()
    assert told == ([] if raised is None else [(raised, hard)])

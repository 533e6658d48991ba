# SPDX-License-Identifier: AGPL-3.0-or-later
"""When failed work is tried again."""

import random
from datetime import timedelta

MAX_ATTEMPTS = 6
SUSPECT_ATTEMPTS = 3
"""A message that is delivered for this time is worked on alone: it may be what kills the process."""
MAX_DELIVERIES = 20
"""A message whose every delivery ended with the process is given up after so many."""
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 60.0


class PermanentError(Exception):
    """Work that no further attempt can do."""


def retry_delay(attempts: int) -> timedelta:
    """Return the wait after the given number of attempts: doubling, capped, with full jitter on its upper half.

    Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (equal jitter).
    """
    ceiling = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (attempts - 1))
    return timedelta(seconds=ceiling / 2 + random.uniform(0, ceiling / 2))  # noqa: S311 - no secret

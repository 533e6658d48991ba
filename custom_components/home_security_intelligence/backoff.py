# SPDX-License-Identifier: Apache-2.0
"""When to try again."""

import random
from collections.abc import Iterator
from itertools import count
from typing import Final

FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 30.0


def reconnect_delays() -> Iterator[float]:
    """Seconds to wait before each attempt: none, then exponentially more up to a cap, with jitter."""
    yield 0.0
    for attempt in count():
        ceiling = min(FIRST_DELAY * 2.0 ** min(attempt, 16), LONGEST_DELAY)
        yield random.uniform(ceiling / 2, ceiling)  # noqa: S311

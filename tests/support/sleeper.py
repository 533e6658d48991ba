# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process that never ends: `python -m tests.support.sleeper`."""

import time

if __name__ == "__main__":
    time.sleep(3600)

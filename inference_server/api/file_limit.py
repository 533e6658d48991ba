# SPDX-License-Identifier: AGPL-3.0-or-later
"""The limit of open files, of which each connection takes one."""

import resource

ENOUGH = 65536


def raise_file_limit() -> None:
    """Allow this process as many open files as the system lets it have, up to ENOUGH."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

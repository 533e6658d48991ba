# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can be wrong with scenarios."""


class ScenarioError(Exception):
    """Scenarios cannot be read. The message names file, line and field."""

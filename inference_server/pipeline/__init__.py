# SPDX-License-Identifier: AGPL-3.0-or-later
"""From an admitted picture to an announced event: stages joined by a durable broker."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an event means: rules that answer at once."""

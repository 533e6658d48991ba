# SPDX-License-Identifier: AGPL-3.0-or-later
"""An evaluation's report for a terminal, for programs and for a browser."""

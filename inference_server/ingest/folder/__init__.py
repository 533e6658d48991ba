# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder watch: finds files below the watch roots, live and after having been away, for admission."""

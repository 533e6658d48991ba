# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands of the console script, one module per subject; `cli` puts them together."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The vocabulary: frozen, typed values and pure functions on them. Imports nothing of ours."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Examines an installation: what is well, what is not, and what to do. It changes nothing."""

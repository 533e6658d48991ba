# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips: video files become pictures with their times, by way of a process that may be trusted with nothing."""

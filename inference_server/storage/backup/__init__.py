# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backups: everything that is kept, in one file that is trusted only after it was checked."""

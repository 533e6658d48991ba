# SPDX-License-Identifier: AGPL-3.0-or-later
"""Benchmarks: each prints its figures beside a bare baseline measured in the same run."""

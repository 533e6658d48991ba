# SPDX-License-Identifier: AGPL-3.0-or-later
"""Detectors: one module for each kind of what runs a model."""

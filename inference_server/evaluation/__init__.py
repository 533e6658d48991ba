# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evaluation: scripted scenarios are played through the product's own parts, and the verdicts are measured."""

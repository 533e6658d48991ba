# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights: what can be had, where from, under which licence, and how they become ONNX files."""

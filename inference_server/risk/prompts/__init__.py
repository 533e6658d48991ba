# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prompts: the texts that come with the product, what fills them, and how they are fitted into a budget."""

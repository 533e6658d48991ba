# SPDX-License-Identifier: AGPL-3.0-or-later
"""Language models: one seam, a model in a process of its own, and servers that speak OpenAI's protocol."""

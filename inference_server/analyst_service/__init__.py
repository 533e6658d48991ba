# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst service: a language model alone, over OpenAI's protocol, for servers elsewhere."""

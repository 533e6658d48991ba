# SPDX-License-Identifier: AGPL-3.0-or-later
"""GGUF models by llama.cpp, in a process of their own: it may hang or crash, and is killed and restarted."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where pictures come in: the watched folder, and admission, the one gate that they all pass."""

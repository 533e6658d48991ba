# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the server can be watched: health and logs."""

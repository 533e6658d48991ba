# SPDX-License-Identifier: AGPL-3.0-or-later
"""The detector service: the detector alone, over HTTP, for servers elsewhere."""

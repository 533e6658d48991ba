# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the machine has, which models fit it, and how they share its memory."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model can run on: one module per library, all behind one detector."""

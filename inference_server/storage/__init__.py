# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is kept: tables, migrations, one module of queries per subject, and the picture files."""

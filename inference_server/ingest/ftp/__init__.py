# SPDX-License-Identifier: AGPL-3.0-or-later
"""The FTP server: cameras upload into their folders, where the folder watch finds what is complete."""

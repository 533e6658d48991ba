# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures become detections, and the detections of an event become tracks."""

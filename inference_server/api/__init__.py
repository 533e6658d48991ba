# SPDX-License-Identifier: AGPL-3.0-or-later
"""What clients talk to: REST, WebSocket, authentication, pictures. `docs/protocol.md` is the contract."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may ask the detector service."""

from inference_server.api.service_access import ServiceAccess
from inference_server.api.throttle import Throttle

REMEDY = "Use the token in the file `detector-token` of the service's data folder, or of HSI_DETECTOR_SERVICE__TOKEN."


class Access(ServiceAccess):
    """Lets bearers of the detector service's token pass."""

    def __init__(self, token: str, throttle: Throttle) -> None:
        """Take the token, and the counter of refusals."""
        super().__init__(token, throttle, remedy=REMEDY, realm="hsi-detector")

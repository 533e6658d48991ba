# SPDX-License-Identifier: AGPL-3.0-or-later
"""The licences of the weights."""

from inference_server.core.model import Licence

AGPL = Licence("AGPL-3.0", commercial_use=True)
APACHE = Licence("Apache-2.0", commercial_use=True)
MIT = Licence("MIT", commercial_use=True)
PUBLIC_DOMAIN = Licence("Public domain", commercial_use=True)
NVIDIA_OPEN_MODEL = Licence("NVIDIA Open Model License", commercial_use=True)
NVIDIA_COMMUNITY_MODEL = Licence("NVIDIA Community Model License", commercial_use=True)
NVIDIA_SEGFORMER = Licence("NVIDIA Source Code License (SegFormer)", commercial_use=False)
"""Of the backbone; the publisher of the weights made from it names MIT."""
THREAT = Licence("AGPL-3.0 (the publisher names MIT)", commercial_use=True)
"""Made with Ultralytics' library, whose owner claims the AGPL for what it trains."""
DLIB = Licence("CC0-1.0, landmarks non-commercial", commercial_use=False)
"""The recogniser is CC0; the landmarks were learnt from the iBUG 300-W pictures, which exclude commercial use."""

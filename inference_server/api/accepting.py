# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which form of a picture a client prefers, by the header `Accept` of its request (RFC 9110, section 12.5.1)."""

import re

from aiohttp import hdrs, web

from inference_server.detection.annotate import PictureForm

_WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


def preferred_form(request: web.Request) -> PictureForm:
    """Return WebP for who names it and likes it no less than JPEG, as browsers do; JPEG for everybody else.

    Who takes anything has not said that it can show a WebP. A weight that is none counts as 0.
    """
    weights = _weights(",".join(request.headers.getall(hdrs.ACCEPT, ())))
    webp = weights.get(PictureForm.WEBP.media_type, 0.0)
    wildcard = weights.get("image/*", weights.get("*/*", 0.0))
    jpeg = weights.get(PictureForm.JPEG.media_type, wildcard)
    return PictureForm.WEBP if webp > 0 and webp >= jpeg else PictureForm.JPEG


def _weights(header: str) -> dict[str, float]:
    """Return how much each media range is liked, 0 to 1."""
    found: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (item.strip() for item in part.split(";"))
        weight = next((item for item in parameters if item[:2].lower() == "q="), "q=1")
        match = _WEIGHT.fullmatch(weight)
        found[name.lower()] = float(match[1]) if match else 0.0
    return found

# SPDX-License-Identifier: Apache-2.0
"""Tells what happens to the events of cameras: in order, and only when automations can hear it."""

from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable
from datetime import datetime
from typing import Final

from homeassistant.core import CALLBACK_TYPE, CoreState, HassJob, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.start import async_at_started

from .client.messages import EventChanged
from .progress import Progress

WAITING_EVENTS: Final = 32
"""How many changes are kept for a camera whose event entity is still being added."""

AUTOMATIONS_READY_AFTER: Final = 5.0
"""Seconds after Home Assistant's start until something is told: only at the start do automations begin to listen."""

SAVE_NEWS_WITHIN: Final = 5.0
"""Seconds until it is saved that something was told; after a power cut, what is younger is told twice."""

SAVE_SILENCE_WITHIN: Final = 60.0
"""Seconds until it is saved that there was nothing to tell."""

type EventListener = Callable[[EventChanged], None]


class Teller:
    """Between the server, which may have something to tell at any time, and those who listen to one camera each."""

    def __init__(self, hass: HomeAssistant, progress: Progress) -> None:
        """Collect, and tell nothing before the start."""
        self._hass = hass
        self._progress = progress
        self._listeners: dict[str, EventListener] = {}
        self._waiting: defaultdict[str, deque[EventChanged]] = defaultdict(lambda: deque(maxlen=WAITING_EVENTS))
        self._untold: deque[EventChanged] = deque()
        self._sequence = 0
        self._cameras: Container[str] = ()
        self._telling = False
        self._cancel_start: CALLBACK_TYPE | None = None

    @callback
    def async_subscribe(self, camera_id: str, listener: EventListener) -> CALLBACK_TYPE:
        """Tell a listener what happens to the events of a camera, also what happened before it could listen."""
        self._listeners[camera_id] = listener
        self._hass.loop.call_soon(self._tell_of, camera_id)  # while an entity is being added, it cannot show anything

        def unsubscribe() -> None:
            del self._listeners[camera_id]

        return unsubscribe

    @callback
    def async_take(self, changes: Iterable[EventChanged], sequence: int, cameras: Container[str]) -> None:
        """Take in what happened up to a step of the server's sequence, and which cameras there are now."""
        self._untold.extend(changes)
        self._sequence = sequence
        self._cameras = cameras
        if self._telling:
            self._tell()

    @callback
    def async_start(self) -> None:
        """Tell everything, from now on or from shortly after Home Assistant's start."""
        if self._hass.state is CoreState.running:
            self._start()
        else:
            self._cancel_start = async_at_started(self._hass, self._start_soon)

    @callback
    def async_stop(self) -> None:
        """Leave what comes from now on to the next time that this server is followed."""
        self._telling = False
        if self._cancel_start:
            self._cancel_start()
            self._cancel_start = None

    @callback
    def _start_soon(self, hass: HomeAssistant) -> None:
        job = HassJob(self._start, "tell about events", cancel_on_shutdown=True)
        self._cancel_start = async_call_later(hass, AUTOMATIONS_READY_AFTER, job)

    @callback
    def _start(self, now: datetime | None = None) -> None:
        self._cancel_start = None
        self._telling = True
        self._tell()

    @callback
    def _tell(self) -> None:
        save_within = SAVE_NEWS_WITHIN if self._untold else SAVE_SILENCE_WITHIN
        while self._untold:
            change = self._untold.popleft()
            camera_id = change.camera.id
            if camera_id in self._cameras:
                self._waiting[camera_id].append(change)
                self._tell_of(camera_id)
        self._progress.async_reached(self._sequence, save_within)

    @callback
    def _tell_of(self, camera_id: str) -> None:
        waiting = self._waiting[camera_id]
        while waiting and (listener := self._listeners.get(camera_id)):
            listener(waiting.popleft())

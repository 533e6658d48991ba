# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sampling a clip: its pictures by interval and by change, as JPEG files in its scratch folder."""

from pathlib import Path

import simplejpeg

from inference_server.core.frame import RefusalReason
from inference_server.ingest.clips.job import SOURCE, ClipJob, ClipRefusedError, ClipReport, SampledFrame
from inference_server.ingest.clips.sampling import LUMA_SIZE, SCENE_CHANGE, Candidate, Luma, difference, select
from inference_server.ingest.clips.source import Deadline, Rgb, Source, TimedFrame, opened, samples, upright
from inference_server.ingest.mask_area import covered

QUALITY = 90
LOOK_SECONDS = 0.1
"""Change is looked for this often."""
ROUNDING = 0.001
"""Seconds that a picture may be early, because times are rounded."""
MOST_CANDIDATES = 8
"""Candidates that are kept at a time, as a multiple of the pictures wanted; each one is a file meanwhile."""
TIMELY = 0.8
"""The share of the time allowed after which the rest of a clip has to be skimmed."""


def sample(folder: Path, job: ClipJob) -> ClipReport:
    """Write the sampled pictures into the folder and report them. Raises ClipRefusedError, MemoryError, OSError."""
    deadline = Deadline(job.decode_seconds)
    with opened(folder / SOURCE, job) as clip:
        duration = clip.duration(deadline)
    with opened(folder / SOURCE, job) as clip:
        sampler = _Sampler(folder, job, clip, min(duration, job.max_seconds), deadline)
        sampler.run()
        if not sampler.candidates:
            raise ClipRefusedError(RefusalReason.CORRUPT, "No picture of the video can be decoded.")
        return ClipReport(
            frames=tuple(SampledFrame(name, candidate.offset) for candidate, name in sampler.chosen(job.max_frames)),
            duration=max(duration, sampler.reached),
            width=sampler.width,
            height=sampler.height,
            created=clip.created,
            remark=sampler.remark,
        )


class _Sampler:
    """Goes through a clip once; what looks worth it becomes a file, and files that are outdone go again."""

    def __init__(self, folder: Path, job: ClipJob, clip: Source, duration: float, deadline: Deadline) -> None:
        self._folder = folder
        self._job = job
        self._clip = clip
        self._duration = duration
        self._deadline = deadline
        self._last: Luma | None = None
        self._count = 0
        self._skimming = False
        self.candidates: dict[Candidate, str] = {}
        self.reached = 0.0
        self.width = self.height = 0
        self.remark: str | None = None

    def run(self) -> None:
        """Look at the pictures until the clip, its allowed part or the time is over."""
        taken = looked = -self._job.interval - 1
        for picture in self._clip.frames():
            if picture.offset > self._job.max_seconds:
                self.remark = f"only its first {self._job.max_seconds:g} s were looked at"
                return
            self.reached = picture.offset
            due = picture.offset - taken >= self._job.interval - ROUNDING
            if due or picture.offset - looked >= LOOK_SECONDS - ROUNDING:
                looked = picture.offset
                if self._consider(picture, due=due):
                    taken = picture.offset
            if self._deadline.spent >= 1:
                self.remark = (
                    f"only its first {picture.offset:.0f} s could be decoded in {self._job.decode_seconds:g} s"
                )
                return
            self._keep_up()

    def chosen(self, count: int) -> list[tuple[Candidate, str]]:
        """Return the best candidates with their files' names, and delete the other files."""
        kept = select(list(self.candidates), count)
        for candidate in self.candidates.keys() - set(kept):
            (self._folder / self.candidates.pop(candidate)).unlink()
        return [(candidate, self.candidates[candidate]) for candidate in kept]

    def _consider(self, picture: TimedFrame, *, due: bool) -> bool:
        luma = _luma(picture)
        change = 1.0 if self._last is None else difference(luma, self._last)
        if not due and change < SCENE_CHANGE:
            return False
        self._last = luma
        self._store(Candidate(picture.offset, change), upright(picture.frame))
        if len(self.candidates) > MOST_CANDIDATES * self._job.max_frames:
            self.chosen(MOST_CANDIDATES // 2 * self._job.max_frames)
        return True

    def _store(self, candidate: Candidate, pixels: Rgb) -> None:
        height, width = pixels.shape[:2]
        if not self.candidates:
            self.width, self.height = width, height
        if self._job.masks:
            pixels[covered(self._job.masks, width, height)] = 0
        name = f"{self._count:06}.jpg"
        self._count += 1
        content = simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorspace="RGB", colorsubsampling="420")
        (self._folder / name).write_bytes(content)
        self.candidates[candidate] = name

    def _keep_up(self) -> None:
        """Decode key frames alone once the rest of the clip would take too long otherwise."""
        if self._skimming or self._deadline.spent < 0.1 or self._duration <= 0:
            return
        if self._deadline.spent / TIMELY > self.reached / self._duration:
            self._skimming = True
            self._clip.skim()


def _luma(picture: TimedFrame) -> Luma:
    width, height = LUMA_SIZE
    return samples(picture.frame, width=width, height=height, format="gray", interpolation="AREA")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process that decodes a clip: `python -m inference_server.ingest.clips.worker FOLDER`.

It reads its job from the folder and leaves its report there. A crash, an endless loop or a breach of its limits costs
this process alone.
"""

import sys
from pathlib import Path

from inference_server.core.frame import RefusalReason
from inference_server.ingest.clips.job import ClipJob, ClipRefusedError, ClipReport
from inference_server.ingest.clips.masks import copy
from inference_server.ingest.clips.sampler import sample
from inference_server.ingest.clips.source import restrict


def main(folder: Path) -> None:
    """Do the job of a folder."""
    job = ClipJob.read(folder)
    restrict(job)
    try:
        report = copy(folder, job) if job.copy else sample(folder, job)
    except ClipRefusedError as refused:
        report = ClipReport(refused=refused.reason, detail=refused.detail)
    except MemoryError:
        detail = f"Decoding it takes more than {job.memory >> 20} MiB of memory (HSI_CLIPS__MEMORY_BYTES)."
        report = ClipReport(refused=RefusalReason.TOO_COSTLY, detail=detail)
    report.write(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the files of a model are in the models folder."""

from collections.abc import Iterator
from pathlib import Path

from inference_server.models.catalogue import Conversion, ModelEntry, Weights
from inference_server.models.digest import is_intact, note_of, noted_digest
from inference_server.models.fetching import part_of
from inference_server.models.quantised import FOLDER, QuantisedModels

type Identity = tuple[int, int, int] | None
"""Tells versions of a file apart; None for one that is not there."""
type Footprint = tuple[Identity, ...]


def identity_of(path: Path) -> Identity:
    """Return what tells this version of a file from an earlier or later one, without reading it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class Places:
    """The layout below one folder.

    `<id>.onnx` is a file of the owner's own. Downloads are kept in `downloads`, what was made of them in `converted`;
    both are written beside their place, checked and then renamed, so a half file never counts.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder, which need not exist yet."""
        self.folder = folder
        self.quantised = QuantisedModels(folder / FOLDER)

    def supplied(self, model_id: str) -> Path | None:
        """Return the owner's own file for a model, if there is one."""
        path = self.own(model_id)
        return path if path.parent == self.folder and path.is_file() else None

    def own(self, model_id: str) -> Path:
        """Return where the owner's own file for a model belongs."""
        return self.folder / f"{model_id}.onnx"

    def download(self, weights: Weights) -> Path:
        """Return where a download belongs."""
        return self.folder / "downloads" / weights.file_name

    def converted(self, entry: ModelEntry) -> Path | None:
        """Return where the converted form belongs; None for a model that is loaded as it was downloaded."""
        if entry.conversion is Conversion.NONE:
            return None
        return self.folder / "converted" / f"{entry.id}-{entry.input_size}.onnx"

    def loaded(self, entry: ModelEntry) -> Path:
        """Return what is loaded: a file, or the folder of several."""
        if converted := self.converted(entry):
            return converted
        first = self.download(entry.files[0])
        return first if len(entry.files) == 1 else first.parent

    def is_installed(self, entry: ModelEntry) -> bool:
        """Say whether what is loaded is there and right; files are read only where their notes leave doubt."""
        if converted := self.converted(entry):
            return is_intact(converted)
        return all(
            is_intact(path, file.sha256) or (file.optional and not path.exists())
            for file in entry.files
            for path in (self.download(file),)
        )

    def footprint(self, model_id: str, entry: ModelEntry | None) -> Footprint:
        """Return what changes whenever what is loaded of a model does, without reading a file."""
        paths = [self.own(model_id)]
        if entry is not None:
            converted = self.converted(entry)
            loaded = [converted] if converted else [self.download(file) for file in entry.files]
            paths += [path for file in loaded for path in (file, note_of(file))]
        return tuple(map(identity_of, paths))

    def held(self, entry: ModelEntry) -> int:
        """Return how many bytes of a model's downloads are there, half ones too."""
        return sum(_size(path) for file in entry.files for path in (self.download(file), part_of(self.download(file))))

    def half(self, weights: Weights) -> int:
        """Return how many bytes of a download are there that was interrupted."""
        return _size(part_of(self.download(weights)))

    def has_part(self, entry: ModelEntry) -> bool:
        """Say whether a download of a model was interrupted."""
        return any(part_of(self.download(file)).exists() for file in entry.files)

    def digest(self, weights: Weights) -> str | None:
        """Return the digest that a file is held to: the published one, else the noted one."""
        return weights.sha256 or noted_digest(self.download(weights))

    def archives(self, model_id: str) -> Path:
        """Return where the archives of packages are while a model is being installed."""
        return self.folder / f".{model_id}.archives"

    def lock(self, model_id: str) -> Path:
        """Return the file that is locked while a model is worked on."""
        return self.folder / f".{model_id}.lock"

    def all_files(self, entry: ModelEntry) -> Iterator[Path]:
        """Yield every file that a pull of a model may have left, there or not; no file of the owner's own."""
        for file in entry.files:
            path = self.download(file)
            part = part_of(path)
            yield from (path, note_of(path), part, part.with_name(f"{part.name}.origin"))
        if converted := self.converted(entry):
            yield from (converted, note_of(converted), converted.with_suffix(".tmp"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

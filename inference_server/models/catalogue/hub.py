# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of a model hub, by repository and revision."""

from inference_server.models.catalogue.entry import HttpsSource, Weights

HUB = "https://huggingface.co"


def hub(repository: str, path: str, revision: str = "main") -> HttpsSource:
    """Return the source of a file of a repository. A revision that is a commit never changes."""
    return HttpsSource(f"{HUB}/{repository}/resolve/{revision}/{path}")


def unpinned(
    folder: str, repository: str, sizes: dict[str, int], optional: tuple[str, ...] = ()
) -> tuple[Weights, ...]:
    """Return files of a repository without published digests; the sizes are about right."""
    return tuple(
        Weights(
            f"{folder}/{name}",
            size,
            None,
            (hub(repository, name),),
            size_exact=False,
            optional=name in optional,
        )
        for name, size in sizes.items()
    )

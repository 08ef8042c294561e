"""Where weights come from: a folder, else a repository on the Hub, else the ones embedded in `weights/`.

The Hub is asked through its own client, so its cache, tokens and settings (HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT, ...)
hold here too. The client checks sizes; checksums are checked here, each time, since a cache may go bad later as well.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypedDict

from pipeline.digests import file_digest
from pipeline.errors import WeightsError

if TYPE_CHECKING:
    from typing import Unpack

EMBEDDED = Path(__file__).resolve().parent.parent / "weights"
INDEX = "model_index.json"
SUFFIXES = (".json", ".safetensors", ".md")  # all that weights consist of; code and pickles are never fetched
_INSTEAD = "or leave them out to use the embedded ones."
_POINTER = b"version https://git-lfs.github.com/spec/"


class HubOptions(TypedDict, total=False):
    """How the Hub is asked, as for any download with `huggingface_hub`.

    Attributes:
        cache_dir: folder of the cache; by default the client's own.
        token: an access token; True for the one that is logged in, False for none.
        local_files_only: use what the cache holds and ask nobody.
        force_download: fetch again what the cache holds.
    """

    cache_dir: str | os.PathLike[str] | None
    token: str | bool | None
    local_files_only: bool
    force_download: bool


@dataclass(frozen=True)
class Weights:
    """A folder of weights, one folder a component, as `model_index.json` lists them."""

    folder: Path
    components: tuple[str, ...]

    def component(self, name: str) -> Path:
        """The folder of a component; one that these weights lack is taken from the embedded ones.

        Raises:
            WeightsError: if neither has it.
        """
        for folder in (self.folder, EMBEDDED):
            if (folder / name).is_dir():
                return folder / name
        raise WeightsError(f"There are no weights for {name!r} in {self.folder}; install the weights again.")


def find_weights(
    source: str | os.PathLike[str] | None = None, revision: str | None = None, **options: Unpack[HubOptions]
) -> Weights:
    """The weights of `source`: a folder, "owner/repo" on the Hub, or None for the embedded ones.

    Args:
        source: see above; "owner/repo@revision" names a revision too.
        revision: branch, tag or commit on the Hub; None is its main branch.
        options: see `HubOptions`.

    Raises:
        WeightsError: if there is no such folder, or the repository cannot be fetched, or lacks what it lists.
    """
    folder = _local(source)
    if folder is None:
        folder = _fetch(str(source), revision, [f"*{suffix}" for suffix in SUFFIXES], options)
    components = tuple(name for name in read_index(folder) if not name.startswith("_"))
    for name in components:
        if not any(path.is_file() for path in (folder / name).rglob("*")):
            raise WeightsError(
                f"The weights {str(source or folder)!r} list {name!r} in {INDEX} but hold no file of it; get them "
                f"whole, {_INSTEAD}"
            )
    return Weights(folder, components)


def find_component(
    name: str,
    source: str | os.PathLike[str] | None = None,
    subfolder: str | None = None,
    revision: str | None = None,
    companions: Iterable[str] = (),
    **options: Unpack[HubOptions],
) -> Path:
    """The folder of one component alone.

    Args:
        name: of the component, as in `model_index.json`.
        source: as for `find_weights`, or the component's own folder.
        subfolder: where it lies in `source`; None looks under its name where there is an index, else in `source`.
        revision: as for `find_weights`.
        companions: other components that are fetched with it, to lie beside it, if the repository has them.
        options: see `HubOptions`.

    Raises:
        WeightsError: if it cannot be found.
    """
    folder = _local(source)
    if folder is None:
        beside = PurePosixPath(subfolder or name).parent
        wanted = [subfolder or name, *((beside / companion).as_posix() for companion in companions)]
        patterns = [f"{place}/*{suffix}" for place in wanted for suffix in SUFFIXES]
        if subfolder is None:
            patterns += [INDEX, "config.json", "model.safetensors", "README.md"]
        folder = _fetch(str(source), revision, patterns, options)
    if subfolder is None:
        subfolder = name if (folder / INDEX).is_file() else ""
    found = folder / subfolder
    if not found.is_dir():
        raise WeightsError(
            f"The weights {str(source or folder)!r} hold nothing in {subfolder or '.'!r} for {name!r}; give another "
            "subfolder, " + _INSTEAD
        )
    return found


def read_index(folder: Path) -> dict[str, object]:
    """What `model_index.json` in `folder` lists.

    Raises:
        WeightsError: if it cannot be read.
    """
    try:
        return dict(json.loads((folder / INDEX).read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder} holds no readable {INDEX}; give a folder of weights.") from error


def _local(source: str | os.PathLike[str] | None) -> Path | None:
    """The folder that `source` is, if it is one."""
    folder = EMBEDDED if source is None else Path(source).expanduser()
    if not folder.is_dir():
        return None
    for path in folder.rglob("*.safetensors"):
        with open(path, "rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise WeightsError(
                    f"{path} only points to weights that Git LFS holds; run 'git lfs pull' in its repository."
                )
    return folder


def _fetch(source: str, revision: str | None, patterns: list[str], options: HubOptions) -> Path:
    """The folder in the cache that holds what of a repository fits the patterns, whole and as its checksums say."""
    repository, _, tagged = source.partition("@")
    revision = revision or tagged or None
    folder = _download(repository, revision, patterns, options)
    damaged = _damaged(folder, patterns)
    if damaged:
        _forget(damaged)
        again: HubOptions = {name: value for name, value in options.items() if name != "force_download"}  # type: ignore
        folder = _download(repository, revision, patterns, again)
        still = _damaged(folder, patterns)
        if still:
            _forget(still)
            names = ", ".join(path.relative_to(folder).as_posix() for path in still[:3])
            raise WeightsError(
                f"The weights {repository!r} arrive damaged: the checksum of {names} is wrong; try again later, "
                + _INSTEAD
            )
    return folder


def _download(repository: str, revision: str | None, patterns: list[str], options: HubOptions) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HTTPError, XetDownloadError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, **options))
    except (HTTPError, EntryNotFoundError, XetDownloadError, OSError, ValueError) as error:
        raise WeightsError(_sentence(repository, revision, error)) from error


def _sentence(repository: str, revision: str | None, error: Exception) -> str:
    """What went wrong with a download and what to do, in one sentence."""
    from huggingface_hub import errors

    weights = f"The weights {repository!r}"
    if isinstance(error, errors.HFValidationError):
        return f"{weights} are neither a folder nor a repository's name like owner/name; check the name, {_INSTEAD}"
    if isinstance(error, errors.GatedRepoError):
        return f"{weights} have terms to be accepted: do so on their page and log in (hf auth login), {_INSTEAD}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{weights} are not on the Hub or are private; check the name, log in (hf auth login), {_INSTEAD}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{weights} have no revision {revision!r}; give one of their branches, tags or commits, {_INSTEAD}"
    if isinstance(error, errors.EntryNotFoundError | errors.OfflineModeIsEnabled):
        return f"{weights} are not whole in the cache and the Hub could not be asked; check the network, {_INSTEAD}"
    if isinstance(error, errors.HTTPError | errors.XetDownloadError) or "onsistency check" in str(error):
        return f"{weights} did not arrive whole from the Hub; try again later, {_INSTEAD}"
    if isinstance(error, OSError):
        where = f" at {error.filename}" if error.filename else ""
        return f"{weights} cannot be kept in the cache{where}; make room, or name another folder in HF_HOME, {_INSTEAD}"
    return f"{weights} could not be fetched from the Hub; check the name and the network, {_INSTEAD}"


def _damaged(folder: Path, patterns: list[str]) -> list[Path]:
    from huggingface_hub.utils import filter_repo_objects

    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [folder / name for name in filter_repo_objects(names, allow_patterns=patterns) if not _intact(folder / name)]


def _intact(path: Path) -> bool:
    """Whether a file is what the cache's name for it says: its SHA-256, or for small ones git's SHA-1.

    Where the system has no links, the cache keeps no such names, and the client's own check of sizes must do.
    """
    wanted = Path(os.readlink(path)).name if path.is_symlink() else ""
    if len(wanted) not in (40, 64) or set(wanted) - set("0123456789abcdef"):
        return True
    return file_digest(path, None if len(wanted) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)) == wanted


def _forget(paths: list[Path]) -> None:
    """Take files out of the cache, with what their links lead to."""
    for path in paths:
        for one in (path.resolve(), path.parent / os.readlink(path), path):
            one.unlink(missing_ok=True)

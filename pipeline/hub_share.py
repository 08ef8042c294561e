"""Weights that come and go by the Hub's ways: `from_pretrained`, `save_pretrained`, `push_to_hub`.

For single components (`HubComponent`) and for the whole (`SharedWeights`). What is saved or pushed is always a folder
of weights with `model_index.json` and model cards, so a pushed component also serves the pipeline, which takes what it
lacks from the embedded weights.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypedDict

from pipeline.errors import OutputError, WeightsError
from pipeline.hub import EMBEDDED, INDEX, SUFFIXES, HubOptions, Weights, find_component, find_weights, read_index
from pipeline.hub_cards import Card, write_cards

if TYPE_CHECKING:
    from typing import Self, Unpack


class PushOptions(TypedDict, total=False):
    """How weights are pushed, as for any upload with `huggingface_hub`.

    Attributes:
        revision: the branch to push to, made if it is not there; main by default.
        private: whether a repository that is made is private.
        token: an access token; by default the one that is logged in.
        commit_message: what the commit says.
        create_pr: whether to open a pull request instead of writing to the branch.
    """

    revision: str | None
    private: bool | None
    token: str | bool | None
    commit_message: str
    create_pr: bool


class HubComponent:
    """A component that `load` reads from a folder and `save` writes into one, with what is made of these two.

    Attributes:
        component: its name in `model_index.json`.
        companions: components that are read from the folders beside its own.
    """

    component: ClassVar[str]
    companions: ClassVar[tuple[str, ...]] = ()
    _card: str | None = None

    if TYPE_CHECKING:

        @classmethod
        def load(cls, folder: str | Path) -> Self: ...

        def save(self, folder: str | Path) -> None: ...

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] | None = None,
        subfolder: str | None = None,
        revision: str | None = None,
        **options: Unpack[HubOptions],
    ) -> Self:
        """Read the component from a folder, from "owner/repo" on the Hub, or (None) from the embedded weights.

        Args:
            source: a folder of weights, the component's own folder, or "owner/repo".
            subfolder: where in `source` it lies; by default under its name, or in `source` itself.
            revision: branch, tag or commit on the Hub.
            options: see `pipeline.hub.HubOptions`.

        Raises:
            WeightsError: if it cannot be found, fetched or read.
        """
        folder = find_component(cls.component, source, subfolder, revision, cls.companions, **options)
        loaded = cls.load(folder)
        above = folder.parent
        card = Card.read(folder / "README.md")
        if card is None and (above / "config.json").is_file():  # a variant, of which its component's card speaks
            card, above = Card.read(above / "README.md"), above.parent
        if card is not None:  # goes along when it is pushed; frozen dataclasses take it too
            card = card.completed(Card.read(above / "README.md"))
            object.__setattr__(loaded, "_card", card.text())
        return loaded

    def parts(self) -> dict[str, HubComponent]:
        """What `save_pretrained` writes, by name: this component and those it needs beside it."""
        return {self.component: self}

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the component, those it needs, an index and cards into `folder`.

        Raises:
            OutputError: if the folder cannot be written.
        """
        _write_component(self, Path(folder), None)

    def push_to_hub(self, repo_id: str, **options: Unpack[PushOptions]) -> str:
        """Push the component, those it needs, an index and cards to "owner/repo"; returns the commit's address.

        Raises:
            OutputError: if the Hub does not take it; the text says why.
        """
        with tempfile.TemporaryDirectory() as folder:
            _write_component(self, Path(folder), repo_id)
            return push_folder(folder, repo_id, **options)


def load_component(name: str, source: str | os.PathLike[str] | None = None) -> HubComponent:
    """One component by its name in `model_index.json`, or a variant of one, such as "audio_encoder/causal".

    Args:
        name: see above.
        source: a folder of weights, "owner/repo" on the Hub, or None for the embedded ones.

    Raises:
        WeightsError: if there is none of that name, or it cannot be read.
    """
    own = {key: entry for key, entry in read_index(find_weights(source).folder).items() if entry}
    index = {key: entry for key, entry in (read_index(EMBEDDED) | own).items() if isinstance(entry, list)}
    module, kind_name = index.get(name, index.get(name.partition("/")[0], ["", ""]))
    # An index may come from anywhere: only components of ours are made by what it names.
    found = getattr(import_module(module), kind_name, None) if str(module).startswith("pipeline.") else None
    if not (isinstance(found, type) and issubclass(found, HubComponent)):
        raise WeightsError(f"There is no component {name!r}; choose one of: {', '.join(index)}.")
    kind: type[HubComponent] = found
    return kind.from_pretrained(source, subfolder=name)


class SharedWeights:
    """`save_pretrained` and `push_to_hub` of something with `weights`."""

    weights: Weights

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write all weights in use, those taken from the embedded ones too, with index and cards into `folder`.

        Raises:
            OutputError: if the folder cannot be written.
        """
        _write_weights(self.weights, Path(folder), None)

    def push_to_hub(self, repo_id: str, **options: Unpack[PushOptions]) -> str:
        """Push all weights in use, with index and cards, to "owner/repo"; returns the commit's address.

        Args:
            repo_id: "owner/repo"; it is made if it is not there.
            options: see `PushOptions`.

        Raises:
            OutputError: if the Hub does not take them; the text says why.
        """
        with tempfile.TemporaryDirectory() as folder:
            _write_weights(self.weights, Path(folder), repo_id)
            return push_folder(folder, repo_id, **options)


def push_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    revision: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = "Weights of Tête-à-tête",
    create_pr: bool = False,
) -> str:
    """Push a folder of weights as one commit that replaces the weights in "owner/repo"; returns its address.

    Raises:
        OutputError: if the Hub does not take it.
        WeightsError: if the folder has no readable `model_index.json`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    read_index(Path(folder))
    api = HfApi(token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not create_pr:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message,
            create_pr=create_pr,
            allow_patterns=[f"*{suffix}" for suffix in SUFFIXES],
            delete_patterns=["*.json", "*.safetensors"],  # what an earlier push left and this one lacks
        )
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise OutputError(_sentence(repo_id, error)) from error
    return commit.pr_url or commit.commit_url


def _write_component(component: HubComponent, folder: Path, repository: str | None) -> None:
    index: dict[str, object] = {"_class_name": "ConversationalHeadPipeline"}
    try:
        for name, part in component.parts().items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            part.save(folder / name)
            if part._card:
                (folder / name / "README.md").write_text(part._card, encoding="utf-8")
            index[name] = [type(part).__module__, type(part).__name__]
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        write_cards(folder, repository, main=next(iter(component.parts())))
    except OSError as error:
        raise OutputError(f"{folder} cannot be written; give a folder that can be.") from error


def _write_weights(weights: Weights, folder: Path, repository: str | None) -> None:
    own = read_index(weights.folder)
    embedded = read_index(EMBEDDED)
    index = embedded | {name: entry or embedded.get(name, entry) for name, entry in own.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in index:
            if not name.startswith("_"):
                _copy(weights.component(name), folder / name)
        if (weights.folder / "README.md").is_file():
            shutil.copyfile(weights.folder / "README.md", folder / "README.md")
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        write_cards(folder, repository)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written; give a folder that can be.") from error


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file() and path.suffix in SUFFIXES:
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    card = Card.read(target / "README.md")
    if card is not None and source.parent == EMBEDDED:  # what holds of all embedded weights holds of it elsewhere too
        (target / "README.md").write_text(card.completed(Card.read(EMBEDDED / "README.md")).text(), encoding="utf-8")


def _sentence(repo_id: str, error: Exception) -> str:
    from huggingface_hub import errors

    target = f"The weights cannot be pushed to {repo_id!r}"
    response = getattr(error, "response", None)
    status = response.status_code if response is not None else 0
    if isinstance(error, errors.HFValidationError):
        return f"{target}: that is no repository's name; give one like owner/name."
    if status in (401, 403) or isinstance(error, errors.LocalTokenNotFoundError):
        return f"{target}: you may not write there; log in (hf auth login) with a token that may write."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{target}: the Hub is switched off by HF_HUB_OFFLINE; unset it and push again."
    if status == 404:
        return f"{target}: there is no such repository or branch; check the names."
    return f"{target}: the Hub did not take them; check the network and push again."

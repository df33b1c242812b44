"""The Hugging Face Hub: models by name, from its cache or its server, and back."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from segkit._files import write_text
from segkit.errors import DataError, InputError, MissingFileError
from segkit.labels import Labels
from segkit.models._card import model_card
from segkit.models._saving import CONFIG, WEIGHTS
from segkit.models.finetune import adapt_model
from segkit.models.weights import load_model

if TYPE_CHECKING:
    from segkit.models.segmenter import Segmenter

__all__ = ["download_model", "from_pretrained", "push_folder", "push_model"]

# A name on the Hub: an owner and a repository.
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What a folder of ours holds; checkpoints and whatever else lies beside it stay at home.
_FILES = (CONFIG, WEIGHTS, "README.md", "training.json", "samples.jpg")


def from_pretrained(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    labels: Labels | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Segmenter:
    """Load a model from a folder, or by its name from the Hub; see `Segmenter.from_pretrained`."""
    folder = Path(name_or_folder)
    if not folder.is_dir() and isinstance(name_or_folder, str):
        folder = download_model(
            name_or_folder, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
    elif revision is not None:
        raise InputError(f"`revision` (={revision!r}) is that of a repository; {folder} is a folder, which has none")
    model = load_model(folder)
    if num_classes is None and in_channels is None and labels is None:
        return model
    return adapt_model(model, num_classes=num_classes, in_channels=in_channels, labels=labels)


def download_model(
    name: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Bring a model from the Hub into the local cache, if it is not there, and return its folder.

    Args:
        name: ``"owner/name"``.
        revision: a branch, a tag or a commit; None for the main branch.
        token: of the Hub, for private models; None for the one that this machine is logged in with.
        cache_dir: None for the Hub's own, see its documentation.
        local_files_only: use what is in the cache, and no network.

    Raises:
        MissingFileError: no such repository, revision or file, or the Hub cannot be reached and the cache lacks it.
        DataError: whatever else the Hub answers.
    """
    if not _NAME.fullmatch(name):
        raise MissingFileError(f"no model folder {name}, and no name of a model on the Hub (owner/name) either")
    from huggingface_hub import hf_hub_download

    with _explained(name, revision):
        # The weights of the very commit that the configuration is of, were a new one pushed in between.
        config = Path(
            hf_hub_download(
                name, CONFIG, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
            )
        )
        commit = config.parent.name
        hf_hub_download(
            name, WEIGHTS, revision=commit, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
    return config.parent


@contextmanager
def _explained(name: str, revision: str | None) -> Iterator[None]:
    """Turn the errors of huggingface_hub into ours, each with what to do."""
    from huggingface_hub import errors

    what = f"{name!r}" if revision is None else f"{name!r} at revision {revision!r}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise DataError(
            f"the model {what} asks for its terms to be accepted: do so on its page on the Hub, then log in "
            "(`huggingface_hub.login()`) or give `token`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise MissingFileError(
            f"the Hub has no model {name!r}, or it is private: check the name; for a private one log in "
            "(`huggingface_hub.login()`) or give `token`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise MissingFileError(
            f"the model {name!r} has no revision {revision!r} (a branch, a tag or a commit)"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise MissingFileError(
            f"the Hub cannot be reached (or may not be: HF_HUB_OFFLINE, `local_files_only`), and its local cache does "
            f"not hold {what}. Load it once with a network, or give the path of a folder that holds the model"
        ) from error
    except errors.EntryNotFoundError as error:
        raise MissingFileError(
            f"{what} on the Hub is no model that segkit saved: it lacks {CONFIG} or {WEIGHTS}"
        ) from error
    except Exception as error:  # what the network or the server makes of it has no common class
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"the Hub did not serve {what}: {first}") from error


def push_folder(
    folder: str | Path,
    name: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "Upload a segkit model",
) -> str:
    """Send a folder that ``model.save`` or ``Trainer.save`` wrote to the Hub, and return the address of the commit.

    Only the files of the model go: weights, configuration, card, recipe and sample pictures.

    Args:
        folder: with ``config.json`` and ``model.safetensors``; it is loaded once, to see that it can be.
        name: ``"owner/name"``; made if there is none.
        revision: the branch to push to, made if there is none; None for the main one.
        private: whether a new repository is; None for the owner's default.
        token: of the Hub, with the right to write; None for the one that this machine is logged in with.
        message: of the commit.

    Raises:
        InputError: ``name`` is none of the Hub's.
        DataError: the folder holds no model that can be loaded, or the Hub refused it.
    """
    _check_name(name)
    load_model(folder)
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with _explained(name, revision):
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            allow_patterns=list(_FILES),
            commit_message=message,
        )
    return str(commit.commit_url)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"`name` of a model on the Hub is 'owner/name'; got {name!r}")


def push_model(
    model: Segmenter,
    name: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "Upload a segkit model",
) -> str:
    """Save a model with a short card and push it; see `push_folder`."""
    _check_name(name)
    with tempfile.TemporaryDirectory() as folder:
        path = model.save(folder)
        assert model.config is not None
        count = sum(parameter.numel() for parameter in model.parameters())
        intro = f"A semantic-segmentation model ({type(model).__name__}, {count:,} parameters)."
        title = name.partition("/")[2]
        write_text(path / "README.md", model_card(model.config, model.labels, title=title, intro=intro))
        return push_folder(path, name, revision=revision, private=private, token=token, message=message)

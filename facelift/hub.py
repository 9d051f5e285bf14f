"""Models on the Hugging Face hub: into the hub's own cache, out of it without a network, and up again."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facelift.errors import UserError
from facelift.formats.files import explain
from facelift.formats.tensors import first_reason


@dataclass(frozen=True)
class Pinned:
    """A model of others: the revision that this code was written for, and what its licence allows."""

    revision: str
    license: str
    notice: str


PINNED = {
    "wlyu/OpenFaceLift": Pinned(
        revision="3ebac9f8e2d791f02507b8aa61520e1ba379a115",
        license="Adobe Research License 1.2",
        notice=(
            "The weights of wlyu/OpenFaceLift (9.3 GB) are Adobe's, under the Adobe Research License 1.2: "
            "for non-commercial research only. Read it at https://huggingface.co/wlyu/OpenFaceLift before "
            "you use them or what you make with them."
        ),
    )
}


def is_repository(name: str) -> bool:
    """Whether a name has the form of a repository on the hub: owner/model."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) is not None


def download(
    repository: str, revision: str | None, files: list[str], complete: Callable[[Path], bool]
) -> Path:
    """The folder of a model in the hub's cache; fetched with a progress bar unless it is there already.

    Args:
        repository: owner/model.
        revision: a branch, tag or commit; None is the pinned one where there is one, else main.
        files: patterns of the files that are wanted.
        complete: says whether a cached folder holds a whole model; an interrupted download does not.

    Raises:
        UserError: no network, no such repository or revision, no permission, no space.
    """
    from huggingface_hub import HfApi, errors, snapshot_download

    pinned = PINNED.get(repository)
    revision = revision or (pinned.revision if pinned else "main")
    try:
        cached = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        if complete(cached):
            return cached
    except FileNotFoundError:  # of which the hub's own error is a kind
        pass
    if pinned:
        print(pinned.notice, file=sys.stderr, flush=True)
    unreachable = UserError(
        f"{repository} is not in the cache yet and the Hugging Face hub cannot be reached: connect to "
        "the network for the first time, or name a folder with the model."
    )
    try:
        try:
            HfApi().model_info(repository, revision=revision, timeout=10)
        except errors.HfHubHTTPError:
            raise
        except Exception:  # the download would only try for half a minute; its HTTP library changes its name
            raise unreachable from None
        return Path(snapshot_download(repository, revision=revision, allow_patterns=files))
    except UserError:
        raise
    except errors.GatedRepoError:
        raise UserError(
            f"{repository} is open only to those who accepted its terms: accept them at "
            f"https://huggingface.co/{repository}, then run hf auth login."
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"There is no folder {repository}, and no model of that name on the Hugging Face hub that you "
            "may read: check the name, or run hf auth login."
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{repository} has no revision {revision}: check --revision.") from None
    except (errors.LocalEntryNotFoundError, ConnectionError):
        raise unreachable from None
    except Exception as error:  # a connection that breaks is one of many errors
        reason = explain(error) if isinstance(error, OSError) and error.errno else first_reason(error)
        raise UserError(
            f"{repository} could not be fetched ({reason}): try again; what has arrived is kept."
        ) from error


def fetch_file(repository: str, name: str) -> Path:
    """One file of a repository, from the hub's cache or the hub.

    Raises:
        UserError: it is not in the cache, and the hub cannot be reached or does not have it.
    """
    from huggingface_hub import HfApi, errors, hf_hub_download

    try:
        return Path(hf_hub_download(repository, name, local_files_only=True))
    except FileNotFoundError:  # of which the hub's own error is a kind
        pass
    try:
        HfApi().model_info(repository, timeout=10)  # the download would try for minutes
        return Path(hf_hub_download(repository, name))
    except errors.HfHubHTTPError as error:
        raise UserError(f"{repository} has no {name} for you ({first_reason(error)}).") from None
    except Exception as error:  # a network that is not there is one of many errors
        raise UserError(
            f"{name} of {repository} is not in the cache, and the Hugging Face hub cannot be reached "
            f"({first_reason(error)}): connect to the network for the first time."
        ) from None


def upload(folder: Path, repository: str, private: bool = False) -> str:
    """Put a folder's files into a repository of one's own, made if need be; its address.

    Raises:
        UserError: not logged in, no permission, no network.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a FaceLift model")
    except Exception as error:  # as above
        raise UserError(
            f"{repository} could not be written on the Hugging Face hub ({first_reason(error)}): check the "
            "name, the network, and that hf auth login was run."
        ) from error
    return str(address)

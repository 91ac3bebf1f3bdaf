"""Where the artifacts of a study are kept: a folder, or a bucket of S3 or of what speaks like it, below a prefix.

Endpoint and credentials are those of the usual AWS environment variables and files, and never stored.
"""

from __future__ import annotations

import os
import uuid
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import optuna
from optuna.artifacts import Boto3ArtifactStore, FileSystemArtifactStore

from ablation.machine.text import first_line
from blocks.errors import WriteError, must_be
from studies.store.storage import public_url

PLACE = "artifacts"  # user attribute of a study; missing where its files stay in the folder that it is run in
FLAG, S3 = "--artifacts", "s3://"
RULE = "a folder, or s3://BUCKET/PREFIX"
# short waits for what does not answer; and none of the checksums that some servers lack, since each file has one of its own
CLIENT: dict[str, Any] = {
    "connect_timeout": 10, "retries": {"max_attempts": 3, "mode": "standard"},
    "request_checksum_calculation": "when_required", "response_checksum_validation": "when_required",
}  # fmt: skip


class Bucket:
    """Optuna's store in a bucket, below a prefix, which it has not itself."""

    def __init__(self, name: str, prefix: str, client: Any) -> None:
        self.store, self.prefix = Boto3ArtifactStore(name, client, avoid_buf_copy=True), prefix

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """As Optuna's protocol has it."""
        return self.store.open_reader(self.prefix + artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """As Optuna's protocol has it; WriteError where it fails, whichever of boto3's and botocore's errors that is."""
        try:
            self.store.write(self.prefix + artifact_id, content_body)
        except Exception as error:
            raise WriteError(first_line(error)) from error

    def remove(self, artifact_id: str) -> None:
        """As Optuna's protocol has it."""
        self.store.remove(self.prefix + artifact_id)


Store = FileSystemArtifactStore | Bucket


def read_place(text: str) -> str:
    """A place as studies store it, whole and without what could be a credential; InputError where it is none.

    >>> read_place("s3://bucket/studies/"), read_place("/shared/../shared")
    ('s3://bucket/studies', '/shared')
    """
    if "://" not in text:
        return os.path.abspath(Path(text).expanduser())  # links are left: each machine may have its own to a shared disk
    parts = urlsplit(text)
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
        raise must_be(
            FLAG, RULE, public_url(text), "Endpoint and credentials are those of the environment, AWS_ENDPOINT_URL and so on."
        )
    return f"{S3}{parts.netloc}{parts.path}".rstrip("/")


@cache
def open_place(place: str) -> Store:
    """The store of a place; InputError where the library for it is missing or not set up. Nothing is read or written."""
    if not place.startswith(S3):
        return FileSystemArtifactStore(place)
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        remedy = "Install boto3: pip install 'vae-ablation[s3]'."
        raise must_be(FLAG, "a place whose library is installed", place, remedy) from None
    name, _, prefix = place.removeprefix(S3).partition("/")
    try:
        client = boto3.client("s3", config=Config(**CLIENT))
    except (BotoCoreError, ValueError) as error:
        raise must_be(FLAG, "a place that the environment has settings for", place, f"{first_line(error).rstrip('.')}.") from None
    return Bucket(name, f"{prefix}/" if prefix else "", client)


def check_place(place: str | None, *, is_new: bool) -> None:
    """Keep a file there and remove it, before any work is done; InputError where that fails.

    The folder of a study that has begun must be there: one that is made anew is no shared disk.
    """
    if place is None:
        return
    store, probe = open_place(place), uuid.uuid4().hex
    try:
        if is_new and not place.startswith(S3):
            Path(place).mkdir(parents=True, exist_ok=True)
        store.write(probe, BytesIO(b"\n"))
        store.remove(probe)
    except Exception as error:  # of the file system, of boto3 or botocore, which have no error in common
        reason = getattr(error, "strerror", None) or first_line(error)
        raise must_be(FLAG, "a place that can be reached and written", place, f"{reason.rstrip('.')}.") from None


def place_of(study: optuna.Study | None, wanted: str | None, own: Path) -> str | None:
    """The place of a study: the one that it began with, else the wanted one; None where its files stay in its folder.

    `own`: its folder's own. InputError where another place is wanted than it began with.
    """
    place = None if wanted is None else read_place(wanted)
    place = None if place == os.path.abspath(own) else place
    if study is None or not {"config", PLACE} & study.user_attrs.keys():
        return place
    begun: str | None = study.user_attrs.get(PLACE)
    if wanted is not None and place != begun:
        rule = f"where the study began to keep its files, {begun or own}"
        raise must_be(FLAG, rule, place or str(own), f"Leave {FLAG} out, or begin another study with --study and --out.")
    return begun

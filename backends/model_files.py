"""What a model's folder holds, in a few characters."""

import hashlib
from pathlib import Path

_DIGEST_BYTES = 16
_EXCERPT_BYTES = 1024 * 1024


def model_folder(path: str) -> Path:
    """The folder of a model that has been loaded from ``path``, a folder or a hub name.

    Raises:
        OSError: there is none.
    """
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only for a model that is not in a folder

    return Path(snapshot_download(path, local_files_only=True))


def fingerprint(folder: Path) -> str:
    """32 hexadecimal digits made of the names and the bytes of all files in the folder.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "blake2b").digest()
        digest.update(str(file.relative_to(folder)).encode(errors="surrogateescape") + b"\0" + content)
    return digest.hexdigest()


def revision(path: str) -> str:
    """What tells the model at ``path``, a folder or a hub name, from others of its name, without reading all of it.

    The commit of one from a hub; else 32 hexadecimal digits made of the names and sizes of its files, and of what each
    begins and ends with.

    Raises:
        OSError: there is none, or a file cannot be read.
    """
    folder = model_folder(path)
    if folder.parent.name == "snapshots":
        return folder.name
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for file in sorted(found for found in folder.rglob("*") if found.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder)}\0{size}\0".encode(errors="surrogateescape"))
        with file.open("rb") as opened:
            digest.update(opened.read(_EXCERPT_BYTES))
            opened.seek(max(_EXCERPT_BYTES, size - _EXCERPT_BYTES))
            digest.update(opened.read(_EXCERPT_BYTES))
    return digest.hexdigest()

"""Why a process does not start: one sentence for the person who typed the command, never a
traceback.
"""

from __future__ import annotations

import errno


class CannotStart(Exception):  # noqa: N818 - a sentence, like the tree in contracts.errors
    """The reason, as one sentence that names what to change."""


def sentence_for(error: OSError, doing: str) -> str:
    """Turn an operating-system error met while `doing` something into one sentence."""
    place = f" ({error.filename})" if error.filename else ""
    reasons = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "permission is denied",
        errno.EPERM: "permission is denied",
        errno.ENOTDIR: "a part of the path is a file, not a directory",
    }
    reason = reasons.get(error.errno or 0, (error.strerror or str(error)).lower())
    return f"Cannot {doing}: {reason}{place}."

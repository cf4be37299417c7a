"""One run at a time in a store: whoever starts one holds a blob that says who it is."""

import atexit
import getpass
import json
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from pretrain_llama import stores
from pretrain_llama.errors import OperatorError

# Who takes a place writes its name there right after; until then, the name is of the run before.
NAMED_AFTER_SECONDS = 2


def claim(place: str, lost: Callable[[OperatorError], None]) -> None:
    """Hold a place in a store until this process ends.

    Args:
        place: az://{container}/{path} of the blob that says who holds it.
        lost: called, in another thread, if the place is no longer held: this run must not go on.

    Raises:
        OperatorError: another run holds it; names who started it, where and when.
    """
    from pretrain_llama import blob_lease  # takes a second: only runs on a store hold one

    ours = {
        "user": getpass.getuser(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    release = blob_lease.hold(place, json.dumps(ours).encode(), lambda reason: lost(_lost(reason, place)))
    if release is None:
        time.sleep(NAMED_AFTER_SECONDS)
        theirs = json.loads(stores.read_small(place) or b"{}")
        who = "{user} on {host}, process {process}, since {since}".format_map(theirs) if theirs else "somebody"
        raise OperatorError(
            f"another run works on this store: {who}",
            where=place,
            action="wait until it ends, or stop it; a killed one lets go within half a minute",
        )
    atexit.register(release)


def _lost(reason: str, place: str) -> OperatorError:
    return OperatorError(
        f"this run no longer holds its store ({reason}): the machine slept, or the store could not be reached; another "
        "run may work there by now",
        where=place,
        action="run again: it goes on from what is there, or names the run that took over",
    )

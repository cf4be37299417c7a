"""Lock a store for one run at a time, with a leased blob that names the run."""

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

# A run that takes the lease writes its name into the blob right after; until then, the blob names the run before.
NAMED_AFTER_SECONDS = 2


def claim(location: str, lost: Callable[[OperatorError], None]) -> None:
    """Lock a store until this process ends.

    Args:
        location: az://{container}/{path} of the blob that says who holds it.
        lost: called, in another thread, if the blob is no longer held: this run must not go on.

    Raises:
        OperatorError: another run holds it; names who started it, where and when.
    """
    from pretrain_llama.stores import blob_lease  # takes a second: only runs on a store hold one

    ours = {
        "user": getpass.getuser(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    release = blob_lease.hold(location, json.dumps(ours).encode(), lambda reason: lost(_lost(reason, location)))
    if release is None:
        time.sleep(NAMED_AFTER_SECONDS)
        theirs = json.loads(stores.read_small(location) or b"{}")
        who = "{user} on {host}, process {process}, since {since}".format_map(theirs) if theirs else "somebody"
        raise OperatorError(
            f"another run works on this store: {who}",
            where=location,
            action="wait until it ends, or stop it; a killed one lets go within half a minute",
        )
    atexit.register(release)


def _lost(reason: str, location: str) -> OperatorError:
    return OperatorError(
        f"this run no longer holds its store ({reason}): the machine slept, or the store could not be reached; another "
        "run may work there by now",
        where=location,
        action="run again: it goes on from what is there, or names the run that took over",
    )

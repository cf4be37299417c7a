"""One run at a time in a store: whoever starts one holds a blob that says who it is."""

import atexit
import getpass
import json
import os
import socket
from datetime import UTC, datetime

from pretrain_llama import stores
from pretrain_llama.errors import OperatorError


def claim(place: str) -> None:
    """Hold a place in a store until this process ends.

    Args:
        place: az://{container}/{path} of the blob that says who holds it.

    Raises:
        OperatorError: another run holds it; names who started it, where and when.
    """
    ours = {
        "user": getpass.getuser(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    release = stores.hold(place, json.dumps(ours).encode())
    if release is None:
        theirs = json.loads(stores.read_small(place) or b"{}")
        who = "{user} on {host}, process {process}, since {since}".format_map(theirs) if theirs else "somebody"
        raise OperatorError(
            f"another run works on this store: {who}",
            where=place,
            action="wait until it ends, or stop it; a killed one lets go within a minute",
        )
    atexit.register(release)

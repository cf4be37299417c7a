"""What tests need of other processes: to wait for what they do, and ports to meet them at."""

import contextlib
import socket
import time
from collections.abc import Callable


def wait_for[Seen](condition: Callable[[], Seen], seconds: float = 20) -> Seen:
    """Return the first true value of a condition.

    Raises:
        AssertionError: there was none in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s in vain")


def free_ports(count: int = 1) -> list[int]:
    """Ports of this machine that nobody listens at."""
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [opened.getsockname()[1] for opened in sockets]

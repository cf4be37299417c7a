"""What tests make go wrong: in answers, in connections, in tasks."""

import re
import threading
from dataclasses import dataclass
from typing import Literal

from azure_emulator.exchange import Request, ServiceError


@dataclass(frozen=True)
class Where:
    """The requests that a fault meets: kind of host, method ("" for any), and a pattern found in path or query."""

    kind: Literal["blob", "batch", "management", "registry", "login"] = "blob"
    method: str = ""
    target: str = ""

    def matches(self, request: Request) -> bool:
        """Tell whether a request is one of them."""
        return (
            self.kind == request.kind
            and self.method in ("", request.method)
            and re.search(self.target, request.target) is not None
        )


@dataclass(frozen=True)
class Refuse:
    """Answer with an error; nothing is done."""

    status: int
    code: str
    retry_after_s: int | None = None
    message: str = "injected by a test"

    def error(self) -> ServiceError:
        """The error, as services raise it."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return ServiceError(self.status, self.code, self.message, headers)


@dataclass(frozen=True)
class Cut:
    """Close the connection in the middle of a body.

    side "request": after about `after_bytes` of the client's body; nothing is done.
    side "answer": after `after_bytes` of the answer's body; with 0 not even its headers are sent. All is done.
    """

    side: Literal["request", "answer"]
    after_bytes: int = 0


@dataclass(frozen=True)
class Delay:
    """Wait before the request is served."""

    seconds: float


@dataclass(frozen=True)
class Shift:
    """Answer with a clock that is wrong by `seconds` in the Date header."""

    seconds: float


@dataclass(frozen=True)
class Lose:
    """Kill a task `after_s` seconds after its start, with its node; the service queues it again.

    preempted: its node was a spot node that somebody else got.
    """

    after_s: float
    preempted: bool = False


RequestFault = Refuse | Cut | Delay | Shift


class Faults:
    """The faults still to happen, each a number of times; tests add them while the service runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[list] = []  # [where, fault, times left]
        self._tasks: list[Lose] = []
        self.happened: list[RequestFault | Lose] = []

    def add(self, fault: RequestFault, where: Where | None = None, times: int = 1) -> None:
        """Let the next `times` requests that `where` matches (by default: any blob request) meet a fault."""
        with self._lock:
            self._requests.append([where or Where(), fault, times])

    def lose_tasks(self, fault: Lose, times: int = 1) -> None:
        """Let the next `times` tasks that start lose their node."""
        with self._lock:
            self._tasks += [fault] * times

    def left(self) -> int:
        """How many faults have not happened yet: 0 shows that a test was not vacuous."""
        with self._lock:
            return len(self._tasks) + sum(times for _, _, times in self._requests)

    def clear(self) -> None:
        """Let nothing more go wrong."""
        with self._lock:
            self._requests.clear()
            self._tasks.clear()

    def take(self, request: Request) -> RequestFault | None:
        """Return the fault that a request meets, and count it down."""
        with self._lock:
            for entry in self._requests:
                if entry[0].matches(request):
                    entry[2] -= 1
                    if not entry[2]:
                        self._requests.remove(entry)
                    self.happened.append(entry[1])
                    return entry[1]
        return None

    def take_task(self) -> Lose | None:
        """Return the fault that a starting task may meet, and count it down."""
        with self._lock:
            return self._tasks.pop(0) if self._tasks else None

    def put_back(self, fault: Lose) -> None:
        """A task ended before its fault: let the next one meet it."""
        with self._lock:
            self._tasks.insert(0, fault)

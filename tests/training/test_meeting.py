"""Where the processes of a training meet: on one machine, nobody else on the network can reach what listens."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain_llama.errors import OperatorError
from pretrain_llama.run.ranks import Ranks
from pretrain_llama.training.processes import _listen, process_groups
from processes import free_ports

LISTENING = """
import json, os, sys
from datetime import timedelta
from pathlib import Path
import torch, torch.distributed as dist
from pretrain_llama.run.ranks import from_environment
from pretrain_llama.training.processes import process_groups

with process_groups(1, 1, "a test", from_environment()):
    total = torch.ones(1)
    dist.all_reduce(total)
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    inodes = {os.readlink(link) for link in links if os.path.lexists(link)}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    ours = [row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    print(json.dumps([total.item(), ours]))
    dist.barrier()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("count", [1, 2])
def test_a_training_of_one_machine_listens_on_loopback_alone(count: int) -> None:
    port = str(free_ports(1)[0])
    environment = {key: value for key, value in os.environ.items() if "SOCKET_IFNAME" not in key}
    if count > 1:
        environment |= {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", LISTENING],
            env=environment | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {}),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]

    ended = [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]
    assert [total for total, _ in ended] == [float(count)] * count
    listening = {address for _, addresses in ended for address in addresses}
    assert listening <= {"0100007F"}, "127.0.0.1, as /proc writes it"
    assert listening or count == 1, "the first process does listen"


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(OperatorError, match=r"cannot meet .*[aA]ddress already in use(?s:.*)MASTER_PORT"),
            process_groups(1, 1, "a test", Ranks(0, 2, 0, 2, "127.0.0.1", port)),
        ):
            pass
    with (
        pytest.raises(OperatorError, match="cannot meet the others"),
        process_groups(1, 1, "a test", Ranks(0, 2, 0, 2, "127.0.0.1", 70_000)),
    ):
        pass


def test_an_address_that_is_translated_is_listened_to_on_all() -> None:
    with _listen("192.0.2.1", 0) as listening:  # of no machine, RFC 5737
        assert listening.getsockname()[0] == "0.0.0.0"
    with _listen("localhost", 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"

"""Judge the requests that emulated Azure recorded by the models of Azure's clients, and pools by the published types.

    python tests/azure_contract/judge.py requests.jsonl

Prints how many requests of each call there were, and a line for each that differs. Exit code 1: there was one, or a
request that the stand-in took although no call of the interface is known that it is.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from azure_contract.bodies import API_VERSION, call_of, faults_of_body, faults_of_query
from azure_contract.published import body_of, deviations

POOL = "Microsoft.Batch/batchAccounts/pools"
OF_POOL = ("name", "properties", "identity")


def faults_of_pool(name: str, pool: dict) -> list[str]:
    """Return how a pool differs from its published type, which has bounds and patterns that the models do not."""
    types, kind = body_of(POOL, API_VERSION)
    own = {"name": name, **pool}
    return deviations(types, {**kind, "properties": {key: kind["properties"][key] for key in OF_POOL}}, own)


def judge(lines: Iterable[str]) -> tuple[Counter, list[str]]:
    """Return how often each call was made, and what differs, a line each; what the stand-in refused is left out."""
    calls: Counter[str] = Counter()
    found = set()
    for line in map(json.loads, lines):
        if line["host"].partition(".")[0] != "management" and ".batch." not in line["host"]:
            continue
        if not 200 <= line["status"] < 300:
            continue
        kind = "management" if line["host"].startswith("management.") else "batch"
        call = call_of(kind, line["method"], line["target"])
        if call is None:
            found.add(f"{line['method']} {line['target']}: no call of the interface")
            continue
        calls[call.name] += 1
        body = json.loads(line["body"]) if line["body"] else None
        faults = [*faults_of_query(call, line["target"]), *faults_of_body(call, body)]
        if call.name == "put pool":
            faults += faults_of_pool(line["target"].partition("?")[0].rpartition("/")[2], body)
        found |= {f"{call.name}: {fault}" for fault in faults}
    return calls, sorted(found)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as log:
        calls, found = judge(log)
    print(json.dumps(calls))
    for fault in found:
        print(fault)
    sys.exit(1 if found or not calls else 0)


if __name__ == "__main__":
    main()

"""Take some resources, and all types that they refer to, out of a file of Azure's published Bicep types.

    python tests/azure_contract/take_types.py types.json Microsoft.Batch/batchAccounts@2025-06-01 … > taken.json

The files are generated/*/types.json of https://github.com/Azure/bicep-types-az: lists of types that refer to each
other by "#/N". What is left of a file keeps its form, with new numbers. Of types told apart by a property,
`--only CommandJob` keeps those of that name, and leaves the others out.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", type=Path, help="a types.json")
    parser.add_argument("resources", nargs="+", help="PROVIDER/TYPE@VERSION, in any case")
    parser.add_argument("--only", nargs="*", default=[], help="names of types told apart by a property")
    return parser.parse_args()


def take(types: list[dict], resources: list[str], only: list[str]) -> list[dict]:
    """Return the resources, and what they refer to.

    Raises:
        SystemExit: a resource is not among the types.
    """
    names = {entry.get("name", "").lower(): n for n, entry in enumerate(types) if entry["$type"] == "ResourceType"}
    if missing := [resource for resource in resources if resource.lower() not in names]:
        sys.exit(f"not among the types: {', '.join(missing)}")
    taken = {names[resource.lower()]: n for n, resource in enumerate(resources)}
    waiting = list(taken)
    values: dict[int, Any] = {}

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            number = int(value["$ref"].removeprefix("#/"))
            if number not in taken:
                taken[number] = len(taken)
                waiting.append(number)
            return {"$ref": f"#/{taken[number]}"}
        return {key: moved(item) for key, item in value.items() if key != "description"}

    for number in waiting:  # it grows
        entry = dict(types[number])
        if entry["$type"] == "DiscriminatedObjectType" and only:
            entry["elements"] = {k: e for k, e in entry["elements"].items() if _name(types, e) in only or k in only}
        values[taken[number]] = moved(entry)
    return [values[n] for n in range(len(values))]


def _name(types: list[dict], reference: dict) -> str:
    return types[int(reference["$ref"].removeprefix("#/"))].get("name", "")


def main() -> None:
    args = parse_args()
    taken = take(json.loads(args.types.read_text()), args.resources, args.only)
    print("[")
    print(",\n".join(json.dumps(entry, separators=(",", ":")) for entry in taken))
    print("]")


if __name__ == "__main__":
    main()

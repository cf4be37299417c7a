"""Print the numbers of docs/decisions/house.md: files, lines and modules of each room of the package.

python docs/count_house.py [CLONE]
"""

import re
import sys
from collections import Counter
from pathlib import Path


def main(root: Path) -> None:
    """Print the numbers of a clone."""
    package = root / "scripts" / "pretrain_llama"
    lines = {path.relative_to(package): len(path.read_text().splitlines()) for path in sorted(package.rglob("*.py"))}
    modules = {path: count for path, count in lines.items() if path.name != "__init__.py"}
    files, sums = Counter(), Counter()
    for path, count in modules.items():
        files[path.parts[0] if len(path.parts) > 1 else "(top)"] += 1
        sums[path.parts[0] if len(path.parts) > 1 else "(top)"] += count
    rooms_of = Counter(name for name, _ in {(path.name, path.parts[0]) for path in modules})
    rules = {path.name: len(path.read_text().splitlines()) for path in (root / "rules").glob("*.smk")}
    places = sum(len(re.findall(r"\bplaces?\b", (package / path).read_text())) for path in lines)
    print(f"files {len(lines)}, lines {sum(lines.values()):,}")
    print(f"over 300 lines {sum(n > 300 for n in modules.values())}, under 40 {sum(n < 40 for n in modules.values())}")
    print(f"names of two rooms: {', '.join(sorted(Path(name).stem for name, n in rooms_of.items() if n > 1))}")
    print(f"common.smk {rules['common.smk']}, all rules {sum(rules.values()):,}; place {places}")
    for room in sorted(files):
        print(f"{room:<14} {files[room]:>3} {sums[room]:>6,}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

"""The peer of a conversion: copy the files of a folder, with the SHA-256 of each.

python benchmarks/copy_with_checksums.py SOURCE TARGET
"""

import hashlib
import sys
from pathlib import Path

BLOCK_BYTES = 4 << 20


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    target.mkdir()
    buffer = memoryview(bytearray(BLOCK_BYTES))
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as read, open(target / path.name, "wb", buffering=0) as written:
            while count := read.readinto(buffer):
                digest.update(buffer[:count])
                written.write(buffer[:count])
        print(digest.hexdigest(), path.name)


if __name__ == "__main__":
    main()

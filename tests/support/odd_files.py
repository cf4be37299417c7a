"""Feed a reader of checkpoints many broken variants of a file; a program, so that its time and memory are bounded.

    python tests/support/odd_files.py READER FOLDER

FOLDER is a copy of a checkpoint that the reader reads, which it may spoil. Printed is how each variant ended: "read",
the class of an error that is ours, or a traceback.
"""

import io
import json
import random
import resource
import struct
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints import passport, pickles
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.opening import open_tensors
from pretrain_llama.checkpoints.pickles import Call, Name, New
from pretrain_llama.errors import PretrainError

MEMORY_BYTES, CPU_SECONDS = 1 << 30, 100
DEEP = 100_000
Variants = Iterator[tuple[str, bytes]]

TEXTS = {
    "nothing": b"",
    "a list": b"[]",
    "a list of numbers": b"[1, 2]",
    "null": b"null",
    "a number": b"1",
    "a text": b'"x"',
    "half an object": b'{"a": 1',
    "nested lists": b"[" * DEEP + b"]" * DEEP,
    "nested objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "NULs": bytes(100),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "an empty object": b"{}",
    "a key twice": b'{"a": 1, "a": 2}',
}
ODD = ["null", "[]", "{}", "[1]", '{"a": 1}', '"x"', '""', "true", "-1", "0", "1.5", "NaN", "Infinity", "1e999"]
ODD += ["1" + "0" * 30, "9" * 5000, "[" * 900 + "]" * 900, '["a", "a"]', '"../x"', '{"a": {"b": [null]}}']


def json_variants(valid: bytes) -> Variants:
    """Other texts, and the valid one with each key left out and with odd values, also one level further down."""
    yield from TEXTS.items()
    whole = json.loads(valid)
    for key, value in whole.items():
        yield f"no {key}", json.dumps({other: whole[other] for other in whole if other != key}).encode()
        yield from _odd(key, whole, key)
        if isinstance(value, dict) and value:
            inner = next(iter(value))
            yield from _odd(f"{key}.{inner}", whole, key, inner)


def _odd(name: str, whole: dict[str, Any], *path: str) -> Variants:
    marked = json.loads(json.dumps(whole))
    place = marked
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "PLACE"
    text = json.dumps(marked)
    for odd in ODD:
        yield f"{name} = {odd[:20]}", text.replace('"PLACE"', odd).encode()


def header_variants(valid: bytes) -> Variants:
    """A safetensors file with variants of its header, and with lengths that lie."""
    length = int.from_bytes(valid[:8], "little")
    header, data = valid[8 : 8 + length], valid[8 + length :]
    first = dict(list(json.loads(header).items())[:3])
    for name, text in json_variants(json.dumps(first).encode()):
        yield name, struct.pack("<Q", len(text)) + text + data
    for wrong in (0, 1, length - 1, length + 1, len(valid), 1 << 40, (1 << 64) - 1):
        yield f"a length of {wrong}", struct.pack("<Q", wrong) + valid[8:]
    yield "no tensors", valid[: 8 + length]


def tracker_variants(_: bytes) -> Variants:
    """Trackers of all kinds."""
    odd = [
        b"",
        b"\xff\xfe",
        "²".encode(),
        b"9" * 5000,
        b"-1",
        b"../x",
        b"release\0",
        b"1e3",
        b"2\n3",
        b"newest",
        b"0x10",
    ]
    odd += [b"7", b"00000000000000000000007", "٧".encode(), b"/", b"release2", bytes(10_000_000), b"NaN", b"1.0", b"[]"]
    yield from ((repr(content[:12]), content) for content in odd)


def byte_variants(valid: bytes) -> Variants:
    """The valid bytes cut short and with some of them changed."""
    for part in range(12):
        yield f"cut at {part} of 12", valid[: len(valid) * part // 12]
    chance = random.Random(0)
    for number in range(40):
        changed = bytearray(valid)
        for _ in range(1 + number % 4):
            changed[chance.randrange(len(valid))] = chance.randrange(256)
        yield f"changed bytes {number}", bytes(changed)


def bombs() -> Variants:
    """Short pickles that ask for more time or memory than there is."""
    head, key = b"\x80\x02", b"X\x01\x00\x00\x00k"
    yield "a large index of the memo", head + b"Nr\xff\xff\xff\x7f."
    yield "many large indexes", head + b"".join(b"Nr" + struct.pack("<I", 1 << bits) for bits in range(32)) + b"."
    yield "a bytearray", b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"."
    yield "a long text", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"."
    yield "a long frame", b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"."
    yield "a long number", head + b"\x8b" + struct.pack("<i", (1 << 31) - 1) + b"."
    yield "many digits", b"I" + b"9" * 100_000 + b"\n."
    yield "tuples of tuples as a key", head + b"}" + b")" + b"2\x86" * 200 + b"Ns."
    yield "tuples of tuples in a set", b"\x80\x04\x8f(" + b")" + b"2\x86" * 200 + b"\x90."
    shared = head + b"(" + key * 2000 + b"tq\x01" + b"}"
    yield "a long key many times", shared + b"(" + b"h\x01N" * 20_000 + b"u."
    state = b"}(" + b"".join(b"X\x08\x00\x00\x00" + f"{n:08}".encode() + b"N" for n in range(20_000)) + b"uq\x01"
    build = b"capp\nThing\n)\x81h\x01b"
    yield "one state for many objects", head + b"](" + state + build * 5000 + b"e."
    numbers = b"](" + b"K\x01" * 20_000 + b"eq\x01"
    yield "one long size many times", head + b"](" + numbers + b"ctorch\nSize\nh\x01\x85R" * 20_000 + b"e."
    yield "many names", head + b"".join(f"cm\nname{n}\n0".encode() for n in range(50_000)) + b"N."
    yield "a list within itself", head + b"]q\x01h\x01a."
    yield "marks alone", head + b"(" * 200_000 + b"."
    yield "lists within lists", head + b"]" * 100_000 + b"a" * 99_999 + b"."
    yield "an extension", head + b"\x82\x01."
    yield "a state of a class", head + b"cargparse\nNamespace\nN}" + key + b"Ns\x86b."
    yield "a call of a text", head + key + b")R."
    yield "a protocol of the future", b"\x80\xffN."


PLAIN_OBJECTS: dict[str, Any] = {
    "None": None,
    "a number": 7,
    "a text": "x",
    "a list": [1, 2],
    "a tuple": (1,),
    "an empty dict": {},
    "an object": New(Name("app", "Thing"), {"a": 1}),
    "a class": Name("app", "Thing"),
    "a dict of numbers": {1: 2},
}


def archived(pickled: bytes) -> bytes:
    """Return an archive of torch.save with a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), pickled)
    return stream.getvalue()


def archive_variants(valid: bytes) -> Variants:
    """Archives of torch.save: damaged, of odd pickles, and with odd parts."""
    yield from byte_variants(valid)
    yield from ((name, archived(pickled)) for name, pickled in bombs())
    yield from ((name, archived(pickles.dump(value))) for name, value in PLAIN_OBJECTS.items())
    for part in ("args", "model", "checkpoint_version", "model0", "optimizer"):
        for name, value in PLAIN_OBJECTS.items():
            content = {"checkpoint_version": 3.0, "model": {}, "args": None} | {part: value}
            yield f"{part} is {name}", archived(pickles.dump(content))
    with zipfile.ZipFile(io.BytesIO(valid)) as archive:
        kept = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    for name in list(kept)[:6]:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for other in kept.keys() - {name}:
                archive.writestr(zipfile.ZipInfo(other), kept[other])
        yield f"without {name}", stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
    yield "compressed", stream.getvalue()
    place = ("storage", Name("torch", "FloatStorage"), "0", "cpu", 1)
    for arguments in [
        (),
        (1,),
        (None, 0, (1,), (1,)),
        (place, -1, (1,), (1,)),
        (place, 0, "ab", (1, 1)),
        (place, 0, 1, 1),
    ]:
        content = {"model": {"w": Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)}}
        yield f"a tensor of {arguments}", archived(pickles.dump(content))


def metadata_variants(valid: bytes) -> Variants:
    """A .metadata: damaged, another pickle, or torch's Metadata with odd parts."""
    yield from byte_variants(valid)
    yield from bombs()
    yield from ((name, pickles.dump(value)) for name, value in PLAIN_OBJECTS.items())
    metadata = Name("torch.distributed.checkpoint.metadata", "Metadata")
    for part in ("state_dict_metadata", "storage_data"):
        for name, value in PLAIN_OBJECTS.items():
            state = {"state_dict_metadata": {}, "storage_data": {}} | {part: value}
            yield f"{part} is {name}", pickles.dump(New(metadata, state))
    thing = Name("app", "Thing")
    for key in ("properties", "size", "chunks"):
        for name, value in PLAIN_OBJECTS.items():
            state = {"properties": New(thing, ("fp32",)), "size": Call(Name("torch", "Size"), ((1,),)), "chunks": []}
            tensor = {"embedding.word_embeddings.weight": New(thing, state | {key: value})}
            whole = New(metadata, {"state_dict_metadata": tensor, "storage_data": {}})
            yield f"{key} of a tensor is {name}", pickles.dump(whole)


def open_folder(folder: Path) -> object:
    """Read all of a checkpoint but its weights."""
    return open_tensors(folder, read_architecture(folder))


SAVED = "iter_0000002"
READERS: dict[str, tuple[str, Callable[[bytes], Variants], Callable[[Path], object]]] = {
    "config": ("config.json", json_variants, read_architecture),
    "padding": ("conversion.json", json_variants, read_architecture),
    "passport": ("conversion.json", json_variants, passport.check),
    "verification": ("verification.json", json_variants, passport.check),
    "index": ("model.safetensors.index.json", json_variants, open_folder),
    "header": ("model.safetensors", header_variants, open_folder),
    "tracker": ("latest_checkpointed_iteration.txt", tracker_variants, open_folder),
    "common": (f"{SAVED}/common.pt", archive_variants, open_folder),
    "metadata": (f"{SAVED}/.metadata", metadata_variants, open_folder),
    "data": (f"{SAVED}/__0_0.distcp", byte_variants, open_folder),
    "torch": (f"{SAVED}/mp_rank_00/model_optim_rng.pt", archive_variants, open_folder),
    "format": (f"{SAVED}/metadata.json", json_variants, open_folder),
}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    name, variants, read = READERS[sys.argv[1]]
    folder = Path(sys.argv[2])
    ends = {}
    valid = (folder / name).read_bytes()
    for variant, content in [("as it was", valid), *variants(valid)]:
        (folder / name).write_bytes(content)
        try:
            read(folder)
            ends[variant] = "read"
        except PretrainError as error:
            assert len(str(error)) < 3000 and "\n  where: " in str(error) and "\n  next:  " in str(error), str(error)
            ends[variant] = type(error).__name__
        except Exception:
            ends[variant] = traceback.format_exc()
    print(json.dumps(ends))


if __name__ == "__main__":
    main()

"""Write the small files of an export: config.json, generation_config.json, the tokenizer's, and the chat template.

They are written into the run folder before the training, so that errors in them are found then.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError
from pretrain_llama.exports import tokenizer_files
from pretrain_llama.exports.token_ids import TokenIds, check_in_range
from pretrain_llama.exports.tokenizer_files import CONFIG, JSON, MODEL, RECORD, write_tokenizer_files
from pretrain_llama.files import read_json, replacing_folder, write_json
from pretrain_llama.tokenization.engines import Reference, load_reference, read_pieces
from pretrain_llama.tokenization.frame import FrameToken, frame_of

GENERATION, CHAT = "generation_config.json", "chat_template.jinja"
_TOKENS_MAP, _ADDED_TOKENS = "special_tokens_map.json", "added_tokens.json"  # of older versions of transformers
# Of a source's tokenizer_config.json: what gives no text other ids.
_SETTINGS = ("chat_template", "model_max_length", "padding_side", "truncation_side")
# Where a source names tokens that it adds to its tokenizer.
_ADDED = ("additional_special_tokens", "extra_special_tokens", "added_tokens_decoder", _ADDED_TOKENS)


class _Source:
    """The files of a source, read.

    Attributes:
        config, generation: of config.json and generation_config.json; the latter empty where there is none.
        settings: of tokenizer_config.json, with the tokens that older files name.
    """

    def __init__(self, folder: Path) -> None:
        """Raise ConfigError where a file is no JSON of keys."""
        files = ("config.json", GENERATION, _ADDED_TOKENS, _TOKENS_MAP, CONFIG)
        told = {name: _read_keys(folder / name) if (folder / name).exists() else {} for name in files}
        self.config, self.generation = told["config.json"], told[GENERATION]
        self.settings = {_ADDED_TOKENS: list(told[_ADDED_TOKENS])} | told[_TOKENS_MAP] | told[CONFIG]

    def named(self, role: str) -> str | None:
        """Return what the source calls the token of a role."""
        return _content(self.settings.get(f"{role}_token"))


def check_source(folder: Path) -> None:
    """Check the small files of a source before anything is made of them.

    Raises:
        ConfigError: one is no JSON of keys.
    """
    _Source(folder)


def write_small_files(source: Path, tokenizer: Path, output: Path, **changed: Any) -> dict[str, Any]:
    """Write the folder of an export's small files, and return its record; it appears when it is complete.

    Its export.json is that of the tokenizer, and says what was `changed` of the source's, a line each.

    Args:
        source: folder of config.json, of which the architecture was read; and of a tokenizer, if it has one.
        tokenizer: folder that write_tokenizer_files wrote.
        output: folder to write.
        changed: keys of config.json.

    Raises:
        ConfigError: a file is no JSON of keys, or the tokenizer has more ids than the model has rows.
    """
    record, theirs = read_json(tokenizer / RECORD), _Source(source)
    config = theirs.config | changed
    ids = _token_ids(source, tokenizer, record)
    if max(ids.ours) >= config["vocab_size"]:
        raise ConfigError(
            f"the tokenizer has {max(ids.ours) + 1} ids, the model has rows for {config['vocab_size']}",
            where=f"{tokenizer} and {source / 'config.json'}",
            action="give the tokenizer that the model was trained with",
        )
    for role in ("bos", "eos", "pad"):
        told = [*_ids(config, role), *_ids(theirs.generation, role), ids.special.get(theirs.named(role) or "")]
        number = next(filter(ids.same_control, told), None)
        if number is not None and (role == "pad" or ids.tokens[role] is None):
            ids.tokens[role] = FrameToken(number, ids.ours[number])
    with replacing_folder(output) as folder:
        replaced, lines = ids.replaced(config, "config.json")
        write_json(folder / "config.json", replaced)
        if theirs.generation:
            replaced, more = ids.replaced(theirs.generation, GENERATION)
            lines += more
            write_json(folder / GENERATION, replaced)
        for name in (JSON, MODEL):
            if (tokenizer / name).exists():
                shutil.copyfile(tokenizer / name, folder / name)
        lines += _write_settings(theirs.settings, read_json(tokenizer / CONFIG), ids, folder / CONFIG)
        if (source / CHAT).exists():
            shutil.copyfile(source / CHAT, folder / CHAT)
        write_json(folder / RECORD, record | {"changed": lines})
    return record | {"changed": lines}


def make_small_files(
    source: Path, tokenizer: Path, texts_for: Callable[[Reference], Iterable[str]], folder: Path, **changed: Any
) -> Path:
    """Write the small files of an export without a run, whose frame is unknown; return their folder.

    BOS and EOS are a tokenizer.model's own; of a tokenizer.json, those that the source's tokenizer_config.json names,
    or else its config.json.

    Args:
        source: as of `write_small_files`.
        tokenizer: tokenizer.model or tokenizer.json.
        texts_for: gives the texts to compare AutoTokenizer's ids on.
        folder: to write in.
        changed: keys of config.json.

    Raises:
        ConfigError: as `write_small_files`, or the tokenizer is none that is read here.
    """
    told, pieces = _Source(source), read_pieces(tokenizer) if tokenizer.suffix == ".json" else {}

    def named(role: str) -> str | None:
        first = next(_ids(told.config, role), None)
        by_id = pieces.get(first) if isinstance(first, int) else None
        return told.named(role) if told.named(role) in pieces.values() else by_id

    reference = load_reference(tokenizer, bos_token=named("bos"), eos_token=named("eos"))
    frame = frame_of(reference, *(reference.frame_token(role) is not None for role in ("bos", "eos")))
    write_tokenizer_files(reference, frame, texts_for(reference), folder / "tokenizer")
    write_small_files(source, folder / "tokenizer", folder / "small", **changed)
    return folder / "small"


def check_ids(source: Path) -> None:
    """Check the ids of a source whose tokenizer is not known, which stay as they are.

    Raises:
        ConfigError: one is no id of the model, or a file is no JSON of keys.
    """
    read = _Source(source)
    for name, keys in (("config.json", read.config), (GENERATION, read.generation)):
        check_in_range(keys, read.config["vocab_size"], source / name)


def _read_keys(path: Path) -> dict[str, Any]:
    found = mappings.read(path)
    if not isinstance(found, dict):
        raise ConfigError("no keys in the file", where=path, action="fetch the file again")
    return found


def said(record: dict[str, Any]) -> list[str]:
    """Return the remarks on an export's small files, a line each."""
    return [*record["changed"], *tokenizer_files.said(record)]


def _token_ids(source: Path, tokenizer: Path, record: dict[str, Any]) -> TokenIds:
    ours = next(path for name in (MODEL, JSON) if (path := tokenizer / name).exists())
    theirs = next((path for name in (JSON, MODEL) if (path := source / name).exists()), None)
    try:
        known = read_pieces(theirs) if theirs else {}
    except ConfigError:  # of a kind that is not read here: what its ids mean is not known
        known = {}
    tokens = {role: token and FrameToken(**token) for role, token in record["tokens"].items()}
    return TokenIds(tokens, read_pieces(ours), known, record["special"])


def _ids(config: dict[str, Any], role: str) -> Iterator[Any]:
    """Yield what a file gives as the ids of a role."""
    given = config.get(f"{role}_token_id")
    yield from given if isinstance(given, list) else [given]


def _content(token: Any) -> str | None:
    """Return the name of a token, which may stand there with how it is looked for."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def _write_settings(theirs: dict[str, Any], ours: dict[str, Any], ids: TokenIds, path: Path) -> list[str]:
    """Write the tokenizer_config.json, and return what was changed of the source's, a line each."""
    named = ours | {f"{role}_token": token.token for role, token in ids.tokens.items() if token}
    write_json(path, {key: theirs[key] for key in _SETTINGS if key in theirs} | named)
    told = {key: name for key in theirs if key.endswith("_token") and (name := _content(theirs[key]))}
    lines = [
        f"{path.name}: {key}: {name!r} -> {named.get(key)!r}" for key, name in told.items() if name != named.get(key)
    ]
    added = [token for key in _ADDED for token in _added(theirs.get(key))]
    lacking = [repr(token) for token in dict.fromkeys(added) if token not in ids.ours.values()]
    if lacking:
        lines.append(f"{path.name}: left out, the run's tokenizer has them not: {', '.join(lacking)}")
    return lines


def _added(tokens: Any) -> list[str]:
    """Return the names of tokens that stand in a list, or by name or id."""
    values = tokens.values() if isinstance(tokens, dict) else tokens if isinstance(tokens, list) else ()
    return [name for value in values if (name := _content(value))]

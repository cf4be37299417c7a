"""Write a run's tokenizer in the files that transformers and other readers of a Hugging Face folder expect.

tokenizer.json          what AutoTokenizer reads: the run's own, or made of its SentencePiece model
tokenizer.model         the run's own SentencePiece model, if it has one
tokenizer_config.json   BOS, EOS and padding by name, and whether BOS is put before a text
export.json             {"tokenizer": SHA-256 of the run's file, "frame": what is around its documents (frame.py),
                        "tokens": {bos, eos, pad, unk: {"id", "token"} or null}, "special": ids of its control tokens
                        by name, "compared": how AutoTokenizer's ids compare with the training's (agreement.py)}
"""

import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from pretrain_llama.exports import agreement
from pretrain_llama.exports.sentencepiece_json import tokenizer_json
from pretrain_llama.files import replacing_folder, sha256, write_json
from pretrain_llama.tokenization.control_tokens import unknown_token
from pretrain_llama.tokenization.engines import Reference, SentencePieceReference, read_pieces
from pretrain_llama.tokenization.frame import Frame, FrameToken
from pretrain_llama.tokenization.tokenizer_json import steps

RECORD = "export.json"
JSON, MODEL, CONFIG = "tokenizer.json", "tokenizer.model", "tokenizer_config.json"

Tokens = dict[str, FrameToken | None]  # by role


def write_tokenizer_files(reference: Reference, frame: Frame, texts: Iterable[str], output: Path) -> dict[str, Any]:
    """Write the folder of a tokenizer, and return its record; it appears when it is complete.

    Args:
        reference: of the tokenizer.
        frame: what it put around the documents of the training.
        texts: to compare AutoTokenizer's ids on.
        output: folder to write.
    """
    with replacing_folder(output) as folder:
        definition, tokens = _definition(reference)
        if isinstance(reference, SentencePieceReference):
            shutil.copyfile(reference.path, folder / MODEL)
        if definition:
            definition = _framed(_with_special(definition, tokens), frame)
            (folder / JSON).write_bytes(orjson.dumps(definition, option=orjson.OPT_INDENT_2))
        write_json(folder / CONFIG, _config(tokens, frame, bool(definition)))
        record = {
            "tokenizer": sha256(reference.path),
            "frame": frame.recorded,
            "tokens": {role: token and asdict(token) for role, token in tokens.items()},
            "special": _special(reference, tokens),
            "compared": agreement.compare(folder, reference, frame, texts),
        }
        write_json(folder / RECORD, record)
    return record


def _special(reference: Reference, tokens: Tokens) -> dict[str, int]:
    """Return the control tokens, and the unknown one, with their ids."""
    unknown = [tokens["unk"].token] if tokens["unk"] else []
    names = {*reference.control_strings, *unknown}
    return {piece: number for number, piece in sorted(read_pieces(reference.path).items()) if piece in names}


def said(record: dict[str, Any]) -> list[str]:
    """Return the remarks on a tokenizer's record: none where AutoTokenizer gives the training's ids."""
    lines = agreement.said(record["compared"])
    return lines and [f"AutoTokenizer is not the run's tokenizer: {lines[0]}", *lines[1:]]


def _definition(reference: Reference) -> tuple[dict[str, Any] | None, Tokens]:
    """Return the content of a tokenizer.json, if there can be one, and the tokens that have a role."""
    names: dict[str, str | None] = {}
    if isinstance(reference, SentencePieceReference):
        from sentencepiece import sentencepiece_model_pb2 as protobuf

        proto = protobuf.ModelProto.FromString(reference.content)
        definition = tokenizer_json(proto)
        names["pad"] = proto.trainer_spec.pad_piece if proto.trainer_spec.pad_id >= 0 else None
        names["unk"] = next(piece.piece for piece in proto.pieces if piece.type == piece.UNKNOWN)
    else:
        definition = orjson.loads(Path(reference.path).read_bytes())
        names["pad"] = (definition.get("padding") or {}).get("pad_token")
        names["unk"] = unknown_token(definition["model"])
    ids = {piece: number for number, piece in read_pieces(reference.path).items()}
    tokens: Tokens = {role: FrameToken(ids[name], name) if name in ids else None for role, name in names.items()}
    for role in ("bos", "eos"):
        token = reference.frame_token(role)
        tokens[role] = FrameToken(*token) if token else None
    return definition, tokens


def _with_special(definition: dict[str, Any], tokens: Tokens) -> dict[str, Any]:
    """Return the content of a tokenizer.json in which BOS and EOS are control tokens, whatever it says of them."""
    added = {token["content"]: token for token in definition.get("added_tokens") or []}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for token in (tokens["bos"], tokens["eos"]):
        if token:
            told = added.get(token.token, plain | {"id": token.id, "content": token.token})
            added[token.token] = told | {"special": True}
    return definition | {"added_tokens": sorted(added.values(), key=lambda token: token["id"])}


def _framed(definition: dict[str, Any], frame: Frame) -> dict[str, Any]:
    """Return the content of a tokenizer.json that puts BOS before a text, as the training had it, and no EOS behind."""
    kept = [part for part in steps(definition, "post_processor") if part["type"] == "ByteLevel"]
    if frame.bos:
        bos = {"SpecialToken": {"id": frame.bos.token, "type_id": 0}}
        text, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
        named = {"id": frame.bos.token, "ids": [frame.bos.id], "tokens": [frame.bos.token]}
        kept.append(
            {
                "type": "TemplateProcessing",
                "single": [bos, text],
                "pair": [bos, text, bos, second],
                "special_tokens": {frame.bos.token: named},
            }
        )
    processor = {"type": "Sequence", "processors": kept} if kept else None
    return definition | {"truncation": None, "padding": None, "post_processor": processor}


def _config(tokens: Tokens, frame: Frame, has_json: bool) -> dict[str, Any]:
    named = {f"{role}_token": token.token for role, token in tokens.items() if token}
    return named | {
        # transformers 4 and 5 know it; Llama's own class makes another tokenizer of a tokenizer.json.
        "tokenizer_class": "PreTrainedTokenizerFast" if has_json else "LlamaTokenizer",
        "add_bos_token": frame.bos is not None,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
    }

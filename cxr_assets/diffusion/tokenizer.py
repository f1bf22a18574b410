"""A CLIP tokenizer whose byte-pair vocabulary is learned from a cohort's own captions."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 77


def train_tokenizer(captions: Iterable[str], *, vocabulary: int = 1024) -> CLIPTokenizer:
    """Train lower-cased BPE with CLIP's end-of-word mark on ``captions``.

    Args:
        vocabulary: entries at most, the two special tokens and all 512 byte symbols among them, so that any text
            can be encoded.

    Returns:
        Tokenizer that pads and truncates to 77 tokens, as Stable Diffusion's does.
    """
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet)]
    # Pairs that are equally frequent are merged in the order of their numbers, which chance gives to symbols that are
    # not named beforehand; with all of them named, the same captions give the same vocabulary.
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2, special_tokens=tokens, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    known = set(tokens)
    tokens += [t for t, _ in sorted(trained["vocab"].items(), key=lambda item: item[1]) if t not in known]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in trained["merges"]]
    with tempfile.TemporaryDirectory() as folder:
        vocab_file, merges_file = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocab_file.write_text(json.dumps({t: i for i, t in enumerate([*tokens, START, END])}, ensure_ascii=False))
        merges_file.write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS)

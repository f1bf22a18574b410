"""A byte-level CLIP tokenizer without merges: one token a character, so that budgets are easy to count."""

from __future__ import annotations

import json

import pytest
from transformers import CLIPTokenizer

from tests.cohorts.conftest import shared_data

__all__ = ["shared_data"]


def _symbols() -> list[str]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(code) for code in printable] + [chr(256 + index) for index in range(256 - len(printable))]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    words = [*_symbols(), *(f"{symbol}</w>" for symbol in _symbols()), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder)

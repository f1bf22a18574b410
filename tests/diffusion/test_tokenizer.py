from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from cxr_assets.diffusion.tokenizer import END, MAX_TOKENS, START, train_tokenizer
from tests.helpers import CAPTIONS

TOKENIZER = train_tokenizer(CAPTIONS * 20, vocabulary=700)


def plain(text: str) -> str:
    return " ".join(text.lower().split())


def test_the_same_captions_give_the_same_vocabulary() -> None:
    for _ in range(8):
        assert train_tokenizer(CAPTIONS * 20, vocabulary=700).get_vocab() == TOKENIZER.get_vocab()
    assert len(TOKENIZER) <= 700
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(len(TOKENIZER)))


def test_captions_it_was_trained_on_take_few_tokens() -> None:
    caption = CAPTIONS[0]
    assert len(TOKENIZER(caption).input_ids) < 0.5 * len(caption)
    decoded = TOKENIZER.decode(TOKENIZER(caption).input_ids, skip_special_tokens=True)
    assert decoded.replace(" ", "") == caption.replace(" ", "")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_covered_by_bytes(text: str) -> None:
    ids = TOKENIZER(text, truncation=False).input_ids
    vocabulary = TOKENIZER.get_vocab()
    assert ids[0] == vocabulary[START] and ids[-1] == vocabulary[END]
    inner = ids[1:-1]
    assert inner or not re.search(r"\w", text), "no letter is lost"
    assert START in text.lower() or END in text.lower() or not {vocabulary[START], vocabulary[END]} & set(inner)


@pytest.mark.parametrize("text", ["σ-läsion", "胸部 x線", "🫁 60", "a\u0000b", "¿?"])
def test_foreign_letters_survive_the_round_trip(text: str) -> None:
    decoded = TOKENIZER.decode(TOKENIZER(text).input_ids, skip_special_tokens=True)
    assert decoded.replace(" ", "") == text.replace(" ", "").lower()


def test_long_text_is_cut_and_short_text_padded_to_77() -> None:
    ids = TOKENIZER(["edema " * 200, "edema"], padding="max_length", truncation=True).input_ids
    assert [len(row) for row in ids] == [MAX_TOKENS, MAX_TOKENS] == [77, 77]
    assert ids[0][-1] == TOKENIZER.eos_token_id
    assert TOKENIZER("Chest X-Ray").input_ids == TOKENIZER("chest  x-ray").input_ids


def test_it_saves_and_loads_as_a_plain_clip_tokenizer(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    assert loaded(list(CAPTIONS)).input_ids == TOKENIZER(list(CAPTIONS)).input_ids
    assert loaded.model_max_length == MAX_TOKENS

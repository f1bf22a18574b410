"""Prompts and captions: from labels, demographics and report sections to text within a token budget.

Knows the curated tables; knows no model beyond a tokenizer that is passed in.
"""

from cxr_assets.captions.build import BuiltCaptions, Policy, build_captions
from cxr_assets.captions.templates import Prompt, PromptTemplate

__all__ = ["BuiltCaptions", "Policy", "Prompt", "PromptTemplate", "build_captions"]

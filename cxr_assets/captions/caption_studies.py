"""The ``captions`` asset: what a generator is told about each study, and the fate of every report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cxr_assets.captions.budget import Tokenizer
from cxr_assets.captions.build import build_captions
from cxr_assets.project import Made, Parent, Project

CODE_VERSION = "2"
TokenizerOf = Callable[[Sequence[str]], Tokenizer]


def caption_studies(project: Project, tokenizer_of: TokenizerOf, *, tokenizer_id: str) -> Made:
    """Write one caption a study, measured by the base model's own tokenizer.

    Args:
        tokenizer_of: gives the tokenizer for draft captions; a base model that is yet to be trained learns it from them.
        tokenizer_id: what the tokenizer is (the base model's name), so that another one stales the captions.
    """
    policy = project.caption_policy
    step = project.step(
        "captions",
        parents=[Parent("studies", "drawn_from")],
        config={"policy": policy, "tokenizer": tokenizer_id, "race_axis": project.settings.choices.race_axis},
        code_version=CODE_VERSION,
    )
    if made := step.claim():
        return made
    tables = (project.studies(), project.finding_values(), project.store.table("reports"))
    drafts = build_captions(*tables, policy=policy).captions["caption"].to_list()
    built = build_captions(*tables, policy=policy, tokenizer=tokenizer_of(drafts))
    with step.writing() as writer:
        writer.table("captions", built.captions)
        writer.table("caption_fates", built.fates)
        counts = built.fates["fate"].value_counts()
        writer.facts |= {"policy": policy, "fates": dict(counts.iter_rows())}
    return step.made()

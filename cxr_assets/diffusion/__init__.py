"""Base models, cached latents, training of adapters and sampling, on diffusers, transformers and peft.

Knows captions and tensors; knows nothing of strata, classifiers or scorecards.
"""

"""Demographic conditioners: networks that turn age, sex and recorded race into extra tokens of the text context.

Knows demographics and tensors; knows nothing of prompts, films, files of a cohort or training loops.
"""

"""Mixing of training sets, classifier architectures, their training and prediction."""

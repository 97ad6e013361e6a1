"""Runs a vision model behind an OpenAI-compatible server over the pages of a dataset; each card in `cards/` is a model."""

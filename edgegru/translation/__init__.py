"""Translators: pairs of sentences in, an encoder and a decoder with attention out (docs/translating.md)."""

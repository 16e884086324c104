"""Kinds of waveform files that a simulation can record."""

SUFFIXES = (".fst", ".vcd")
"""The better first. Building a model that records .fst needs zlib's headers; .vcd needs nothing."""

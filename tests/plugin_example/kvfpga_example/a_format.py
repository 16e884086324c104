"""A trace format: a line has "at" in milliseconds, "prompt" and "answer" in tokens, and "kv", the prompt's blocks."""

from kvfpga.lab.trace_formats import Foreign, Format


def rewrite(row):
    if "kv" not in row:
        return None
    return {"timestamp": row["at"], "input_length": row["prompt"], "output_length": row["answer"], "hash_ids": row["kv"]}


EXAMPLE = Foreign(Format("example", "the example's format"), rewrite)

"""Commands about attention scores: query, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ..contract import commands as cmd
from ..contract.commands import NUMERATORS, QUERY_SLOTS, Result, Scores
from ..session.purpose import Purpose
from . import output
from .app import App
from .blocks import hint_of, hint_options
from .later import Group
from .values import BYTE, EXISTING, NUMBER, POSITION, REQUEST

if TYPE_CHECKING:
    from ..lockstep.surface import Surface


@click.group(cls=Group)
def query() -> None:
    """Write or read a query of the compute engine: what `score` multiplies the keys of a block with.

    The device keeps 64 queries, in slots 0 to 63, of HEAD_DIM FP16 values each (`kvfpga info` says how many that is). A query
    stays in its slot until another one is written there; a reset leaves it.
    """


@query.command()
@click.argument("slot", type=NUMBER)
@click.argument("file", metavar="FILE.npy", type=EXISTING)
@click.pass_obj
def write(app: App, slot: int, file: str) -> None:
    """Write the query in FILE.npy into SLOT: float16[HEAD_DIM], saved with numpy.save.

    Its values are as the model has them, without the scale 1/sqrt(HEAD_DIM), which the device applies.
    """
    from ..contract import queries

    device = app.device()
    bits = queries.read(Path(file), queries.size(device.model))
    device.write_queries(slot, bits)
    found = {"command": "query", "code": "OK", "slot": slot, "values": bits.size}
    app.present(found, lambda: output.echo(f"query of {bits.size} values written into slot {slot}"))


@query.command()
@click.argument("slot", type=NUMBER)
@click.pass_obj
def read(app: App, slot: int) -> None:
    """Read the query in SLOT back from the device."""
    bits = app.device(Purpose.LOOK).read_queries(slot, 1)[0]
    found = {"command": "query", "code": "OK", "slot": slot, "query_bits": bits.tolist()}
    app.present(found, lambda: output.say(f"slot {slot}: " + " ".join(f"{value:g}" for value in bits.view("<f2"))))


@click.command()
@click.argument("request", metavar="R", type=REQUEST)
@click.argument("layer", metavar="L", type=BYTE)
@click.argument("head", metavar="H", type=BYTE)
@click.argument("position", metavar="POS", type=POSITION)
@click.option("--slot", type=NUMBER, required=True, help=f"Slot of the query, 0-{QUERY_SLOTS - 1} (`kvfpga query write`).")
@click.option("--exp", is_flag=True, help="The numerators of a softmax too: exp(score - max) of each token, and their sum.")
@click.option("--wait", is_flag=True,
              help="A block that was in T2 or T3 is scored once the prefetch that this starts has brought it back.")  # fmt: skip
@click.option("--flags", type=NUMBER, help="SCORE_FLAGS as one number, instead of --exp.")
@hint_options
@click.pass_obj
def score(
    app: App, request: int, layer: int, head: int, position: int, slot: int, exp: bool, wait: bool, flags: int | None,
    class_id: int | None, order: int | None, hint: int | None,
) -> None:  # fmt: skip
    """Attention scores of the block of request R, layer L, head H that holds token POS, computed next to the memory.

    The score of a token is q.k / sqrt(HEAD_DIM): q is the query in --slot, k the token's key. It is computed exactly and rounded
    once, to FP32, so it does not depend on any order of additions. Only the scores cross the link, not the keys.

    \b
    kvfpga query write 0 query.npy          # float16[128] of the full device
    kvfpga score 7 0 0 40 --slot 0          # a score for each token of the block
    kvfpga score 7 0 0 40 --slot 0 --exp    # softmax numerators, max and sum too

    It counts as an access, as `lookup --touch` does, and the shared prefix is tried as well. The block must be in T1: one in T2
    or T3 is refused (ERR_NOT_RESIDENT), but its access counts and brings it back; --wait then scores it in the same command.

    With --json: the bits of the FP32 values, as numbers. score_bits has one for each token of a block, exp_bits too (null without
    --exp), max_bits and sum_bits are one value each. Tokens that the block does not have score -inf.
    """
    from ..lockstep.scored import score as run

    if flags is not None and exp:
        raise click.UsageError("Give --flags or --exp, not both.")
    chosen = NUMERATORS * exp if flags is None else flags
    command = cmd.Score(request, layer, head, position, slot, chosen, hint_of(class_id, order, hint))
    device = app.device()
    result = run(device.execute, command, wait)
    found = result.scores._asdict() if result.scores else dict.fromkeys(Scores._fields)
    found.pop("half_bits")
    app.show("score", result, **found, tier=result.tier, phys_addr=result.phys_addr)
    if app.json:
        return
    if result.scores:
        _print_scores(command, result, device)
    elif remedy := _remedy(result):
        output.echo(f"  {remedy}")


def _print_scores(command: cmd.Score, result: Result, device: Surface) -> None:
    """A row for each token that the block has."""
    from ..lockstep.scored import block_scores

    found, tokens = block_scores(result), device.model.block_tokens
    start, end = command.token_pos // tokens * tokens, device.entry(cast("int", result.index))["token_end"]
    columns = [found.scores] if found.exps is None else [found.scores, found.exps]
    rows = [[start + row, *(f"{column[row]:.7g}" for column in columns)] for row in range(end - start + 1)]
    header = ["token", "score", "exp(score - max)"][: len(columns) + 1]
    output.print_table(f"query in slot {command.slot}, block {result.index}", header, rows, tuple(header))
    if found.exps is not None:
        output.echo(f"max {found.max:.7g}, sum {found.sum:.7g}")


def _remedy(result: Result) -> str | None:
    """What to do about a refusal."""
    place = output.tier(result.tier)
    match result.code:
        case "ERR_NOT_FOUND":
            return "`kvfpga dump` shows the blocks that are loaded"
        case "ERR_NOT_RESIDENT" if result.triggers:
            return f"it was in {place}, and the access has brought it back by now: score it again, or use --wait"
        case "ERR_NOT_RESIDENT" if result.tier:
            return f"it stays in {place}, for T1 is full: make room there (`evict`, `unload`, `config --t1-capacity`)"
        case "ERR_NOT_RESIDENT":
            return f"it is in {place}, from where the device moves nothing: load it with --tier 1 to score it"
    return cmd.REMEDY.get(result.code)

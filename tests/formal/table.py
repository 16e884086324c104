"""The properties: what each is about, how far it is shown, and the mutations of the RTL that it must catch."""

from __future__ import annotations

from typing import NamedTuple

from scripts.mutation.mutations import Mutation


class Row(NamedTuple):
    """`top`: the property is module formal_{top} in {top}.sv. `mode`: bmc, from reset for `depth` cycles; prove, by induction
    over `depth` cycles. `sources`: files anywhere below fpga/rtl, or of this folder; the packages go with every row."""

    name: str
    top: str
    mode: str
    depth: int
    sources: tuple[str, ...]
    mutations: tuple[Mutation, ...]
    parameters: dict[str, int] = {}

    @property
    def parts(self) -> tuple[str, ...]:
        return ("bmc", "induction") if self.mode == "prove" else ("bmc",)


RESET, CHECKS, MARKED_WORD, PLAIN_FIFO = "kvcpu_reset.sv", "kvcpu_handshake_check.sv", "marked_word.sv", "plain_fifo.sv"
CRC, DEFRAMER, CONTROL, EXECUTOR, MASTER = (
    f"kvcpu_uart_{name}.sv" for name in ("crc", "deframer", "control", "executor", "master")
)  # fmt: skip
RAM, RAM_2R, RAM_FIFO, KEYS, LOOKUP = (
    "kvcpu_ram.sv", "kvcpu_ram_2r.sv", "kvcpu_ram_fifo.sv", "kvcpu_key_index.sv", "kvcpu_lookup.sv",
)
PASS, DMA, CHANNEL, MAP, AXIL = "kvcpu_pass.sv", "kvcpu_dma.sv", "kvcpu_dma_channel.sv", "kvcpu_free_map.sv", "kvcpu_axil.sv"
CONTEST = "kvcpu_contest.sv"
FETCH = "kvcpu_nmce_fetch.sv"
FIFO, RESULTS, TELEMETRY = "kvcpu_fifo.sv", "kvcpu_result_queue.sv", "kvcpu_telemetry.sv"

ROWS: tuple[Row, ...] = (
    Row("fifo", "fifo", "prove", 6, (FIFO, MARKED_WORD), (
        Mutation("formal-fifo-full", FIFO, "(AW+1)'(DEPTH - 1));", "(AW+1)'(DEPTH - 2));", "R5", "a queue is full too early"),
        Mutation("formal-fifo-room", FIFO, "(!full || pop)", "!full", "R5", "a full queue takes no word while its oldest leaves"),
        Mutation("formal-fifo-order", FIFO, "? mem[second] :", "? mem[tail - 1'b1] :", "R5", "the newest word comes first"),
    )),
    Row("results", "results", "prove", 3, (FIFO, RESULTS), (
        Mutation("formal-results-taken", RESULTS, "held_valid && full && !pop", "held_valid && full", "R5",
                 "a result that the host takes counts as lost, where another waits for its place"),
        Mutation("formal-results-held", RESULTS, ".push(held_valid)", ".push(held_valid && !push)", "R5",
                 "the first of two adjacent results is lost"),
    )),
    Row("reset", "reset", "prove", 3, (RESET,), (
        Mutation("formal-reset-torn", RESET, "DRAIN:   if (dma_idle) phase", "DRAIN:   phase", "D20", "bursts are cut off"),
        Mutation("formal-reset-bus", RESET, "QUIET:   if (bus_quiet) phase", "QUIET:   phase", "D20", "a bus access is cut off"),
        Mutation("formal-reset-open", RESET, "(phase == QUIET) || (phase == PULSE)", "(phase == PULSE)", "D20",
                 "new accesses keep a reset waiting"),
    )),
    Row("telemetry", "telemetry", "prove", 2, (TELEMETRY,), (
        Mutation("formal-step-count-width", TELEMETRY, "step_count <= step_count + 64'd1;",
                 "step_count <= 64'(32'(step_count + 64'd1));", "R23", "step_count is 32 bits"),
        Mutation("formal-high-word-late", TELEMETRY, "latching <= !rst && read && !read_addr[2];",
                 "latching <= !rst && select && !read_addr[2];", "R1", "a low word looked at, not taken, latches"),
    )),
    Row("uart-frames", "uart_frames", "prove", 2, (CRC, DEFRAMER), (
        Mutation("formal-uart-crc", DEFRAMER, "crc_good <= (crc == RESIDUE);", "crc_good <= (crc[31:1] == RESIDUE[31:1]);",
                 "UART",
                 "a frame with one wrong bit of CRC is taken"),
        Mutation("formal-uart-polynomial", CRC, "32'hEDB8_8320;", "32'hEDB8_8321;", "UART", "another CRC"),
        Mutation("formal-uart-short", DEFRAMER, "count >= (AW+2)'(OVERHEAD);", "count >= (AW+2)'(HEADER);", "UART",
                 "a frame without a CRC of its own is taken"),
        Mutation("formal-uart-held", DEFRAMER, "take && !unwanted && !(hold", "take && !(hold", "UART",
                 "a frame that comes too early writes over the program that runs"),
        Mutation("formal-uart-spoiled", DEFRAMER, "|| wrong_stop) spoiled", ") spoiled", "UART",
                 "a frame with a byte lost on the line is judged by its CRC alone"),
    )),
    Row("uart-requests", "uart_requests", "prove", 3, (CONTROL,), (
        Mutation("formal-uart-twice", CONTROL, "next_sequence <= next_sequence + 8'd1;", "next_sequence <= next_sequence;",
                 "UART",
                 "a program that is sent again is executed again"),
        Mutation("formal-uart-session", CONTROL, "if (!same_session) begin\n                        reply_refuses",
                 "if (1'b0) begin\n                        reply_refuses", "UART", "a RUN of another session is executed"),
        Mutation("formal-uart-unasked", CONTROL, "if (frame) pending", "if (frame || dropped) pending", "UART",
                 "a frame that came too early starts what is in the buffer"),
    )),
    Row("uart-program", "uart_program", "prove", 2, (EXECUTOR,), (
        Mutation("formal-uart-again", EXECUTOR, "assign ended = (word == count);", "assign ended = (word > count);", "UART",
                 "an operation makes one access too many"),
        Mutation("formal-uart-restart", EXECUTOR, "START: state <= AWAIT;",
                 "START: if (reg_start || mem_start) state <= AWAIT;", "UART",
                 "each access is made twice"),
        Mutation("formal-uart-early-byte", EXECUTOR, "ADDRESS: state <= PAUSE;", "ADDRESS: state <= BYTE;", "UART",
                 "a byte is taken before it is there"),
        Mutation("formal-uart-kind", EXECUTOR, "is_write <= (operand[31:24] == WRITE)", "is_write <= (operand[31:24] == READ)",
                 "UART",
                 "a READ writes"),
    )),
    Row("uart-master", "uart_master", "prove", 2, (CHECKS, MASTER), (
        Mutation("formal-uart-outside", MASTER, "if (start && (dead || outside))", "if (start && dead)", "UART",
                 "an address beyond the last is written modulo the address space"),
        Mutation("formal-uart-dead", MASTER, "if (start && (dead || outside))", "if (start && outside)", "UART",
                 "a dead slave gets an access over the one it has not answered"),
        Mutation("formal-uart-late-watchdog", MASTER, "if (waiting && watchdog[16]", "if (watchdog[16]", "UART",
                 "a slave that answers in the last cycle is dead"),
        Mutation("formal-uart-repeat", MASTER, "if (m_wready) m_wvalid <= 1'b0;", "if (answered) m_wvalid <= 1'b0;", "UART",
                 "write data are given twice"),
    )),
    Row("ram-fifo", "ram_fifo", "prove", 3, (RAM, RAM_FIFO, MARKED_WORD), (
        Mutation("formal-ram-fifo-full", RAM_FIFO, "full = level[AW] && (level[0] || !valid);", "full = level[AW];", "R5",
                 "a queue is full too early"),
        Mutation("formal-ram-fifo-late", RAM_FIFO, "(!valid || pop);", "!valid;", "R5", "a word waits until the output is empty"),
        Mutation("formal-ram-fifo-over", RAM_FIFO, "some && (!valid || pop)", "some", "R5",
                 "the word on the output is lost to the next"),
    )),
    Row("lookup", "lookup", "prove", 9, (RAM_2R, KEYS, LOOKUP), (
        Mutation("formal-lookup-turn", LOOKUP, "~(pick | (pick - 1'b1));", "~(pick - 1'b1);", "R35",
                 "a port may keep the others waiting"),
        Mutation("formal-lookup-engine", LOOKUP, "contend_fixed ? '0 : asks", "(contend_fixed || eng_valid) ? '0 : asks",
                 "R35", "commands go first whatever the policy"),
        Mutation("formal-lookup-fixed", LOOKUP, "contend_fixed ? '0 : asks & behind;", "asks & behind;", "R35",
                 "the fixed policy is none"),
        Mutation("formal-lookup-waits", LOOKUP, "asks & ~(index_ready ? pick : '0);", "asks & ~pick;", "R35",
                 "who waits for a write of the index is not counted"),
        Mutation("formal-lookup-reset", LOOKUP, "        if (rst) begin\n            answer <= 1'b0;",
                 "        if (rst) begin\n            answer <= done;", "R12", "an answer survives the reset"),
        Mutation("formal-lookup-other", LOOKUP, "tag = TAG'(p + 1);", "tag = TAG'(p);", "R12",
                 "a port's answer goes to another"),
        Mutation("formal-lookup-wait", KEYS, "!(s3.valid && s3.op != 2'd0);", "!s3.valid;", "R12", "lookups wait for lookups"),
    )),
    Row("pass", "pass", "prove", 3, (CHECKS, PASS), (
        Mutation("formal-pass-order", PASS, "for (int l = LANES - 1; l >= 0; l--) if (waiting[l]) pick",
                 "for (int l = 0; l < LANES; l++) if (waiting[l]) pick", "R16", "the highest index of a row is sent first"),
        Mutation("formal-pass-dropped", PASS, "!deny_one && trigger_ready[trigger_channel];", "!deny_one;", "R16",
                 "a trigger goes to a queue that is full"),
        Mutation("formal-pass-twice", PASS, "served[pick] <= 1'b1;", "served[pick] <= !trigger_channel;", "R16",
                 "a prefetch is sent again and again"),
        Mutation("formal-pass-left", PASS, "assign tail_free = !any_waiting &&",
                 "assign tail_free = (!any_waiting || !(|trigger_ready)) &&",
                 "R16", "a row is left while both queues are full"),
        Mutation("formal-pass-capacity", PASS, "t1_used}) < t1_limit[k]", "t1_used}) <= t1_limit[k]", "R16",
                 "one prefetch too many is granted"),
        Mutation("formal-pass-failed", PASS, "!trigger_valid ? t1_kept :", "!trigger_valid ? t1_room[0] :", "R16",
                 "a prefetch is granted in the cycle behind an eviction whose failure fills T1 again"),
    )),
    Row("contest", "contest", "prove", 3, (RAM, CONTEST), (
        Mutation("formal-contest-more", CONTEST, "17'(before3[l]) < left", "17'(before3[l]) <= left", "R46",
                 "one block too many wins at θ"),
        Mutation("formal-contest-row", CONTEST, "left - 17'(total3)", "left - 17'(total3 != '0)", "R46",
                 "a row takes one place however many of it win"),
        Mutation("formal-contest-held", CONTEST, "else if (advance && stage[3]) left <=", "else if (stage[3]) left <=", "R46",
                 "a row that stands still takes places in each cycle"),
        Mutation("formal-contest-order", CONTEST, "((flags_t'(1) << l) - flags_t'(1))",
                 "~((flags_t'(2) << l) - flags_t'(1))", "R46", "the last blocks of a row win"),
        Mutation("formal-contest-pool", CONTEST, "equal1[l] = pool1[l] && (", "equal1[l] = (", "R46", "others take places"),
    )),
    Row("count", "count", "bmc", 14, (RAM, CONTEST), (
        Mutation("formal-count-adjacent", CONTEST, "counts_1[l] && where_1[l] == where[l];", "1'b0;", "R46",
                 "of two blocks of one bin in adjacent rows one is counted"),
        Mutation("formal-count-twice", CONTEST, "counts_2[l] && where_2[l] == where[l];", "1'b0;", "R46",
                 "of two blocks of one bin, a row between them, one is counted"),
        Mutation("formal-count-elsewhere", CONTEST, "counts_1[l] && where_1[l] == where[l];", "counts_1[l];", "R46",
                 "a block is counted on top of another bin"),
        Mutation("formal-count-old", CONTEST, "of_this[l] ? got[l] : '0", "got[l]", "R46",
                 "a bin goes on from an old count"),
        Mutation("formal-count-sum", CONTEST, "of_this[l] ? 17'(got[l]) : 17'd0",
                 "17'(got[l])", "R46", "old counts are added"),
        Mutation("formal-count-high", CONTEST, "(!low || rank[l][15:8] == theta[15:8])", "1'b1", "R46",
                 "the second count takes blocks with another high byte"),
    )),
    Row("dma-bus", "dma_bus", "prove", 3, (CHECKS, FIFO, DMA), (
        Mutation("formal-dma-grant", DMA, "ar_ready = ar_wins & {3{ar_free}};", "ar_ready = ar_valid & {3{ar_free}};", "R16",
                 "all that ask take one grant"),
        Mutation("formal-dma-turn", DMA, "next_of(ar_valid, contend_fixed ? 2'd2 : ar_last)", "next_of(ar_valid, 2'd0)", "R16",
                 "evictions never read while prefetches do"),
        Mutation("formal-dma-reader", DMA, "2'd1: next_of = asks[2] ? 2'd2 : asks[0] ?", "2'd1: next_of = asks[0] ?", "R34",
                 "NMCE never reads while both channels do"),
        Mutation("formal-dma-fixed", DMA, "contend_fixed ? 1'b0 : !aw_last) : aw_valid", "!aw_last) : aw_valid", "R16",
                 "the fixed policy is none"),
        Mutation("formal-dma-stable", DMA, "aw_free = !m_axi_awvalid || m_axi_awready", "aw_free = 1'b1", "AXI4",
                 "a write address is replaced before it is taken"),
        Mutation("formal-dma-ahead", DMA, "assign take = !order_empty && w_valid", "assign take = w_valid", "AXI4",
                 "data go ahead of their address"),
        Mutation("formal-dma-last", DMA, "(beat == 9'(BURST - 1))", "(beat == 9'(BURST - 2))", "AXI4",
                 "WLAST comes one beat early"),
    )),
    Row("dma-channel-1", "dma_channel", "prove", 1, (CHECKS, PLAIN_FIFO, CHANNEL), (
        Mutation("formal-dma-hang", CHANNEL, ".push(last_response), .wdata(write_failed || b_error)",
                 ".push(last_response && written_empty), .wdata(write_failed || b_error)", "R16",
                 "a response that comes while a block waits for its end is lost, and the channel stands still"),
        Mutation("formal-dma-clean", CHANNEL, "reading <= next.copy;", "reading <= 1'b1;", "R16", "a clean block is read"),
        Mutation("formal-dma-rest", CHANNEL, "&& !announcing && finish_empty;", "&& !announcing;", "R22",
                 "a channel is idle before its last block is complete"),
    ), {"BURSTS": 1}),
    Row("dma-channel-2", "dma_channel", "prove", 1, (CHECKS, PLAIN_FIFO, CHANNEL), (
        Mutation("formal-dma-half", CHANNEL, "b_valid && responses == NW'(BURSTS - 1)", "b_valid && responses == '0", "R16",
                 "a block is complete at its first response"),
    ), {"BURSTS": 2}),
    Row("free-map", "free_map", "prove", 1, (RAM, MAP), (
        Mutation("formal-map-full", MAP, "full[gather_word] <= (gather == '1);",
                 "full[gather_word] <= (gather[31:0] == '1);", "R11",
                 "a word that is half full counts as full"),
        Mutation("formal-map-written", MAP, "written[row_word] <= 1'b1;", "written[row_word] <= gather_any;", "R11",
                 "entries in use count as free behind an UNLOAD"),
        Mutation("formal-map-stale", MAP, "full <= '0;\n                        written <= '0;", "full <= '0;", "R11",
                 "entries behind the rows of a rebuild stay in use"),
        Mutation("formal-map-settle", MAP, "TAKEN: begin\n                    phase <= PICK;",
                 "TAKEN: begin\n                    phase <= HOLD;", "R11", "an index is offered twice"),
    )),
    Row("axil", "axil", "prove", 1, (CHECKS, PLAIN_FIFO, MARKED_WORD, AXIL), (
        Mutation("formal-axil-full", AXIL, "op_write = wissue && !wrefused &&",
                 "op_write = wissue && wfault == BUSERR_NONE &&", "R5",
                 "a doorbell that is refused rings"),
        Mutation("formal-axil-ring-room", AXIL, "fifo_full || (wrings && !ring_room)", "fifo_full", "D35",
                 "a ring of user space takes a place in the queue that the driver counts on"),
        Mutation("formal-axil-page-reads", AXIL, "other_data <= of_page ? '0 : ", "other_data <= ", "D35",
                 "the page of doorbells shows what was read elsewhere"),
        Mutation("formal-axil-asks-again", AXIL, "(in_bar2 && dir_ack && !(dir_err && wissue));", "(in_bar2 && dir_ack);",
                 "R4",
                 "the error of a read is lost beside that of a write"),
        Mutation("formal-axil-room", AXIL, "queue_full <= (queue_level >= 4'd5);", "queue_full <= (queue_level >= 4'd7);", "R2",
                 "an answer has no place"),
        Mutation("formal-axil-write-first", AXIL, "rfree = rwaiting && !queue_full && !wissue;",
                 "rfree = rwaiting && !queue_full;", "R2",
                 "a result is taken, or an error lost, beside a write"),
        Mutation("formal-axil-taken-early", AXIL, "result_pop = rfree && takes_result;",
                 "result_pop = rwaiting && takes_result;", "R5",
                 "a result is taken in each cycle that its read waits"),
        Mutation("formal-axil-block", AXIL, "(!rtaken || rmove) && !block;", "(!rtaken || rmove);", "D20",
                 "reads are taken while a reset waits for the last"),
    )),
    Row("nmce-fetch", "nmce_fetch", "prove", 1, (CHECKS, FETCH), (
        Mutation("formal-nmce-address", FETCH, "ar_addr + 64'(BURST * BEAT_BYTES)", "ar_addr + 64'(BEAT_BYTES)", "R31",
                 "the second burst begins with the second beat"),
        Mutation("formal-nmce-bounds", FETCH, "(left != NW'(1)) && !flush;", "!flush;", "R31",
                 "values are read as keys, without end"),
        Mutation("formal-nmce-flush", FETCH, "(left != NW'(1)) && !flush;", "(left != NW'(1));", "D20",
                 "bursts are asked for while a reset waits"),
        Mutation("formal-nmce-quiet", FETCH, "quiet = !ar_valid && open == '0", "quiet = !ar_valid", "D20",
                 "a reset comes while keys are on their way"),
        Mutation("formal-nmce-slot", FETCH, "if (job_last) oldest", "if (job_last && !r_error) oldest", "R31",
                 "behind an error keys meet the query before"),
        Mutation("formal-nmce-failed", FETCH, "(beat_failed && beat != '0)", "beat_failed", "D33",
                 "a job has the error of the one before"),
    )),
)  # fmt: skip

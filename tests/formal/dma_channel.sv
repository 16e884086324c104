// formal_dma_channel - kvcpu_dma_channel moves each block once, in order, and comes to an end with it, whatever the memory's latency.
//
// Promises: every trigger has one completion, in order, behind all answers of its block, with an error exactly where one of these had
// one; reads and writes are those of the blocks to move, at their addresses, so that a clean block moves no bytes; data are written as
// they came, each once, and are there when their address is; while nobody outside has anything to do, a block goes on by a stage, or all are
// done and the channel says that it is idle.
// Assumes: a memory that takes each request when it likes, and answers what was asked when it likes; data are taken behind their
// address; a completion is taken when its taker likes. Evictions of BURSTS bursts of one beat; by induction, for any number of blocks.
`default_nettype none
module formal_dma_channel import kvcpu_pkg::*; #(parameter int unsigned BURSTS = 1) (
    input wire logic clk, input wire logic rst, input wire logic trigger_valid, input wire logic ar_ready, input wire logic aw_ready,
    input wire logic w_ready, input wire logic r_valid, input wire logic b_valid, input wire logic completion_ready,
    input wire logic [31:0] any_moves, input wire logic [31:0] any_read_errors, input wire logic [31:0] any_write_errors
);
    localparam logic [3:0][63:0] BASES = {64'd0, 64'h200, 64'h100, 64'd0};
    typedef logic [4:0] count_t;   // modulo 32: fewer are under way
    logic        idle, trigger_ready, ar_valid, aw_valid, w_valid, completion_valid;
    logic [63:0] ar_addr, aw_addr;
    logic [7:0]  w_data;
    completion_t completion;
    count_t      taken, done, moved;                      // triggers; completions; those of them that moved bytes
    count_t      asked, got, announced, sent, answered;   // bursts: to read, read, to write, written, responses
    logic [31:0] moves, read_errors, write_errors;        // of each block, each burst, each response: which of them; any, but the same for ever
    logic        owes;                                    // somebody outside has something to do
    logic        started = 1'b0;
    function automatic trigger_t block(input count_t number);
        block = '{index: 16'(number), from: 2'd1, to: 2'd2, dirty: moves[number], copy: moves[number], step: '0};
    endfunction
    function automatic logic [11:0] address(input logic [63:0] base, input count_t number, input int burst);
        address = 12'(base) + 12'(number) * 12'(BURSTS) + 12'(burst);
    endfunction
    function automatic logic moves_bytes(input trigger_t word);
        moves_bytes = word.copy;
    endfunction
    function automatic logic any(input logic [31:0] errors, input count_t first, input int bursts);
        any = 1'b0;
        for (int k = 0; k < BURSTS; k++) if (k < bursts) any = any | errors[count_t'(first + count_t'(k))];
    endfunction
    kvcpu_dma_channel #(.CHANNEL(1'b0), .DATA_BITS(8), .BLOCK_BYTES(BURSTS), .BURST(1)) dut (
        .*, .flush(1'b0), .drain(1'b0), .evict_tier(2'd2), .tier_base(BASES), .r_data(8'(got)), .r_error(read_errors[got]), .b_error(write_errors[answered]),
        .trigger('{index: 16'(taken), from: 2'd1, to: 2'd2, dirty: moves[taken], copy: moves[taken], step: '0})
    );

    assign owes = asked != got || announced != sent || sent != answered || trigger_valid || (ar_valid && !ar_ready)
                  || (aw_valid && !aw_ready) || completion_valid;
    always_ff @(posedge clk) begin
        started <= 1'b1;
        taken <= taken + count_t'(trigger_valid);
        if (!started) {moves, read_errors, write_errors} <= {any_moves, any_read_errors, any_write_errors};
        asked <= asked + count_t'(ar_valid && ar_ready);
        got <= got + count_t'(r_valid);
        announced <= announced + count_t'(aw_valid && aw_ready);
        sent <= sent + count_t'(w_valid && w_ready);
        answered <= answered + count_t'(b_valid);
        if (completion_valid && completion_ready) begin
            done <= done + 5'd1;
            moved <= moved + count_t'(completion.copy);
        end
        if (rst) {taken, done, moved, asked, got, announced, sent, answered} <= '0;
    end
    always_comb begin
        if (!started) assume (rst);
        if (rst || !trigger_ready) assume (!trigger_valid);
        if (rst || asked == got) assume (!r_valid);
        if (announced == sent) assume (!w_ready);
        if (rst || sent == answered) assume (!b_valid);
        if (started && (asked != got || announced != sent || sent != answered)) assume (!rst);   // only while idle
    end

    // Where the blocks are: `finished` and on the output, then to finish, to write, to read; and how many of them move bytes.
    count_t finished, to_write, to_read, finish_copies, write_copies;
    assign finished = moved + count_t'(completion_valid && completion.copy);
    assign to_read = taken - count_t'(dut.u_queue.level);
    assign to_write = to_read - count_t'(dut.u_write_queue.level);
    always_comb begin
        {finish_copies, write_copies} = '0;
        for (int i = 0; i < 4; i++) begin
            if (i < 32'(dut.u_finish_queue.level)) finish_copies += count_t'(moves_bytes(dut.u_finish_queue.mem[i]));
            if (i < 32'(dut.u_write_queue.level)) write_copies += count_t'(moves_bytes(dut.u_write_queue.mem[i]));
        end
    end

    always_comb if (started) begin
        if (ar_valid) assert (moves[count_t'(to_read - 5'd1)] && dut.reads_left != '0
                              && ar_addr[11:0] == address(BASES[1], to_read - 5'd1, BURSTS - 32'(dut.reads_left)));
        if (aw_valid) assert (moves[count_t'(to_write - 5'd1)] && dut.writes_left != '0 && announced != got
                              && aw_addr[11:0] == address(BASES[2], to_write - 5'd1, BURSTS - 32'(dut.writes_left)));
        if (announced != sent) assert (w_valid);
        if (w_valid) assert (sent != got && w_data == 8'(sent));
        if (completion_valid) begin
            assert (done != taken && completion.index == 16'(done) && !completion.channel);
            assert (completion.copy == moves[done] && completion.from == 2'd1 && completion.to == 2'd2);
            assert (completion.dirty == completion.error && completion.error == (completion.copy
                    && (any(read_errors, count_t'(moved * BURSTS), BURSTS) || any(write_errors, count_t'(moved * BURSTS), BURSTS))));
        end
        if (idle) assert (count_t'(done + count_t'(completion_valid)) == taken && asked == answered
                          && answered == count_t'(finished * BURSTS));
        if (!owes && !idle) assert (dut.queue_pop || dut.write_pop || dut.finish_pop || ar_valid || aw_valid
                                    || (dut.reading && dut.reserved <= 3));
        // For the induction: what the queues hold.
        assert (count_t'(done + count_t'(completion_valid) + count_t'(dut.u_finish_queue.level)) == to_write);
        for (int i = 0; i < 4; i++) begin
            if (i < 32'(dut.u_queue.level)) assert (dut.u_queue.mem[i] == block(count_t'(to_read + count_t'(i))));
            if (i < 32'(dut.u_write_queue.level))
                assert (dut.u_write_queue.mem[i] == block(count_t'(to_write + count_t'(i))));
            if (i < 32'(dut.u_finish_queue.level))
                assert (dut.u_finish_queue.mem[i] == block(count_t'(done + count_t'(completion_valid) + count_t'(i))));
            if (i < 32'(dut.u_failures.level))
                assert (dut.u_failures.mem[i] == any(read_errors, count_t'((finished + count_t'(i)) * BURSTS), BURSTS));
            if (i < 32'(dut.u_written.level))
                assert (dut.u_written.mem[i] == any(write_errors, count_t'((finished + count_t'(i)) * BURSTS), BURSTS));
        end
        // How far the bursts are.
        assert (dut.reading ? moves[count_t'(to_read - 5'd1)] && dut.reads_left != '0 && 32'(dut.reads_left) <= BURSTS : 1'b1);
        if (dut.reading) assert (dut.read_addr[11:0] == address(BASES[1], to_read - 5'd1, BURSTS - 32'(dut.reads_left)));
        if (dut.announcing) assert (moves[count_t'(to_write - 5'd1)] && dut.writes_left != '0 && 32'(dut.writes_left) <= BURSTS
            && !dut.finish_empty && dut.write_addr[11:0] == address(BASES[2], to_write - 5'd1, BURSTS - 32'(dut.writes_left)));
        assert (asked == count_t'((finished + finish_copies + write_copies) * BURSTS) - (dut.reading ? count_t'(dut.reads_left) : '0));
        assert (announced == count_t'((finished + finish_copies) * BURSTS) - (dut.announcing ? count_t'(dut.writes_left) : '0));
        assert (sent == count_t'((finished + count_t'(dut.u_failures.level)) * BURSTS) + count_t'(dut.beats_out));
        assert (answered == count_t'((finished + count_t'(dut.u_written.level)) * BURSTS) + count_t'(dut.responses));
        assert (32'(dut.beats_out) < BURSTS && 32'(dut.responses) < BURSTS);
        assert (count_t'(asked - sent) == count_t'(dut.reserved) && dut.reserved <= 4);
        assert (count_t'(got - announced) == count_t'(dut.unannounced) && dut.unannounced <= 4 && got - sent <= asked - sent);
        assert (announced - sent <= got - sent && count_t'(got - sent) == count_t'(dut.u_buffer.level));
        assert (count_t'(sent - answered) <= count_t'(announced - answered) && count_t'(announced - answered) <= 5'd16);
        if (dut.room && !dut.granted) assert (dut.reserved <= 3);
        // What is in the buffer, and what of the errors is on its way.
        assert (dut.u_buffer.stored <= 4 && (w_valid || dut.u_buffer.stored <= 1));
        if (w_valid) assert (dut.w_error == read_errors[sent]);
        for (int i = 0; i < 4; i++) if (i < 32'(dut.u_buffer.stored))
            assert (dut.u_buffer.u_ram.mem[2'(32'(dut.u_buffer.head) + i)]
                    == {read_errors[count_t'(sent + count_t'(w_valid) + count_t'(i))], 8'(count_t'(sent + count_t'(w_valid) + count_t'(i)))});
        assert (dut.read_failed == any(read_errors, count_t'(sent - count_t'(dut.beats_out)), 32'(dut.beats_out)));
        assert (dut.write_failed == any(write_errors, count_t'(answered - count_t'(dut.responses)), 32'(dut.responses)));
    end
endmodule

// In place of kvcpu_fifo, which has a property of its own: the same with its words in a row, the oldest in mem[0]; queues of at most 8.
module kvcpu_fifo #(
    parameter int unsigned WIDTH = 32, parameter int unsigned DEPTH = 16, localparam int unsigned AW = $clog2(DEPTH),
    localparam int unsigned WORDS = (DEPTH > 8) ? 4 : DEPTH
) (
    input wire logic clk, input wire logic rst, input wire logic push, input wire logic [WIDTH-1:0] wdata, input wire logic pop,
    output logic [WIDTH-1:0] rdata, output logic empty, output logic full, output logic [AW:0] level
);
    logic [WORDS:0][WIDTH-1:0] mem;
    logic                      take, put;
    assign empty = (level == '0);
    assign full = (32'(level) == WORDS);
    assign rdata = mem[0];
    assign put = push && !full;
    assign take = pop && !empty;
    always_ff @(posedge clk) begin
        for (int i = 0; i < WORDS; i++) begin
            if (take) mem[i] <= mem[i+1];
            if (put && i == 32'(level) - 32'(take)) mem[i] <= wdata;
        end
        level <= rst ? '0 : level + (AW+1)'(put) - (AW+1)'(take);
    end
    always_comb assert (32'(level) <= WORDS || rst);
endmodule
`default_nettype wire

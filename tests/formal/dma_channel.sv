// formal_dma_channel - kvcpu_dma_channel moves each block once, in order, and comes to an end with it, whatever the memory's latency.
//
// Promises: every trigger has one completion, in order, behind all answers of its block, with an error exactly where one of these had
// one; reads and writes are those of the blocks to move, at their addresses, so that a clean block moves no bytes; data are written as
// they came, each once, and are there when their address is; while nobody outside has anything to do, a block goes on by a stage, or all
// are done and the channel says that it is idle.
// Assumes: a memory that takes each request when it likes, and answers what was asked when it likes; data are taken behind their
// address; a completion is taken when its taker likes; at most one in 2**CW reads and one in 2**CW responses is an error; a reset only
// while nothing is open. Evictions of BURSTS bursts of one beat; by induction over one cycle, for any number of blocks.
`default_nettype none
module formal_dma_channel import kvcpu_pkg::*; #(parameter int unsigned BURSTS = 1, localparam int unsigned CW = 3 + BURSTS) (
    input wire logic clk, input wire logic rst, input wire logic trigger_valid, input wire logic ar_ready, input wire logic aw_ready,
    input wire logic w_ready, input wire logic r_valid, input wire logic b_valid, input wire logic completion_ready,
    input wire logic moves, input wire logic [CW-1:0] any_read, input wire logic [CW-1:0] any_response
);
    typedef logic [3:0]    block_t;    // number of a block, modulo 16: fewer are under way
    typedef logic [CW-1:0] count_t;    // of bursts, likewise
    localparam logic [3:0][63:0] BASES = {64'd0, 64'h200, 64'h100, 64'd0};
    logic        idle, trigger_ready, ar_valid, aw_valid, w_valid, completion_valid;
    logic [63:0] ar_addr, aw_addr;
    logic [7:0]  w_data;
    completion_t completion;
    block_t      taken, done;                    // triggers, completions
    count_t      moved;                          // completions of blocks that moved bytes
    count_t      got, sent, answered;            // bursts read, written, answered
    count_t      to_come, to_send, to_answer;    // bursts asked for, announced, sent, and not yet those
    count_t      bad_read, bad_response;         // which of them are errors: any, but the same for ever
    logic        owes;                           // somebody outside has something to do
    logic        started = 1'b0;
    function automatic trigger_t block(input block_t number, input logic moves);   // the index tells of both
        block = '{index: 16'({moves, number}), from: 2'd1, to: 2'd2, dirty: moves, copy: moves, step: '0};
    endfunction
    function automatic logic is_block(input trigger_t found, input block_t number);
        is_block = (found == block(number, found.copy));
    endfunction
    function automatic logic [11:0] address(input logic [63:0] base, input block_t number, input int burst);   // of one that moves
        address = 12'(base) + 12'({1'b1, number}) * 12'(BURSTS) + 12'(burst);
    endfunction
    function automatic logic among(input count_t bad, input count_t first, input int bursts);
        among = 1'b0;
        for (int k = 0; k < BURSTS; k++) if (k < bursts) among = among || (count_t'(first + count_t'(k)) == bad);
    endfunction
    function automatic count_t copies(input trigger_t [3:0] words, input int level);
        copies = '0;
        for (int i = 0; i < 4; i++) copies = copies + count_t'(i < level && words[i].copy);
    endfunction
    kvcpu_dma_channel #(.CHANNEL(1'b0), .DATA_BITS(8), .BLOCK_BYTES(BURSTS), .BURST(1)) dut (
        .*, .flush(1'b0), .drain(1'b0), .evict_tier(2'd2), .tier_base(BASES), .trigger(block(taken, moves)),
        .r_data(8'(got)), .r_error(got == bad_read), .b_error(answered == bad_response)
    );

    assign owes = to_come != '0 || to_send != '0 || to_answer != '0 || trigger_valid || (ar_valid && !ar_ready)
                  || (aw_valid && !aw_ready) || completion_valid;
    always_ff @(posedge clk) begin
        started <= 1'b1;
        if (!started) {bad_read, bad_response} <= {any_read, any_response};
        taken <= taken + block_t'(trigger_valid);
        got <= got + count_t'(r_valid);
        sent <= sent + count_t'(w_valid && w_ready);
        answered <= answered + count_t'(b_valid);
        to_come <= to_come + count_t'(ar_valid && ar_ready) - count_t'(r_valid);
        to_send <= to_send + count_t'(aw_valid && aw_ready) - count_t'(w_valid && w_ready);
        to_answer <= to_answer + count_t'(w_valid && w_ready) - count_t'(b_valid);
        if (completion_valid && completion_ready) begin
            done <= done + 4'd1;
            moved <= moved + count_t'(completion.copy);
        end
        if (rst) {taken, done, moved, got, sent, answered, to_come, to_send, to_answer} <= '0;
    end
    always_comb begin
        if (!started) assume (rst);
        if (started && (to_come != '0 || to_send != '0 || to_answer != '0)) assume (!rst);
        if (rst || !trigger_ready) assume (!trigger_valid);
        if (rst || to_come == '0) assume (!r_valid);
        if (to_send == '0) assume (!w_ready);
        if (rst || to_answer == '0) assume (!b_valid);
    end

    // Where the blocks are: `to_read` is the first that the reader has not begun, `to_write` the first that the writer has not. Of those
    // that move bytes, so many were begun by the reader, by the writer, and finished.
    block_t to_read, to_write;
    count_t begun, announced, finished;
    assign to_read = taken - block_t'(dut.u_queue.level);
    assign to_write = to_read - block_t'(dut.u_write_queue.level);
    always_ff @(posedge clk) begin
        begun <= begun + count_t'(dut.queue_pop && dut.next.copy);
        announced <= announced + count_t'(dut.write_pop && dut.writing_next.copy);
        finished <= finished + count_t'(dut.finish_pop && dut.finishing.copy);
        if (rst) {begun, announced, finished} <= '0;
    end

    always_comb if (started) begin
        if (ar_valid) assert (dut.reads_left != '0
                              && ar_addr[11:0] == address(BASES[1], to_read - 4'd1, BURSTS - 32'(dut.reads_left)));
        if (aw_valid) assert (dut.writes_left != '0 && count_t'(dut.u_buffer.level) > to_send
                              && aw_addr[11:0] == address(BASES[2], to_write - 4'd1, BURSTS - 32'(dut.writes_left)));
        if (to_send != '0) assert (w_valid);
        if (w_valid) assert (sent != got && w_data == 8'(sent));
        if (completion_valid) begin
            assert (done != taken && completion.index == 16'({completion.copy, done}) && !completion.channel);
            assert (completion.from == 2'd1 && completion.to == 2'd2);
            assert (completion.dirty == completion.error && completion.error == (completion.copy
                    && (among(bad_read, moved * CW'(BURSTS), BURSTS) || among(bad_response, moved * CW'(BURSTS), BURSTS))));
        end
        if (idle) assert (block_t'(done + block_t'(completion_valid)) == taken && {to_come, to_send, to_answer} == '0);
        if (!owes && !idle) assert (dut.queue_pop || dut.write_pop || dut.finish_pop || ar_valid || aw_valid
                                    || (dut.reading && dut.reserved <= 3));
        // For the induction: which blocks are in the queues, and which of them are errors.
        assert (block_t'(done + block_t'(completion_valid) + block_t'(dut.u_finish_queue.level)) == to_write);
        for (int i = 0; i < 4; i++) begin
            if (i < 2 && i < 32'(dut.u_queue.level)) assert (is_block(dut.u_queue.mem[i], block_t'(to_read + block_t'(i))));
            if (i < 32'(dut.u_write_queue.level)) assert (is_block(dut.u_write_queue.mem[i], block_t'(to_write + block_t'(i))));
            if (i < 32'(dut.u_finish_queue.level))
                assert (is_block(dut.u_finish_queue.mem[i], block_t'(done + block_t'(completion_valid) + block_t'(i))));
            if (i < 32'(dut.u_failures.level))
                assert (dut.u_failures.mem[i] == among(bad_read, count_t'((finished + count_t'(i)) * CW'(BURSTS)), BURSTS));
            if (i < 32'(dut.u_written.level))
                assert (dut.u_written.mem[i] == among(bad_response, count_t'((finished + count_t'(i)) * CW'(BURSTS)), BURSTS));
        end
        assert (dut.read_failed == among(bad_read, count_t'(sent - count_t'(dut.beats_out)), 32'(dut.beats_out)));
        assert (dut.write_failed == among(bad_response, count_t'(answered - count_t'(dut.responses)), 32'(dut.responses)));
        // How far each stage is.
        assert (finished == count_t'(moved + count_t'(completion_valid && completion.copy)));
        assert (announced == count_t'(finished + copies(dut.u_finish_queue.mem[3:0], 32'(dut.u_finish_queue.level))));
        assert (begun == count_t'(announced + copies(dut.u_write_queue.mem[3:0], 32'(dut.u_write_queue.level))));
        if (dut.reading) assert (dut.reads_left != '0 && 32'(dut.reads_left) <= BURSTS
            && dut.read_addr[11:0] == address(BASES[1], to_read - 4'd1, BURSTS - 32'(dut.reads_left)));
        if (dut.announcing) assert (dut.writes_left != '0 && 32'(dut.writes_left) <= BURSTS
            && !dut.finish_empty && dut.write_addr[11:0] == address(BASES[2], to_write - 4'd1, BURSTS - 32'(dut.writes_left)));
        assert (count_t'((begun - announced) * CW'(BURSTS)) + (dut.announcing ? count_t'(dut.writes_left) : '0)
                == (dut.reading ? count_t'(dut.reads_left) : '0) + to_come + count_t'(dut.unannounced));
        assert (count_t'((announced - finished) * CW'(BURSTS)) == (dut.announcing ? count_t'(dut.writes_left) : '0) + to_send + to_answer
                + count_t'(32'(dut.u_written.level) * BURSTS) + count_t'(dut.responses));
        assert (sent == count_t'((finished + count_t'(dut.u_failures.level)) * CW'(BURSTS)) + count_t'(dut.beats_out));
        assert (answered == count_t'((finished + count_t'(dut.u_written.level)) * CW'(BURSTS)) + count_t'(dut.responses));
        assert (32'(dut.beats_out) < BURSTS && 32'(dut.responses) < BURSTS);
        assert (got == count_t'(sent + count_t'(dut.u_buffer.level)) && sent == count_t'(answered + to_answer));
        // What the buffer holds, and what is promised a place there.
        assert (count_t'(dut.reserved) == to_come + count_t'(dut.u_buffer.level) && dut.reserved <= 4 && to_come <= 4);
        assert (count_t'(dut.u_buffer.level) == count_t'(dut.unannounced) + to_send && dut.unannounced <= 4 && to_send <= 4);
        assert (32'(to_answer) <= 4 * BURSTS);
        if (dut.room && !dut.granted) assert (dut.reserved <= 3);
        assert (dut.u_buffer.stored <= 4 && (w_valid || dut.u_buffer.stored <= 1));
        if (w_valid) assert (dut.w_error == (sent == bad_read));
        for (int i = 0; i < 4; i++) if (i < 32'(dut.u_buffer.stored))
            assert (dut.u_buffer.mem[i] == word(count_t'(sent + count_t'(w_valid) + count_t'(i))));
    end
    function automatic logic [8:0] word(input count_t number);
        word = {number == bad_read, 8'(number)};
    endfunction
endmodule

// In place of kvcpu_ram_fifo, which has a property of its own: the same with its words in a row, the oldest in mem[0]. A word needs two
// cycles from push to `valid`.
module kvcpu_ram_fifo #(
    parameter int unsigned WIDTH = 64, parameter int unsigned DEPTH = 256, localparam int unsigned AW = $clog2(DEPTH)
) (
    input wire logic clk, input wire logic rst, input wire logic push, input wire logic [WIDTH-1:0] wdata, output logic full,
    input wire logic pop, output logic [WIDTH-1:0] rdata, output logic valid, output logic [AW+1:0] level
);
    logic [DEPTH:0][WIDTH-1:0] mem;
    logic [AW:0]               stored;
    logic                      take, put;
    assign full = (32'(stored) == DEPTH);
    assign put = push && !full;
    assign take = (stored != '0) && (!valid || pop);
    assign level = (AW+2)'(stored) + (AW+2)'(valid);
    always_ff @(posedge clk) begin
        for (int i = 0; i < DEPTH; i++) begin
            if (take) mem[i] <= mem[i+1];
            if (put && i == 32'(stored) - 32'(take)) mem[i] <= wdata;
        end
        if (take) rdata <= mem[0];
        stored <= rst ? '0 : stored + (AW+1)'(put) - (AW+1)'(take);
        valid <= !rst && (take || (valid && !pop));
    end
endmodule
`default_nettype wire

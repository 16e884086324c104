// formal_free_map - kvcpu_free_map offers the lowest index that is free, and none that is in use.
//
// Promises: while `ready`, any_free is true exactly where an entry is free, and free_index is the lowest of them; a take makes that one
// used, a rebuild leaves in use what its rows said and nothing behind them; behind a take, the end of a rebuild or a reset it is not ready
// for seven cycles at most.
// Assumes: takes and rebuilds as the engine makes them: rows in order from 0, up to the last one in use. 128 entries in rows of 32; by
// induction over one cycle.
`default_nettype none
module formal_free_map #(parameter int unsigned ENTRIES = 128, parameter int unsigned LANES = 32) (
    input wire logic clk, input wire logic rst, input wire logic take, input wire logic rebuild_start, input wire logic row_now,
    input wire logic stop, input wire logic [LANES-1:0] rebuild_used
);
    localparam int unsigned ROWS = ENTRIES / LANES, RW = $clog2(ROWS), IW = $clog2(ENTRIES), WORDS = ENTRIES / 64;
    typedef enum logic [3:0] {HOLD, TAKEN, SCAN, SELECT, READ, LOAD, LOADED, PICK, REBUILD, FLUSH} phase_e;   // as there
    logic          ready, any_free, rebuild_valid, rebuild_end;
    logic [IW-1:0] free_index;
    logic [RW-1:0] rebuild_row;
    kvcpu_free_map #(.ENTRIES(ENTRIES), .LANES(LANES)) dut (.*);

    logic               started = 1'b0;
    logic               rebuilding;
    logic [RW:0]        next;       // row of the rebuild
    logic [ENTRIES-1:0] used, below;
    logic [3:0]         unready;    // cycles so far
    assign rebuild_row = next[RW-1:0];
    assign rebuild_end = rebuilding && (stop || 32'(next) == ROWS);
    assign rebuild_valid = rebuilding && row_now && !rebuild_end;
    assign below = (ENTRIES'(1) << free_index) - 1'b1;
    always_ff @(posedge clk) begin
        started <= 1'b1;
        if (take) used[free_index] <= 1'b1;
        if (rebuild_start) {rebuilding, next, used} <= {1'b1, (RW+1)'(0), ENTRIES'(0)};
        if (rebuild_valid) begin
            used[32'(rebuild_row) * LANES +: LANES] <= rebuild_used;
            next <= next + 1'b1;
        end
        if (rebuild_end) rebuilding <= 1'b0;
        unready <= (ready || rebuilding) ? '0 : unready + 4'd1;
        if (rst) begin
            {rebuilding, used} <= '0;
            unready <= '0;
        end
    end
    always_comb begin
        if (!started) assume (rst);
        if (rst || !(ready && any_free)) assume (!take);
        if (rst || !ready || take) assume (!rebuild_start);
    end

    // For the induction: what each word holds, and what is known of the one at hand.
    phase_e            phase;
    logic              set_word;                   // `current` is the lowest word that is not full
    logic [WORDS-1:0]  pending, really_full;       // of a word: whether it is full is known in the next cycle
    logic [63:0]       word;                       // the word at hand
    assign phase = phase_e'(dut.phase);
    assign set_word = (phase inside {HOLD, TAKEN, READ, LOAD, LOADED, PICK});
    assign word = used[64 * 32'(dut.current) +: 64];
    always_comb for (int w = 0; w < WORDS; w++) begin
        really_full[w] = (used[64*w +: 64] == '1);
        pending[w] = (phase == TAKEN && 32'(dut.current) == w) || (dut.gathered && 32'(dut.gather_word) == w);
    end

    always_comb if (started) begin
        if (ready) assert (any_free == (used != '1));
        if (ready && any_free) assert (!used[free_index] && (used & below) == below);
        assert (unready <= 4'd7);
        assert (phase <= FLUSH && ready == (phase == HOLD) && rebuilding == (phase == REBUILD));
        case (phase)
            SCAN: assert (unready <= 4'd1);
            SELECT: assert (unready <= 4'd2 && dut.group == '0 && dut.group_bits == {30'h3FFF_FFFF, dut.full});
            READ: assert (unready <= 4'd3);
            LOAD: assert (unready <= 4'd4 && (dut.ram_q == word || !dut.written[dut.current]));
            LOADED: assert (unready <= 4'd5);
            PICK: assert (unready <= 4'd6);
            HOLD: ;
            REBUILD: ;
            default: assert (unready == 4'd0);
        endcase
        for (int w = 0; w < WORDS; w++) begin
            assert (dut.written[w] ? dut.u_ram.mem[w] == used[64*w +: 64] : used[64*w +: 64] == '0);
            if (!pending[w]) assert (dut.full[w] == really_full[w]);
            if (set_word && !dut.none && w < 32'(dut.current)) assert (dut.full[w]);
        end
        if (set_word) assert (dut.none == (dut.full == '1));
        if (set_word && !dut.none) assert (!dut.full[dut.current]);
        if (phase inside {HOLD, TAKEN, LOADED, PICK}) assert (dut.bits == word);
        if (phase == TAKEN) assert (!dut.none);
        if (phase == PICK) for (int k = 0; k < 8; k++) begin
            assert (dut.byte_full[k] == (dut.bits[8*k +: 8] == '1));
            for (int b = 0; b < 8; b++) begin
                if (!dut.byte_full[k] && 32'(dut.byte_pick[k]) == b) assert (!dut.bits[8*k + b]);
                if (!dut.byte_full[k] && 32'(dut.byte_pick[k]) > b) assert (dut.bits[8*k + b]);
            end
        end
        if (rebuilding) begin
            assert (32'(next) <= ROWS && dut.gather_any == (next != '0));
            if (next == '0) assert (used == '0);
            if (next != '0) assert (dut.gather_word == 1'((next - 1'b1) >> dut.PW) && dut.gather == used[64 * 32'(dut.gather_word) +: 64]);
            for (int r = 0; r < ROWS; r++) if (r >= 32'(next)) assert (used[r * LANES +: LANES] == '0);
        end
        if (dut.gathered) assert (rebuilding || phase == FLUSH);
        if (dut.gathered) assert (dut.gather == used[64 * 32'(dut.gather_word) +: 64]);
    end
endmodule
`default_nettype wire

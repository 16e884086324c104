// formal_results - kvcpu_result_queue keeps the last 32 results, in order, and says of each that it drops.
//
// Promises: results pushed = results taken + results reported `lost` + results held, at any distance of two pushes, in adjacent
// cycles too; only a full queue drops, and the oldest, for one that waits; a marked result comes out at its place with its value.
// Assumes: a reset in the first cycle. Proved by induction.
`default_nettype none
module formal_results import kvcpu_pkg::*; (
    input wire logic clk, input wire logic rst, input wire logic push, input wire logic [7:0] code, input wire logic pop,
    input wire logic mark
);
    logic    valid, leaves, under_way, lost;
    logic [5:0] level;
    result_t pushed, oldest;
    always_comb begin
        pushed = '0;
        pushed.code = code;
    end
    kvcpu_result_queue dut (.*);

    logic started = 1'b0;
    always_ff @(posedge clk) started <= 1'b1;
    always_comb if (!started) assume (rst);

    logic       tracking;
    logic [6:0] owed, ahead;   // results that the host may still get; those that leave ahead of the marked one
    logic [7:0] marked;
    always_ff @(posedge clk) begin
        owed <= owed + 7'(push) - 7'(pop && valid) - 7'(lost);
        if (!tracking && push && mark) begin
            tracking <= 1'b1;
            marked <= code;
            ahead <= owed - 7'(leaves);
        end else if (tracking && leaves) begin
            if (ahead == '0) tracking <= 1'b0;
            ahead <= ahead - 1'b1;
        end
        if (rst) begin
            owed <= '0;
            tracking <= 1'b0;
        end
    end

    always_comb if (started) begin
        assert (7'(dut.u_fifo.level) + 7'(dut.held_valid) == owed);
        assert (owed <= 7'd33 && dut.u_fifo.level <= 6'd32 && valid == (dut.u_fifo.level != '0));
        if (lost) assert (owed == 7'd33 && valid);
        assert (leaves == ((pop && valid) || lost));
        if (tracking && ahead == '0 && valid) assert (oldest.code == marked);
        // For the induction: the queue inside, and where the marked result is.
        assert (dut.u_fifo.full == (dut.u_fifo.level == 6'd32) && dut.u_fifo.empty == (dut.u_fifo.level == '0));
        assert (5'(dut.u_fifo.tail - dut.u_fifo.second + 1'b1) == 5'(dut.u_fifo.level));
        if (tracking) assert (ahead < owed);
        if (tracking && ahead == 7'(dut.u_fifo.level)) assert (dut.held.code == marked);
        if (tracking && ahead != '0 && ahead < 7'(dut.u_fifo.level))
            assert (8'(dut.u_fifo.mem[5'(dut.u_fifo.second + 5'(ahead) - 5'd1)] >> ($bits(result_t) - 8)) == marked);
    end
endmodule
`default_nettype wire

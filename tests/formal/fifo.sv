// formal_fifo - kvcpu_fifo gives every word once, in order, and says truly how many it holds.
//
// Promises: level, empty and full agree with the words pushed and not yet popped; any one word, whichever is marked, comes out at its
// place with its value; a push into a full queue that is not popped, and a pop of an empty one, change nothing.
// Assumes: a reset in the first cycle; any other at any time. Proved by induction, for DEPTH words of W bits.
`default_nettype none
module formal_fifo #(parameter int unsigned DEPTH = 4, parameter int unsigned W = 4, localparam int unsigned AW = $clog2(DEPTH)) (
    input wire logic clk, input wire logic rst, input wire logic push, input wire logic [W-1:0] wdata, input wire logic pop,
    input wire logic mark
);
    logic [W-1:0] rdata;
    logic         empty, full;
    logic [AW:0]  level;
    kvcpu_fifo #(.WIDTH(W), .DEPTH(DEPTH)) dut (.*);

    logic started = 1'b0;
    always_ff @(posedge clk) started <= 1'b1;
    always_comb if (!started) assume (rst);

    logic         put, take, tracking;
    logic [AW:0]  held, ahead;   // words in the queue; those that come out ahead the marked one
    logic [W-1:0] marked;
    assign put = push && (held != (AW+1)'(DEPTH) || pop);
    assign take = pop && held != '0;
    marked_word #(.W(W), .CW(AW+1)) u_marked (.*);

    always_comb if (started) begin
        assert (level == held && empty == (held == '0) && full == (held == (AW+1)'(DEPTH)) && held <= (AW+1)'(DEPTH));
        if (tracking && ahead == '0) assert (rdata == marked);
        // For the induction: where the words are.
        assert (AW'(dut.tail - dut.second + 1'b1) == AW'(held));
        if (tracking) assert (ahead < held);
        if (tracking && ahead != '0) assert (dut.mem[AW'(dut.second + AW'(ahead) - 1'b1)] == marked);
    end
endmodule
`default_nettype wire

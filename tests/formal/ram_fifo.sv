// formal_ram_fifo - kvcpu_ram_fifo gives every word once, in order, never stands still with a word, and reads no word being written.
//
// Promises: level and full are true; any one word, whichever is marked, comes out at its place with its value; a queue that holds a word
// is `valid` within two cycles, one that held a second word in the cycle behind a pop; a push into a full queue and
// a pop of nothing change nothing.
// Assumes: a reset in the first cycle; any other at any time. Proved by induction, for DEPTH words of W bits.
`default_nettype none
module formal_ram_fifo #(parameter int unsigned DEPTH = 4, parameter int unsigned W = 4, localparam int unsigned AW = $clog2(DEPTH)) (
    input wire logic clk, input wire logic rst, input wire logic push, input wire logic [W-1:0] wdata, input wire logic pop,
    input wire logic mark
);
    logic [W-1:0]  rdata;
    logic          full, valid;
    logic [AW+1:0] level;
    kvcpu_ram_fifo #(.WIDTH(W), .DEPTH(DEPTH)) dut (.*);

    logic started = 1'b0;
    always_ff @(posedge clk) started <= 1'b1;
    always_comb if (!started) assume (rst);

    logic          put, take, tracking;
    logic          late, follows;   // a cycle ago: a word was there, and none on the output; one of several was taken
    logic [AW+1:0] held, ahead;
    logic [W-1:0]  marked;
    assign put = push && !full;
    assign take = pop && valid;
    marked_word #(.W(W), .CW(AW+2)) u_marked (.*);
    always_ff @(posedge clk) begin
        late <= !rst && held != '0 && !valid;
        follows <= !rst && take && held > (AW+2)'(1);
    end

    always_comb if (started) begin
        assert (level == held && held <= (AW+2)'(DEPTH + 1));
        assert (full == (held == (AW+2)'(DEPTH) + (AW+2)'(valid)));
        if (late || follows) assert (valid);
        if (tracking && ahead == '0 && valid) assert (rdata == marked);
        assert (!(put && dut.ren && dut.head == dut.tail));
        // For the induction: where the words are.
        assert (dut.tail - dut.head == AW'(held) - AW'(valid));
        assert (valid ? held != '0 : held <= (AW+2)'(1));
        if (tracking) assert (ahead < held);
        if (tracking && !(valid && ahead == '0)) assert (dut.u_ram.mem[dut.head + AW'(ahead) - AW'(valid)] == marked);
    end
endmodule
`default_nettype wire

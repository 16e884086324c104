// kvcpu_ram_fifo - first-in first-out queue in block RAM, one word per cycle in and out.
//
// The oldest word is on `rdata` while `valid`; `pop` takes it. A word needs two cycles from push to `valid`. A push while
// `full` or a pop while not `valid` is the caller's mistake: it changes nothing, and an assertion fails. `level` counts all words
// held, the one on the output included. Holds DEPTH words in RAM and one more on the output.
`default_nettype none
module kvcpu_ram_fifo #(
    parameter int unsigned WIDTH = 64,
    parameter int unsigned DEPTH = 256,
    localparam int unsigned AW = $clog2(DEPTH)
) (
    input  wire logic             clk,
    input  wire logic             rst,
    input  wire logic             push,
    input  wire logic [WIDTH-1:0] wdata,
    output logic                  full,
    input  wire logic             pop,
    output logic      [WIDTH-1:0] rdata,
    output logic                  valid,
    output logic      [AW+1:0]    level   // a register
);
    if (DEPTH < 2 || (DEPTH & (DEPTH - 1)) != 0) begin : g_check
        $error("%m: DEPTH must be a power of two, 2 or more");
    end

    logic [AW-1:0] head, tail;
    logic          some, ren;  // some: words in RAM

    assign some = level[AW+1:1] != '0 || (level[0] && !valid);
    assign full = level[AW] && (level[0] || !valid);
    assign ren  = some && (!valid || pop);

    kvcpu_ram #(.WIDTH(WIDTH), .DEPTH(DEPTH)) u_ram (
        .clk, .we(push && !full), .waddr(tail), .wdata, .ren, .raddr(head), .rdata
    );

    always_ff @(posedge clk) begin
        if (rst) begin
            head  <= '0;
            tail  <= '0;
            valid <= 1'b0;
            level <= '0;
        end else begin
            if ((push && !full) != (pop && valid)) level <= (push && !full) ? level + 1'b1 : level - 1'b1;
            if (push && !full) tail <= tail + 1'b1;
            if (ren) head <= head + 1'b1;
            if (ren) valid <= 1'b1;
            else if (pop) valid <= 1'b0;
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            no_overflow: assert (!(push && full)) else $error("nothing is pushed into a full queue");
            no_underflow: assert (!(pop && !valid)) else $error("nothing is taken that is not there");
            level_holds: assert (level <= (AW+2)'(DEPTH) + (AW+2)'(valid) && tail - head == AW'(level) - AW'(valid))
                else $error("no more words are stored than fit, and the level counts them");
        end
    end
`endif
endmodule
`default_nettype wire

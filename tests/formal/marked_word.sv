// marked_word - for properties of queues: counts the words inside, and follows one of them, whichever is marked as it is put in.
//
// `ahead` words come out before the `marked` one, which is inside while `tracking`.
`default_nettype none
module marked_word #(parameter int unsigned W = 4, parameter int unsigned CW = 3) (
    input  wire logic          clk,
    input  wire logic          rst,
    input  wire logic          put,     // a word goes in, one comes out
    input  wire logic          take,
    input  wire logic          mark,
    input  wire logic [W-1:0]  wdata,
    output logic      [CW-1:0] held,
    output logic               tracking,
    output logic      [CW-1:0] ahead,
    output logic      [W-1:0]  marked
);
    always_ff @(posedge clk) begin
        held <= held + CW'(put) - CW'(take);
        if (!tracking && put && mark) begin
            tracking <= 1'b1;
            marked <= wdata;
            ahead <= held - CW'(take);
        end else if (tracking && take) begin
            if (ahead == '0) tracking <= 1'b0;
            ahead <= ahead - 1'b1;
        end
        if (rst) begin
            held <= '0;
            tracking <= 1'b0;
        end
    end
endmodule
`default_nettype wire

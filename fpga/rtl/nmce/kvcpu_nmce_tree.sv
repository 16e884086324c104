// kvcpu_nmce_tree - adds LANES signed numbers in pairs, exactly: a register behind each level, log2(LANES) of them.
`default_nettype none
module kvcpu_nmce_tree #(
    parameter int unsigned LANES = 32,
    parameter int unsigned WIDTH = 81,
    localparam int unsigned LEVELS = $clog2(LANES)
) (
    input  wire logic                           clk,
    input  wire logic [LEVELS-1:0]              advance,  // level k takes the sums in front of it
    input  wire logic signed [WIDTH-1:0]        number [LANES],
    output logic signed [WIDTH+LEVELS-1:0]      sum
);
    if (LANES < 2 || (LANES & (LANES - 1)) != 0) begin : g_check
        $error("%m: LANES must be a power of two, 2 or more");
    end

    for (genvar l = 0; l < LEVELS; l++) begin : g_level
        localparam int unsigned W = WIDTH + l + 1;
        logic signed [W-1:0] made [LANES >> (l + 1)];
        for (genvar k = 0; k < LANES >> (l + 1); k++) begin : g_pair
            logic signed [W-2:0] left, right;
            if (l == 0) begin : g_first
                assign left = number[2*k];
                assign right = number[2*k+1];
            end else begin : g_further
                assign left = g_level[l-1].made[2*k];
                assign right = g_level[l-1].made[2*k+1];
            end
            always_ff @(posedge clk) if (advance[l]) made[k] <= W'(left) + W'(right);
        end
    end
    assign sum = g_level[LEVELS-1].made[0];
endmodule
`default_nettype wire

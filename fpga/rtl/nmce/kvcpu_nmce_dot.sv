// kvcpu_nmce_dot - the exact dot product of a row of keys with a query, a beat a cycle (R31).
//
// LANES products a beat, a tree that adds them, and a sum over the row's beats; nothing is rounded, so the order of additions cannot
// matter. `row` is a pulse with what came of a row, 6 + log2(LANES) cycles behind its last beat. It never stands still: whoever asks
// for keys has a place for their scores.
`default_nettype none
module kvcpu_nmce_dot
    import kvcpu_nmce_pkg::*;
#(
    parameter int unsigned DATA_BITS = 512,
    parameter int unsigned HEAD_DIM = 128,
    localparam int unsigned LANES = DATA_BITS / 16,
    localparam int unsigned WIDTH = 81 + $clog2(HEAD_DIM)
) (
    input  wire logic                    clk,
    input  wire logic                    rst,
    input  wire logic                    beat,
    input  wire logic [DATA_BITS-1:0]    keys,
    input  wire logic [DATA_BITS-1:0]    query,
    input  wire logic                    last,    // beat of its row
    input  wire logic                    failed,  // this beat, or one of its job before it, is an error

    output logic                         row,
    output logic signed [WIDTH-1:0]      sum,     // whole number of 2^-48
    output kinds_t                       kinds,
    output logic                         row_failed
);
    localparam int unsigned LEVELS = $clog2(LANES);
    localparam int unsigned STAGES = 4 + LEVELS;

    // ---- what goes along ---------------------------------------------------------------------------------------------------
    logic [STAGES:1] later, later_last, later_failed;
    logic [STAGES:0] valid, is_last, has_failed;
    assign valid = {later, beat};
    assign is_last = {later_last, last};
    assign has_failed = {later_failed, failed};
    always_ff @(posedge clk) begin
        later <= rst ? '0 : valid[STAGES-1:0];
        later_last <= is_last[STAGES-1:0];
        later_failed <= has_failed[STAGES-1:0];
    end

    // ---- products and their sum --------------------------------------------------------------------------------------------
    logic signed [80:0]        product [LANES];
    logic signed [80+LEVELS:0] of_beat;
    kinds_t                    of_lane [LANES];
    kinds_t                    some, beat_kinds [STAGES:2];
    for (genvar l = 0; l < LANES; l++) begin : g_lane
        kvcpu_nmce_product u_product (
            .clk, .advance(valid[3:0]), .key(keys[16*l +: 16]), .query(query[16*l +: 16]), .kinds(of_lane[l]), .product(product[l])
        );
    end
    kvcpu_nmce_tree #(.LANES(LANES), .WIDTH(81)) u_tree (.clk, .advance(valid[STAGES-1:4]), .number(product), .sum(of_beat));
    always_comb begin
        some = '0;
        if (valid[1]) for (int l = 0; l < LANES; l++) some |= of_lane[l];
    end
    always_ff @(posedge clk) begin
        beat_kinds[2] <= some;
        for (int k = 3; k <= STAGES; k++) beat_kinds[k] <= beat_kinds[k-1];
    end

    // ---- sum over the row --------------------------------------------------------------------------------------------------
    logic first;
    always_ff @(posedge clk) begin
        row <= !rst && valid[STAGES] && is_last[STAGES];
        if (valid[STAGES]) begin
            sum <= WIDTH'(of_beat) + (first ? '0 : sum);
            kinds <= beat_kinds[STAGES] | (first ? '0 : kinds);
            row_failed <= has_failed[STAGES];
            first <= is_last[STAGES];
        end
        if (rst) first <= 1'b1;
    end
endmodule
`default_nettype wire

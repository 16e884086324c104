// kvcpu_nmce_scale - magnitude and sign of a row's sum, times C of R31: exactly, a row a cycle.
//
// C is 2^ZEROS times an odd number ODD, and only that is multiplied by; where HEAD_DIM is a power of four there is nothing to multiply.
// The sum goes through in limbs of 17 bits, as many as DSPs take at once, the lowest first: limb k is multiplied in cycle k, and
// added in the next to what the limb below has left above its own 17 bits.
`default_nettype none
module kvcpu_nmce_scale
    import kvcpu_nmce_pkg::*;
#(
    parameter int unsigned HEAD_DIM = 128,
    localparam int unsigned WIDTH = 81 + $clog2(HEAD_DIM),
    localparam logic [31:0] C = scale_of(HEAD_DIM),
    localparam logic [31:0] ODD = C >> zeros_behind(C),
    localparam int unsigned ODD_BITS = $clog2(ODD + 32'd1),
    localparam int unsigned OUT = WIDTH - 1 + ODD_BITS
) (
    input  wire logic                    clk,
    input  wire logic                    rst,
    input  wire logic                    row,
    input  wire logic signed [WIDTH-1:0] sum,
    input  wire kinds_t                  kinds,
    input  wire logic                    failed,

    output logic                         scaled,   // pulse
    output logic [OUT-1:0]               number,   // |sum| times ODD
    output logic                         negative,
    output kinds_t                       scaled_kinds,
    output logic                         scaled_failed
);
    localparam int unsigned LIMB = 17;
    localparam int unsigned LIMBS = (ODD == 32'd1) ? 0 : (WIDTH - 1 + LIMB - 1) / LIMB;
    localparam int unsigned STAGES = (LIMBS == 0) ? 1 : LIMBS + 2;  // magnitude, limbs, the last addition
    typedef struct packed {
        logic   negative;
        kinds_t kinds;
        logic   failed;
    } tag_t;

    // ---- magnitude, and what goes along --------------------------------------------------------------------------------------
    logic [STAGES:1]  later;
    logic [STAGES:0]  valid;
    tag_t             tag [STAGES:1];
    logic [WIDTH-2:0] magnitude;
    assign valid = {later, row};
    always_ff @(posedge clk) begin
        later <= rst ? '0 : valid[STAGES-1:0];
        tag[1] <= '{negative: sum[WIDTH-1], kinds: kinds, failed: failed};
        for (int k = 2; k <= STAGES; k++) tag[k] <= tag[k-1];
        if (row) magnitude <= (WIDTH-1)'(sum[WIDTH-1] ? -sum : sum);
    end
    assign scaled = valid[STAGES];
    assign negative = tag[STAGES].negative;
    assign scaled_kinds = tag[STAGES].kinds;
    assign scaled_failed = tag[STAGES].failed;

    // ---- times ODD -----------------------------------------------------------------------------------------------------------
    if (LIMBS == 0) begin : g_power
        assign number = OUT'(magnitude);
    end else begin : g_limbs
        localparam int unsigned PRODUCT = LIMB + ODD_BITS;
        localparam int unsigned BELOW = (LIMBS - 1) * LIMB;
        logic [LIMBS*LIMB-1:0] rest [LIMBS+1];                // limbs still to come, lowest first
        logic [PRODUCT-1:0]    product [LIMBS];
        logic [PRODUCT-1:0]    above [LIMBS];                 // limb k's product, and what is carried into it
        logic [BELOW-1:0]      below [LIMBS];                 // bits of the result that are done, filled from the top
        assign rest[0] = (LIMBS*LIMB)'(magnitude);
        for (genvar k = 0; k < LIMBS; k++) begin : g_limb
            always_ff @(posedge clk) begin
                if (valid[k+1]) begin
                    product[k] <= PRODUCT'(rest[k][LIMB-1:0]) * PRODUCT'(ODD);
                    rest[k+1] <= rest[k] >> LIMB;
                end
            end
            if (k == 0) begin : g_lowest
                always_ff @(posedge clk) if (valid[2]) begin
                    above[0] <= product[0];
                    below[0] <= '0;
                end
            end else begin : g_higher
                always_ff @(posedge clk) if (valid[k+2]) begin
                    above[k] <= product[k] + (above[k-1] >> LIMB);
                    below[k] <= {above[k-1][LIMB-1:0], below[k-1][BELOW-1:LIMB]};
                end
            end
        end
        assign number = OUT'({above[LIMBS-1], below[LIMBS-1]});
        wire unused = &{1'b0, rest[LIMBS], 1'b0};
    end
endmodule
`default_nettype wire

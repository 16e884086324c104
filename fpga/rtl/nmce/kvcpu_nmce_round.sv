// kvcpu_nmce_round - rounds a row's exact score to FP32 and, from the same exact value, to FP16 (R31): to nearest, ties to even.
//
// The number is shifted up in powers of two until its highest bit is set, a register behind each; what is below an FP32's last two
// places then is one bit, "there is more", and both formats are rounded from that. In FP32 a score is 0 or normal and never too large; in
// FP16 it may be subnormal, or too large, which is ∞. A row a cycle; `rounded` comes log2(WIDTH) + 3 cycles behind `row`.
`default_nettype none
module kvcpu_nmce_round
    import kvcpu_nmce_pkg::*;
#(
    parameter int unsigned WIDTH = 116,
    parameter int          UNIT = -79     // the number's last bit is worth 2^UNIT
) (
    input  wire logic             clk,
    input  wire logic             rst,
    input  wire logic             row,
    input  wire logic [WIDTH-1:0] number,
    input  wire logic             negative,
    input  wire kinds_t           kinds,
    input  wire logic             failed,

    output logic                  rounded,  // pulse
    output score_t                score,
    output logic                  rounded_failed
);
    localparam int unsigned STEPS = $clog2(WIDTH);
    localparam int unsigned STAGES = STEPS + 3;
    localparam int          TOP = int'(WIDTH) - 1 + UNIT;  // exponent of the highest bit
    typedef struct packed {
        logic   negative;
        kinds_t kinds;
        logic   failed;
    } tag_t;

    if (TOP > 127 || UNIT < -126) begin : g_check
        $error("%m: every number must be normal in FP32");
    end

    logic [STAGES:1] later;
    logic [STAGES:0] valid;
    tag_t            tag [STAGES+1];
    assign valid = {later, row};
    assign tag[0] = '{negative: negative, kinds: kinds, failed: failed};
    always_ff @(posedge clk) begin
        later <= rst ? '0 : valid[STAGES-1:0];
        tag[1:STAGES] <= tag[0:STAGES-1];
    end
    assign rounded = valid[STAGES];
    assign rounded_failed = tag[STAGES].failed;

    // ---- shift up ------------------------------------------------------------------------------------------------------------
    logic [WIDTH-1:0] shifted [STEPS+1];
    logic [STEPS-1:0] places [STEPS+1];   // so far
    assign shifted[0] = number;
    assign places[0] = '0;
    for (genvar k = 0; k < STEPS; k++) begin : g_step
        localparam int unsigned BY = 1 << (STEPS - 1 - k);
        logic empty;
        assign empty = shifted[k][WIDTH-1 -: BY] == '0;
        always_ff @(posedge clk) if (valid[k]) begin
            shifted[k+1] <= empty ? shifted[k] << BY : shifted[k];
            places[k+1] <= places[k] | (empty ? STEPS'(BY) : '0);
        end
    end

    // ---- 24 bits, the next, and whether there is more ------------------------------------------------------------------------
    logic [23:0] bits;
    logic        next, more, is_zero;
    logic [7:0]  exponent;                  // as FP32 has it
    always_ff @(posedge clk) if (valid[STEPS]) begin
        {bits, next} <= shifted[STEPS][WIDTH-1 -: 25];
        more <= shifted[STEPS][WIDTH-26:0] != '0;
        is_zero <= !shifted[STEPS][WIDTH-1];
        exponent <= 8'(TOP + 127) - 8'(places[STEPS]);
    end

    // ---- FP32; FP16 moved to where its last bit is -----------------------------------------------------------------------------
    localparam logic [7:0] BIAS = 8'd112;   // between the exponents of the formats
    logic [31:0] single;
    logic [3:0]  down;                      // places that a subnormal is moved; 13 leave nothing but `more`
    logic [24:0] moved;
    logic [10:0] half_bits;                 // ten, and the next
    logic        half_more, half_zero, half_large;
    logic [4:0]  half_exponent;
    always_comb begin
        down = '0;
        if (exponent <= BIAS) down = (exponent < BIAS - 8'd12) ? 4'd13 : 4'(BIAS + 8'd1 - exponent);
        moved = {bits[23:12], 13'd0} >> down;
    end
    always_ff @(posedge clk) if (valid[STEPS+1]) begin
        single[30:0] <= {exponent, bits[22:0]} + 31'(next && (more || bits[0]));
        single[31] <= tag[STEPS+1].negative;
        half_bits <= 11'(moved >> 13);
        half_more <= moved[12:0] != '0 || bits[11:0] != '0 || next || more;
        half_exponent <= (exponent <= BIAS) ? 5'd0 : 5'(exponent - BIAS);
        half_large <= exponent > BIAS + 8'd30;
        half_zero <= is_zero;
    end

    // ---- FP16, and what is no number ---------------------------------------------------------------------------------------------
    kinds_t      found;
    logic [14:0] half;
    logic        half_negative;
    assign found = tag[STEPS+2].kinds;
    assign half_negative = tag[STEPS+2].negative;
    assign half = {half_exponent, half_bits[10:1]} + 15'(half_bits[0] && (half_more || half_bits[1]));
    always_ff @(posedge clk) if (valid[STEPS+2]) begin
        if (found.nan || (found.plus && found.minus)) score <= NOT_A_NUMBER;
        else if (found.plus) score <= INFINITE;
        else if (found.minus) score <= BEYOND;
        else if (half_zero) score <= '0;
        else score <= '{single: single, half: {half_negative, half_large ? 15'h7C00 : half}};
    end
endmodule
`default_nettype wire

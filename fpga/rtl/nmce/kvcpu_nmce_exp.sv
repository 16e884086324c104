// kvcpu_nmce_exp - exp(-t) as FP32 (R32, D33): 2^(-t · log2 e), the integer part as exponent, the fraction by eight lines.
//
// A row a cycle, with two multiplications; `valid` comes six cycles behind `row`. What D33 says without an exponential comes the same way.
`default_nettype none
module kvcpu_nmce_exp
    import kvcpu_nmce_pkg::*;
    import kvcpu_exp_pkg::*;
(
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic        row,
    input  wire numerator_e  kind,
    input  wire logic [24:0] t,

    output logic             valid,
    output logic [31:0]      numerator
);
    localparam int unsigned STAGES = 6;
    localparam int unsigned ALONG = G_FRACTION - 3;                             // bits of how far along its line it is
    localparam int unsigned DROPPED = X_FRACTION + LOG2E_FRACTION - G_FRACTION;

    if (X_FRACTION != 18 || LOG2E_FRACTION != 17 || G_FRACTION != 20) begin : g_check
        $error("%m: the widths here are those of other constants: see scripts/gen_exp.py");
    end

    logic [STAGES:1] later;
    logic [STAGES:0] go;
    numerator_e      kinds [STAGES+1];
    assign go = {later, row};
    assign valid = go[STAGES];
    assign kinds[0] = (kind == BY_DISTANCE && t == '0) ? IS_ONE : kind;
    always_ff @(posedge clk) begin
        later <= rst ? '0 : go[STAGES-1:0];
        kinds[1:STAGES] <= kinds[0:STAGES-1];
    end

    // ---- 1 and 2: times log2 e, which is 1 and something --------------------------------------------------------------------------
    logic [41:0] multiplied;
    logic [24:0] t1;
    logic [42:0] power;
    always_ff @(posedge clk) begin
        if (go[0]) begin
            multiplied <= 42'(t) * 42'(LOG2E[LOG2E_FRACTION-1:0]);
            t1 <= t;
        end
        if (go[1]) power <= 43'(multiplied) + {1'b0, t1, LOG2E_FRACTION'(0)};
    end

    // ---- 3 to 5: the line, and down along it -----------------------------------------------------------------------------------
    logic [7:0]       octave3, octave4, octave5;
    logic [2:0]       segment;
    logic [ALONG-1:0] along3;
    logic [16:0]      slope3;
    logic [22:0]      start3, start4, value;
    logic [33:0]      fall;
    assign segment = power[DROPPED+ALONG +: 3];
    always_ff @(posedge clk) begin
        if (go[2]) begin
            octave3 <= power[42 -: 8];
            along3 <= power[DROPPED +: ALONG];
            slope3 <= line_slope(segment);
            start3 <= line_start(segment);
        end
        if (go[3]) begin
            fall <= 34'(slope3) * 34'(along3);
            start4 <= start3;
            octave4 <= octave3;
        end
        if (go[4]) begin
            value <= start4 - 23'(fall >> SLOPE_FRACTION);
            octave5 <= octave4;
        end
    end

    // ---- 6: FP32 -----------------------------------------------------------------------------------------------------------------
    logic       low;                   // below a quarter: the exponent is one less
    logic [7:0] exponent;
    assign low = !value[22];
    assign exponent = 8'd126 - octave5 - 8'(low);
    always_ff @(posedge clk) if (go[5]) begin
        case (kinds[5])
            IS_ZERO: numerator <= '0;
            IS_ONE:  numerator <= ONE;
            IS_NAN:  numerator <= NOT_A_NUMBER.single;
            default: numerator <= (octave5 > 8'd125 - 8'(low)) ? '0 : {1'b0, exponent, low ? {value[20:0], 2'd0} : {value[21:0], 1'b0}};
        endcase
    end
    wire unused = &{1'b0, power[DROPPED-1:0], kinds[STAGES], 1'b0};
endmodule
`default_nettype wire

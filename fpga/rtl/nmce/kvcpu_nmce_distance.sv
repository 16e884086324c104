// kvcpu_nmce_distance - how far a score is below the largest: |score - m|, rounded once to FP32, then cut off to t of D33.
//
// Who needs no exponential is sorted out in front, in the order of D33's table. The rest is the subtraction of two FP32 numbers that are 0
// or normal: the smaller magnitude is moved to where the larger is, three more places are enough to round by, the difference is
// moved up, rounded, and cut off. A row a cycle; `valid` comes eight cycles behind `row`.
`default_nettype none
module kvcpu_nmce_distance
    import kvcpu_nmce_pkg::*;
(
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic        row,
    input  wire logic        is_token,
    input  wire logic [31:0] score,
    input  wire logic [31:0] largest,

    output logic             valid,
    output numerator_e       kind,
    output logic [24:0]      t        // in units of 2^-18, for BY_DISTANCE
);
    localparam int unsigned STAGES = 8;
    localparam logic [7:0] FAR = 8'd134;      // exponent of 128

    logic [STAGES:1] later;
    logic [STAGES:0] go;
    assign go = {later, row};
    assign valid = go[STAGES];
    always_ff @(posedge clk) later <= rst ? '0 : go[STAGES-1:0];

    function automatic logic [23:0] significand(input logic [30:0] value);
        significand = {value[30:23] != '0, value[22:0]};
    endfunction

    // ---- 1: what needs no exponential; which is larger without its sign ------------------------------------------------------
    numerator_e  kind_of, kinds [STAGES+1];
    logic [30:0] larger, lesser;
    logic        adds;
    always_comb begin
        if (!is_token) kind_of = IS_ZERO;
        else if (score == NOT_A_NUMBER.single) kind_of = IS_NAN;
        else if (score == largest) kind_of = IS_ONE;
        else if (score[30:23] == '1 || largest[30:23] == '1) kind_of = IS_ZERO;
        else kind_of = BY_DISTANCE;
    end
    assign kinds[0] = kind_of;
    always_ff @(posedge clk) begin
        kinds[1:STAGES] <= kinds[0:STAGES-1];
        if (go[0]) begin
            {larger, lesser} <= (score[30:0] > largest[30:0]) ? {score[30:0], largest[30:0]} : {largest[30:0], score[30:0]};
            adds <= score[31] != largest[31];
        end
    end

    // ---- 2 to 4: the smaller one is moved down, then added or subtracted -------------------------------------------------------
    logic [23:0] larger2, lesser2, larger3;
    logic [4:0]  by;                          // 27 leave nothing of it but that it was not 0
    logic        adds2, adds3;
    logic [26:0] moved, moved3;
    logic        lost;
    logic [27:0] difference;
    logic [7:0]  exponent2, exponent3, exponent4;
    assign moved = {lesser2, 3'd0} >> by;
    assign lost = (moved << by) != {lesser2, 3'd0};
    always_ff @(posedge clk) begin
        if (go[1]) begin
            {larger2, lesser2} <= {significand(larger), significand(lesser)};
            by <= (larger[30:23] - lesser[30:23] > 8'd27) ? 5'd27 : 5'(larger[30:23] - lesser[30:23]);
            adds2 <= adds;
            exponent2 <= larger[30:23];
        end
        if (go[2]) begin
            moved3 <= {moved[26:1], moved[0] || lost};
            larger3 <= larger2;
            adds3 <= adds2;
            exponent3 <= exponent2;
        end
        if (go[3]) begin
            difference <= adds3 ? {1'b0, larger3, 3'd0} + 28'(moved3) : {1'b0, larger3, 3'd0} - 28'(moved3);
            exponent4 <= exponent3;
        end
    end

    // ---- 5 and 6: moved up until its highest bit is set -------------------------------------------------------------------------
    logic [27:0] coarse, normal;
    logic [1:0]  coarse_by;
    logic [2:0]  fine_by;
    logic [7:0]  exponent5, exponent6;        // less that of one whose bit 26 is the highest
    logic [27:0] upper, middle, four, two;
    always_comb begin
        coarse_by[1] = difference[27:12] == '0;
        upper = coarse_by[1] ? difference << 16 : difference;
        coarse_by[0] = upper[27:20] == '0;
        middle = coarse_by[0] ? upper << 8 : upper;
        fine_by[2] = coarse[27:24] == '0;
        four = fine_by[2] ? coarse << 4 : coarse;
        fine_by[1] = four[27:26] == '0;
        two = fine_by[1] ? four << 2 : four;
        fine_by[0] = !two[27];
    end
    always_ff @(posedge clk) begin
        if (go[4]) begin
            coarse <= middle;
            exponent5 <= exponent4 + 8'd1 - {3'd0, coarse_by, 3'd0};
        end
        if (go[5]) begin
            normal <= fine_by[0] ? two << 1 : two;
            exponent6 <= exponent5 - 8'(fine_by);
        end
    end

    // ---- 7: rounded. A carry goes into bit 24, and needs no other exponent, as a fixed-point number comes next ---------------------
    logic [24:0] rounded;
    logic [4:0]  down;                        // 25 leave nothing
    logic        far;
    always_ff @(posedge clk) if (go[6]) begin
        rounded <= 25'(normal[27:4]) + 25'(normal[3] && (normal[2:0] != '0 || normal[4]));
        far <= exponent6 >= FAR;
        down <= (exponent6 < FAR - 8'd26) ? 5'd25 : 5'(FAR - 8'd1 - exponent6);
    end

    // ---- 8: t --------------------------------------------------------------------------------------------------------------------
    logic [25:0] whole;
    logic        far8;
    assign whole = {rounded, 1'b0} >> down;
    always_ff @(posedge clk) if (go[7]) begin
        t <= whole[24:0];
        far8 <= far || whole[25];
    end
    assign kind = (kinds[STAGES] == BY_DISTANCE && far8) ? IS_ZERO : kinds[STAGES];
endmodule
`default_nettype wire

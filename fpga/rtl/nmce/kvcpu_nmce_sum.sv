// kvcpu_nmce_sum - adds up numerators in the order in which they come, each sum rounded to FP32 (R32): to nearest, ties to even.
//
// All are +0, normal and positive, or NaN, which stays, so nothing is ever cancelled. An addition takes two cycles, and so `add` comes in
// every second one at most: what is smaller is moved to where the other is, then both are added and rounded. `total` is there two
// cycles behind the last `add`.
`default_nettype none
module kvcpu_nmce_sum
    import kvcpu_nmce_pkg::*;
(
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic        clear,    // instead of an `add`, and not in the cycle behind one
    input  wire logic        add,
    input  wire logic [31:0] number,
    output logic [31:0]      total
);
    logic [30:0] sum;
    logic        nan;
    assign total = nan ? NOT_A_NUMBER.single : {1'b0, sum};

    function automatic logic [23:0] significand(input logic [30:0] value);
        significand = {value[30:23] != '0, value[22:0]};
    endfunction
    function automatic logic [4:0] places(input logic [7:0] difference);    // 27 leave nothing but that it was not 0
        places = (difference > 8'd27) ? 5'd27 : difference[4:0];
    endfunction

    // ---- moved -------------------------------------------------------------------------------------------------------------------
    logic        adding, smaller;       // smaller: by its exponent; then the sum is what is moved
    logic [26:0] still, moved;
    logic [4:0]  by;
    logic [23:0] larger;
    logic [26:0] lesser;
    logic [7:0]  exponent;
    assign smaller = sum[30:23] < number[30:23];
    assign by = smaller ? places(number[30:23] - sum[30:23]) : places(sum[30:23] - number[30:23]);
    assign still = {significand(smaller ? sum : number[30:0]), 3'd0};
    assign moved = still >> by;
    always_ff @(posedge clk) begin
        adding <= add && !rst;
        if (add) begin
            larger <= significand(smaller ? number[30:0] : sum);
            lesser <= {moved[26:1], moved[0] || (moved << by) != still};
            exponent <= smaller ? number[30:23] : sum[30:23];
        end
    end

    // ---- added and rounded ---------------------------------------------------------------------------------------------------------
    logic [27:0] both;
    logic        carry, up;
    assign both = {1'b0, larger, 3'd0} + 28'(lesser);
    assign carry = both[27];
    assign up = carry ? both[3] && (both[2:0] != '0 || both[4]) : both[2] && (both[1:0] != '0 || both[3]);
    always_ff @(posedge clk) begin
        if (clear) sum <= '0;
        else if (adding) sum <= {exponent + 8'(carry), carry ? both[26:4] : both[25:3]} + 31'(up);
        if (clear) nan <= 1'b0;
        else if (add && number == NOT_A_NUMBER.single) nan <= 1'b1;
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            every_second: assert (!(adding && (add || clear))) else $error("an addition takes two cycles");
            not_negative: assert (!(add && number[31])) else $error("what is added up is not negative");
        end
    end
`endif
endmodule
`default_nettype wire

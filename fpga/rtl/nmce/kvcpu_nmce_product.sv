// kvcpu_nmce_product - the exact product of two FP16 values as a fixed-point number: a whole number of 2^-48, and a sign.
//
// Four registers, each taken while its `advance` is high: significands and exponents; product (11 × 12 bits, which is one DSP);
// the product shifted by up to 7 places; and by multiples of 8. `kinds` comes with the first. Where a value is infinite or
// NaN the product is any number.
`default_nettype none
module kvcpu_nmce_product
    import kvcpu_nmce_pkg::*;
(
    input  wire logic         clk,
    input  wire logic [3:0]   advance,  // register k+1 takes what is in front of it
    input  wire logic [15:0]  key,
    input  wire logic [15:0]  query,
    output kinds_t            kinds,
    output logic signed [80:0] product
);
    // A value is its significand times 2^(exponent-25), where a subnormal's exponent counts as 1.
    function automatic logic [10:0] significand(input logic [14:0] value);
        significand = {value[14:10] != '0, value[9:0]};
    endfunction
    function automatic logic [5:0] places(input logic [4:0] exponent);   // less 1
        places = 6'(exponent) - 6'(exponent != '0);
    endfunction
    function automatic logic is_nan(input logic [14:0] value);
        is_nan = (value[14:10] == '1) && value[9:0] != '0;
    endfunction
    function automatic logic is_infinite(input logic [14:0] value);
        is_infinite = (value[14:10] == '1) && value[9:0] == '0;
    endfunction

    logic negative, nan, infinite;
    assign negative = key[15] ^ query[15];
    assign nan = is_nan(key[14:0]) || is_nan(query[14:0]) || (is_infinite(key[14:0]) && query[14:0] == '0)
                 || (is_infinite(query[14:0]) && key[14:0] == '0);
    assign infinite = (is_infinite(key[14:0]) || is_infinite(query[14:0])) && !nan;

    logic signed [11:0] a, b;         // b has the sign
    logic        [5:0]  shift;
    logic        [5:0]  shift2;
    logic        [5:3]  shift3;
    logic signed [22:0] multiplied;
    logic signed [29:0] shifted;
    always_ff @(posedge clk) begin
        if (advance[0]) begin
            kinds <= '{nan: nan, plus: infinite && !negative, minus: infinite && negative};
            a <= {1'b0, significand(key[14:0])};
            b <= negative ? -{1'b0, significand(query[14:0])} : {1'b0, significand(query[14:0])};
            shift <= places(key[14:10]) + places(query[14:10]);
        end
        if (advance[1]) begin
            multiplied <= 23'(a) * 23'(b);
            shift2 <= shift;
        end
        if (advance[2]) begin
            shifted <= 30'(multiplied) <<< shift2[2:0];
            shift3 <= shift2[5:3];
        end
        if (advance[3]) product <= 81'(shifted) <<< {shift3, 3'd0};
    end
endmodule
`default_nettype wire

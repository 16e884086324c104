// kvcpu_nmce_pkg - what the parts of the compute engine (kvcpu_nmce) tell each other.
`default_nettype none
package kvcpu_nmce_pkg;

    // Which of these are among a row's products (R31): they decide before its sum is looked at.
    typedef struct packed {
        logic nan;
        logic plus;   // +∞
        logic minus;  // −∞
    } kinds_t;

    typedef struct packed {
        logic [31:0] single;  // FP32 bits
        logic [15:0] half;    // FP16 bits
    } score_t;
    localparam score_t NOT_A_NUMBER = '{single: 32'h7FC0_0000, half: 16'h7E00};
    localparam score_t INFINITE     = '{single: 32'h7F80_0000, half: 16'h7C00};
    localparam score_t BEYOND       = '{single: 32'hFF80_0000, half: 16'hFC00};  // −∞: a row behind token_end
    localparam logic [31:0] ONE     = 32'h3F80_0000;

    // A job behind its stream: its rows go to that buffer.
    typedef struct packed {
        logic       buffer;
        logic [8:0] rows;        // up to token_end
        logic       numerators;
    } job_t;

    // How a row's numerator is found (D33).
    typedef enum logic [1:0] {IS_ZERO, IS_ONE, IS_NAN, BY_DISTANCE} numerator_e;

    // C = floor(2^32 / √HEAD_DIM + 1/2), for powers of two from 4 on.
    function automatic logic [31:0] scale_of(input int unsigned head_dim);
        logic [63:0] square;  // of the root without its rounding
        logic [31:0] root, more;
        square = 64'd1 << (64 - $clog2(head_dim));
        root = '0;
        for (int k = 31; k >= 0; k--) begin
            more = root | (32'd1 << k);
            if (64'(more) * 64'(more) <= square) root = more;
        end
        scale_of = (square - 64'(root) * 64'(root) > 64'(root)) ? root + 32'd1 : root;
    endfunction

    // Zero bits behind the last one of a number that is not 0.
    function automatic int unsigned zeros_behind(input logic [31:0] number);
        zeros_behind = 0;
        for (int k = 31; k >= 0; k--) if (number[k]) zeros_behind = k;
    endfunction
endpackage
`default_nettype wire

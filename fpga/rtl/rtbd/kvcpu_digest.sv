// kvcpu_digest - the DIGEST hash (R24) over the rows of a pass, LANES entries per cycle.
//
// Each entry's four words and its va go through nine add-and-xor stages (docs/digest.md gives the function); the hashes of
// all entries are added modulo 2^64. Adding makes the value independent of LANES; the index in the first word makes it
// depend on the order. `clear` empties the sum; `busy` rises in the cycle behind a `take` and falls when everything taken has been added.
`default_nettype none
module kvcpu_digest
    import kvcpu_pkg::*;
#(
    parameter int unsigned LANES = 8,
    parameter int unsigned TOKEN_BITS = 5,
    parameter int unsigned BLOCK_BYTES = 16384
) (
    input  wire logic                     clk,
    input  wire logic                     rst,
    input  wire logic                     clear,
    input  wire logic                     take,       // a row is on the inputs
    input  wire logic [31:0]              base_index, // index of lane 0
    input  wire logic [31:0]              first,      // entries with first <= index < last count
    input  wire logic [31:0]              last,
    input  wire logic [3:0][63:0]         tier_base,
    input  wire entry_key_t               key [LANES],
    input  wire entry_state_t             state [LANES],
    input  wire entry_res_t               res [LANES],
    input  wire logic [63:0]              va [LANES],
    output logic                          busy,
    output logic [63:0]                   digest
);
    localparam int unsigned STAGES = 9;
    localparam int unsigned LEVELS = $clog2(LANES);  // of the adder tree

    function automatic logic [63:0] mix(input logic [63:0] h, input int unsigned step);
        logic [63:0] x;
        case (step)
            0: begin x = h + (h << 23); mix = x ^ (x >> 29); end
            1: begin x = h + (h << 18); mix = x ^ (x >> 31); end
            2: begin x = h + (h << 27); mix = x ^ (x >> 33); end
            3: begin x = h + (h <<  9); mix = x ^ (x >> 28); end
            4: begin x = h + (h << 35); mix = x ^ (x >> 25); end
            5: begin x = h + (h << 21); mix = x ^ (x >> 37); end
            6: begin x = h + (h << 13); mix = x ^ (x >> 32); end
            7: begin x = h + (h << 30); mix = x ^ (x >> 27); end
            default: begin x = h + (h << 11); mix = x ^ (x >> 36); end
        endcase
    endfunction

    logic                   taken;      // a row sits in the input registers
    logic [STAGES+LEVELS:0] pending;    // a row sits before mixing stage k, or behind them before level k - STAGES of the sum
    logic [LANES-1:0][63:0] hash_out;   // zero for entries that do not count

    always_ff @(posedge clk) begin
        if (rst) begin
            taken <= 1'b0;
            pending <= '0;
        end else begin
            taken <= take;
            pending <= {pending[STAGES+LEVELS-1:0], taken};
        end
    end

    for (genvar l = 0; l < LANES; l++) begin : g_lane
        logic [31:0]  index;
        logic [255:0] bits;
        entry_key_t   entry_key;
        entry_state_t entry_state;
        entry_res_t   entry_res;
        logic [63:0]  entry_va;
        always_ff @(posedge clk) begin
            if (take) begin
                index <= base_index + 32'(l);
                entry_key <= key[l];
                entry_state <= state[l];
                entry_res <= res[l];
                entry_va <= va[l];
            end
        end
        assign bits = taken ? entry_bits(entry_key, entry_state, entry_res,
                                         tier_base[entry_res.tier] + 64'(index) * 64'(BLOCK_BYTES), TOKEN_BITS) : '0;

        // What sits before mixing stage k: the hash so far, and the words that stages k and later still need.
        for (genvar k = 0; k <= STAGES; k++) begin : g_stage
            logic        counts;
            logic [63:0] h;
            for (genvar j = k; j < 5; j++) begin : g_word
                logic [63:0] word;
                if (k == 0) begin : g_entry
                    always_ff @(posedge clk) if (taken) word <= (j < 4) ? bits[64*(j % 4) +: 64] : entry_va;
                end else begin : g_later
                    always_ff @(posedge clk) if (pending[k-1]) word <= g_stage[k-1].g_word[j].word;
                end
            end
            if (k == 0) begin : g_first
                always_ff @(posedge clk) begin
                    if (taken) begin
                        counts <= entry_state.valid && index >= first && index < last;
                        h <= {index, 32'd0} ^ 64'h9E3779B97F4A7C15;
                    end
                end
            end else begin : g_mix
                logic [63:0] mixed;
                if (k <= 5) begin : g_in
                    assign mixed = g_stage[k-1].h ^ g_stage[k-1].g_word[k-1].word;
                end else begin : g_final
                    assign mixed = g_stage[k-1].h;
                end
                always_ff @(posedge clk) begin
                    if (pending[k-1]) begin
                        counts <= g_stage[k-1].counts;
                        h <= mix(mixed, k - 1);
                    end
                end
            end
        end
        assign hash_out[l] = g_stage[STAGES].counts ? g_stage[STAGES].h : 64'd0;
    end

    // Adder tree, two lanes a level, one register a level.
    for (genvar v = 0; v <= LEVELS; v++) begin : g_level
        for (genvar l = 0; l < (LANES >> v); l++) begin : g_sum
            logic [63:0] sum;
            if (v == 0) begin : g_leaf
                assign sum = hash_out[l];
            end else begin : g_node
                always_ff @(posedge clk)
                    if (pending[STAGES+v-1]) sum <= g_level[v-1].g_sum[2*l].sum + g_level[v-1].g_sum[2*l+1].sum;
            end
        end
    end

    always_ff @(posedge clk) begin
        if (rst || clear) digest <= 64'd0;
        else if (pending[STAGES+LEVELS]) digest <= digest + g_level[LEVELS].g_sum[0].sum;
    end

    assign busy = taken || pending != '0;

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            one_sum: assert (!(clear && busy)) else $error("a sum begins when the one before is complete");
        end
    end
`endif
endmodule
`default_nettype wire

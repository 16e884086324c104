// kvcpu_digest - the DIGEST hash (R24) over the rows of a pass, LANES entries per cycle.
//
// Each entry's four words and its va go through nine add-and-xor stages (docs/digest.md gives the function); the hashes of
// all entries are added modulo 2^64. Adding makes the value independent of LANES; the index in the first word makes it
// depend on the order. `clear` empties the sum, `busy` falls when everything taken has been added.
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
    input  wire entry_key_t   [LANES-1:0] key,
    input  wire entry_state_t [LANES-1:0] state,
    input  wire entry_res_t   [LANES-1:0] res,
    input  wire logic [LANES-1:0][63:0]   va,
    output logic                          busy,
    output logic [63:0]                   digest
);
    localparam int unsigned STAGES = 9;

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

    logic [STAGES:0]        pending;    // a row sits before mixing stage k
    logic [LANES-1:0][63:0] hash_out;   // zero for entries that do not count

    always_ff @(posedge clk) begin
        if (rst) pending <= '0;
        else pending <= {pending[STAGES-1:0], take};
    end

    for (genvar l = 0; l < LANES; l++) begin : g_lane
        logic [STAGES:0]       counts;
        logic [STAGES:0][63:0] h;
        // Words still to come at each of the first five stages, the next one lowest.
        logic [4:0][63:0]      words0;
        logic [3:0][63:0]      words1;
        logic [2:0][63:0]      words2;
        logic [1:0][63:0]      words3;
        logic [63:0]           words4;

        always_ff @(posedge clk) begin
            if (take) begin : words
                automatic logic [31:0] index;
                index = base_index + 32'(l);
                counts[0] <= state[l].valid && index >= first && index < last;
                h[0] <= {index, 32'd0} ^ 64'h9E3779B97F4A7C15;
                words0 <= {va[l], entry_bits(key[l], state[l], res[l],
                                             tier_base[res[l].tier] + 64'(index) * 64'(BLOCK_BYTES), TOKEN_BITS)};
            end
            if (pending[0]) begin
                h[1] <= mix(h[0] ^ words0[0], 0);
                words1 <= words0[4:1];
            end
            if (pending[1]) begin
                h[2] <= mix(h[1] ^ words1[0], 1);
                words2 <= words1[3:1];
            end
            if (pending[2]) begin
                h[3] <= mix(h[2] ^ words2[0], 2);
                words3 <= words2[2:1];
            end
            if (pending[3]) begin
                h[4] <= mix(h[3] ^ words3[0], 3);
                words4 <= words3[1];
            end
            if (pending[4]) h[5] <= mix(h[4] ^ words4, 4);
            for (int unsigned k = 0; k < STAGES; k++) begin
                if (pending[k]) begin
                    counts[k+1] <= counts[k];
                    if (k > 4) h[k+1] <= mix(h[k], k);
                end
            end
        end
        assign hash_out[l] = counts[STAGES] ? h[STAGES] : 64'd0;
    end

    // Adder tree, two lanes a level, one register a level.
    localparam int unsigned LEVELS = $clog2(LANES);
    logic [LEVELS:0] tree_pending;
    logic [LEVELS:0][LANES-1:0][63:0] tree;

    assign tree_pending[0] = pending[STAGES];
    assign tree[0] = hash_out;
    for (genvar v = 0; v < LEVELS; v++) begin : g_level
        always_ff @(posedge clk) begin
            if (rst) tree_pending[v+1] <= 1'b0;
            else tree_pending[v+1] <= tree_pending[v];
            if (tree_pending[v]) begin
                tree[v+1] <= '0;
                for (int l = 0; l < (LANES >> (v + 1)); l++) tree[v+1][l] <= tree[v][2*l] + tree[v][2*l+1];
            end
        end
    end

    always_ff @(posedge clk) begin
        if (rst || clear) digest <= 64'd0;
        else if (tree_pending[LEVELS]) digest <= digest + tree[LEVELS][0];
    end

    assign busy = take || pending != '0 || tree_pending != '0;
endmodule
`default_nettype wire

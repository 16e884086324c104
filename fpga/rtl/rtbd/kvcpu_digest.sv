// kvcpu_digest - the hash of R24 over the rows of a pass, LANES entries per cycle, for DIGEST and, as a STEP goes by, for PASS_DIGEST (R25).
//
// Each entry's four words and its va go through nine add-and-xor stages (docs/digest.md gives the function); the hashes of
// all entries are added modulo 2^64. Adding makes the value independent of LANES; the index in the first word makes it
// depend on the order. `start` begins a sum, in the cycle before the first row or earlier; `busy` rises in the cycle behind a `start`
// or `take` and falls when everything taken has been added. Nothing waits for the rows of a STEP: the next pass may start while they
// are on their way, so that a sum begins at the end of the stages, behind the last row of the sum before.
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
    input  wire logic                     start,
    input  wire logic                     start_step, // with start: the sum is PASS_DIGEST, not DIGEST
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
    output logic [63:0]                   digest,
    output logic [63:0]                   pass_digest
);
    localparam int unsigned WORDS = 5;                 // the entry's four and its va, one more in each of the first stages
    localparam int unsigned STAGES = 9;
    localparam int unsigned LEVELS = $clog2(LANES);    // of the adder tree
    localparam int unsigned DEPTH = STAGES + LEVELS;
    localparam int unsigned LEFT [STAGES] = '{23, 18, 27, 9, 35, 21, 13, 30, 11};
    localparam int unsigned RIGHT [STAGES] = '{29, 31, 33, 28, 25, 37, 32, 27, 36};

    // ---- what is where: before mixing stage k, or behind them before level k - STAGES of the sum ---------------------------
    logic           taken;          // a row sits in the input registers
    logic           started, started_step;
    logic [DEPTH:0] row;
    logic [DEPTH:0] begins, of_step; // a sum begins; with that: PASS_DIGEST

    always_ff @(posedge clk) begin
        {taken, started, started_step} <= {take, start, start_step};
        row <= {row[DEPTH-1:0], taken};
        begins <= {begins[DEPTH-1:0], started};
        of_step <= {of_step[DEPTH-1:0], started_step};
        busy <= start || take || started || taken || begins[DEPTH-1:0] != '0 || row[DEPTH-1:0] != '0;  // a register: reads wait for it
        if (rst) begin
            {taken, started, busy} <= '0;
            row <= '0;
            begins <= '0;
        end
    end

    // ---- the words of a row ----------------------------------------------------------------------------------------------
    // All lanes at once, in arrays that are assigned whole: a simulator makes vector instructions of that.
    logic [31:0]  index_in [LANES], index [LANES];
    entry_key_t   entry_key [LANES];
    entry_state_t entry_state [LANES];
    entry_res_t   entry_res [LANES];
    logic [63:0]  entry_va [LANES];
    logic [63:0]  base [4], phys [LANES], seed [LANES];

    always_comb begin
        for (int k = 0; k < 4; k++) base[k] = tier_base[k];
        for (int l = 0; l < LANES; l++) index_in[l] = base_index + l;
        for (int l = 0; l < LANES; l++) begin
            phys[l] = base[entry_res[l].tier] + 64'(index[l]) * 64'(BLOCK_BYTES);
            seed[l] = {index[l], 32'd0} ^ 64'h9E3779B97F4A7C15;
        end
    end

    always_ff @(posedge clk) begin
        if (take) begin
            index <= index_in;
            entry_key <= key;
            entry_state <= state;
            entry_res <= res;
            entry_va <= va;
        end
    end

    // ---- mixing: a word a stage as long as there are some ------------------------------------------------------------------
    for (genvar k = 0; k <= STAGES; k++) begin : g_stage
        logic [LANES-1:0] counts;
        logic [63:0]      h [LANES];
        for (genvar j = k; j < WORDS; j++) begin : g_word  // those that this stage and later ones still need
            logic [63:0] word [LANES];
            if (k > 0) begin : g_later
                always_ff @(posedge clk) if (row[k-1]) word <= g_stage[k-1].g_word[j].word;
            end else if (j == WORDS - 1) begin : g_va
                always_ff @(posedge clk) if (taken) word <= entry_va;
            end else begin : g_entry
                logic [63:0] fresh [LANES];
                always_comb
                    for (int l = 0; l < LANES; l++)
                        fresh[l] = entry_word(j, entry_key[l], entry_state[l], entry_res[l], phys[l], TOKEN_BITS);
                always_ff @(posedge clk) if (taken) word <= fresh;
            end
        end

        if (k == 0) begin : g_first
            always_ff @(posedge clk) begin
                if (taken) begin
                    for (int l = 0; l < LANES; l++) counts[l] <= entry_state[l].valid && index[l] >= first && index[l] < last;
                    h <= seed;
                end
            end
        end else begin : g_mix
            logic [63:0] fed [LANES], added [LANES], mixed [LANES];
            if (k <= WORDS) begin : g_in
                always_comb for (int l = 0; l < LANES; l++) fed[l] = g_stage[k-1].h[l] ^ g_stage[k-1].g_word[k-1].word[l];
            end else begin : g_final
                always_comb fed = g_stage[k-1].h;
            end
            always_comb begin
                for (int l = 0; l < LANES; l++) added[l] = fed[l] + (fed[l] << LEFT[k-1]);
                for (int l = 0; l < LANES; l++) mixed[l] = added[l] ^ (added[l] >> RIGHT[k-1]);
            end
            always_ff @(posedge clk) begin
                if (row[k-1]) begin
                    h <= mixed;
                    counts <= g_stage[k-1].counts;
                end
            end
        end
    end

    // ---- the sum: two lanes a level, one register a level ----------------------------------------------------------------------
    for (genvar v = 0; v <= LEVELS; v++) begin : g_level
        logic [63:0] sum [LANES >> v];
        if (v == 0) begin : g_leaf
            always_comb for (int l = 0; l < LANES; l++) sum[l] = g_stage[STAGES].counts[l] ? g_stage[STAGES].h[l] : 64'd0;
        end else begin : g_node
            logic [63:0] added [LANES >> v];
            always_comb for (int l = 0; l < (LANES >> v); l++) added[l] = g_level[v-1].sum[2*l] + g_level[v-1].sum[2*l+1];
            always_ff @(posedge clk) if (row[STAGES+v-1]) sum <= added;
        end
    end

    logic to_step;  // the sum that grows is PASS_DIGEST
    always_ff @(posedge clk) begin
        if (begins[DEPTH]) begin
            to_step <= of_step[DEPTH];
            if (of_step[DEPTH]) pass_digest <= 64'd0;
            else digest <= 64'd0;
        end
        if (row[DEPTH]) begin
            if (to_step) pass_digest <= pass_digest + g_level[LEVELS].sum[0];
            else digest <= digest + g_level[LEVELS].sum[0];
        end
        if (rst) begin
            digest <= 64'd0;
            pass_digest <= 64'd0;
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            in_turn: assert (!(begins[DEPTH] && row[DEPTH])) else $error("a sum begins before its first row and behind all others");
        end
    end
`endif
endmodule
`default_nettype wire

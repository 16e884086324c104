// kvcpu_free_map - which entries are in use, and the lowest index that is not (R11).
//
// One bit per entry in block RAM, 64 to a word, and one "full" flag per word in registers. The lowest word that is not full
// is kept at hand, so `free_index` is ready again three cycles after `take`, or a few cycles later when a word fills up.
// UNLOAD frees entries only in a pass that visits every used row, so the map is not edited but written anew during that
// pass (`rebuild_*`, ascending rows, `rebuild_end` behind the last); words behind the used rows count as empty without
// being read, which is also why nothing needs clearing at reset.
`default_nettype none
module kvcpu_free_map #(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned LANES = 8,
    localparam int unsigned IW = $clog2(ENTRIES),
    localparam int unsigned RW = $clog2(ENTRIES / LANES)
) (
    input  wire logic             clk,
    input  wire logic             rst,
    output logic                  ready,       // free_index and any_free are valid
    output logic                  any_free,
    output logic [IW-1:0]         free_index,
    input  wire logic             take,        // use free_index; only while ready and any_free
    input  wire logic             rebuild_start,
    input  wire logic             rebuild_valid,
    input  wire logic [RW-1:0]    rebuild_row,
    input  wire logic [LANES-1:0] rebuild_used,
    input  wire logic             rebuild_end
);
    localparam int unsigned WORDS = ENTRIES / 64;
    localparam int unsigned WW = (WORDS > 1) ? $clog2(WORDS) : 1;
    localparam int unsigned ROWS_PER_WORD = 64 / LANES;
    localparam int unsigned PW = $clog2(ROWS_PER_WORD);

    typedef enum logic [3:0] {HOLD, TAKEN, SCAN, SELECT, READ, LOAD, LOADED, PICK, REBUILD, FLUSH} phase_e;
    phase_e phase;

    logic [WORDS-1:0] full;
    logic [WORDS-1:0] written;      // the word in RAM means something
    logic [WW-1:0]    current;
    logic [63:0]      bits;         // of word `current`
    logic [63:0]      ram_q;
    logic             we;
    logic [WW-1:0]    waddr;
    logic [63:0]      wdata;

    // The lowest word that is not full, in two steps: a group of 32, then a word in it.
    localparam int unsigned GROUPS = (WORDS + 31) / 32;
    localparam int unsigned GW = (GROUPS > 1) ? $clog2(GROUPS) : 1;
    logic [GROUPS*32-1:0] padded;
    logic [GW-1:0]        group, group_pick;
    logic [31:0]          group_bits;
    logic [4:0]           word_pick;
    logic                 none;

    always_comb begin
        padded = '1;
        padded[WORDS-1:0] = full;
        group_pick = '0;
        for (int g = GROUPS - 1; g >= 0; g--) if (padded[32*g +: 32] != '1) group_pick = GW'(g);
        word_pick = '0;
        for (int b = 31; b >= 0; b--) if (!group_bits[b]) word_pick = 5'(b);
    end

    // The lowest bit of `bits` that is clear, in two steps as well: in each byte (TAKEN, LOADED), then of the bytes (PICK).
    logic [5:0]      bit_pick, lowest;
    logic [7:0]      byte_full;
    logic [7:0][2:0] byte_pick;
    always_ff @(posedge clk) begin
        for (int k = 0; k < 8; k++) begin
            byte_full[k] <= (bits[8*k +: 8] == '1);
            for (int b = 7; b >= 0; b--) if (!bits[8*k + b]) byte_pick[k] <= 3'(b);
        end
    end
    always_comb begin
        lowest = '0;
        for (int k = 7; k >= 0; k--) if (!byte_full[k]) lowest = {3'(k), byte_pick[k]};
    end

    assign ready = (phase == HOLD);
    assign any_free = !none;
    assign free_index = {current, bit_pick};

    logic [63:0] taken;
    assign taken = bits | (64'd1 << bit_pick);

    // Rebuild: gather rows into words.
    logic [63:0]   gather;
    logic [WW-1:0] gather_word;
    logic          gather_any;
    logic          gathered;    // `gather` is new
    logic [63:0]   gather_next;
    logic [WW-1:0] row_word;
    assign row_word = WW'(rebuild_row >> PW);
    always_comb begin
        gather_next = (gather_any && gather_word == row_word) ? gather : 64'd0;
        for (int l = 0; l < LANES; l++)
            gather_next[(32'(rebuild_row) % ROWS_PER_WORD) * LANES + l] = rebuild_used[l];
    end

    always_comb begin
        we = 1'b0;
        waddr = current;
        wdata = taken;
        if (phase == HOLD && take) we = 1'b1;
        if (phase == REBUILD && rebuild_valid) begin
            we = 1'b1;
            waddr = row_word;
            wdata = gather_next;
        end
    end

    kvcpu_ram #(.WIDTH(64), .DEPTH(WORDS)) u_ram (
        .clk, .we, .waddr, .wdata, .ren(phase == READ), .raddr(current), .rdata(ram_q)
    );

    always_ff @(posedge clk) begin
        if (rst) begin
            phase <= SCAN;
            full <= '0;
            written <= '0;
            none <= 1'b0;
            gather_any <= 1'b0;
            gathered <= 1'b0;
        end else begin
            gathered <= (phase == REBUILD) && rebuild_valid;
            if (gathered) full[gather_word] <= (gather == '1);
            case (phase)
                HOLD: begin
                    if (rebuild_start) begin
                        phase <= REBUILD;
                        full <= '0;
                        written <= '0;
                        gather_any <= 1'b0;
                    end else if (take) begin
                        bits <= taken;
                        written[current] <= 1'b1;
                        phase <= TAKEN;
                    end
                end
                TAKEN: begin
                    phase <= PICK;
                    if (bits == '1) begin
                        full[current] <= 1'b1;
                        phase <= SCAN;
                    end
                end
                SCAN: begin
                    group <= group_pick;
                    group_bits <= padded[32*group_pick +: 32];
                    phase <= SELECT;
                end
                SELECT: begin
                    none <= (group_bits == '1);
                    current <= WW'({group, word_pick});
                    phase <= READ;
                end
                READ: phase <= LOAD;
                LOAD: begin
                    bits <= written[current] ? ram_q : 64'd0;
                    phase <= LOADED;
                end
                LOADED: phase <= PICK;
                PICK: begin
                    bit_pick <= lowest;
                    phase <= HOLD;
                end
                REBUILD: begin
                    if (rebuild_valid) begin
                        gather <= gather_next;
                        gather_word <= row_word;
                        gather_any <= 1'b1;
                        written[row_word] <= 1'b1;
                    end
                    if (rebuild_end) phase <= FLUSH;
                end
                default: phase <= SCAN;
            endcase
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            take_ready: assert (!(take && !(ready && any_free))) else $error("an index is taken while one is ready");
            index_free: assert (!(ready && any_free && bits[bit_pick])) else $error("the index at hand is free");
            rebuild_in_order: assert (!(rebuild_valid && phase != REBUILD))
                else $error("rows come between the start and the end of a rebuild");
            rows_ascend: assert (!(rebuild_valid && gather_any && row_word < gather_word))
                else $error("rows come in ascending order");
        end
    end
`endif
endmodule
`default_nettype wire

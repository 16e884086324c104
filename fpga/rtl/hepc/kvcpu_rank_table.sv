// kvcpu_rank_table - PTABLE: the rank that a class of blocks has at an age (R43 to R45), looked up for all lanes of a row.
//
// Two banks of CLASSES × 64 codes, 8 bits each, four a word. The lanes read the bank in force, the host writes and reads the other,
// `commit` swaps them. Every lane has a copy of its own, and so has the host. After reset the table clears itself, a word a cycle.
//
// It goes with the lanes: `from1`, `ahead1` and `label1` are what stage 1 of kvcpu_score_lanes left. Stage 2 makes the distance, stage 3
// the bucket, by which the table is read; `code` is there for stage 4.
`default_nettype none
module kvcpu_rank_table
    import kvcpu_pkg::*;
#(
    parameter int unsigned LANES = 8,
    parameter int unsigned CLASSES = 256,
    localparam int unsigned CW = $clog2(CLASSES),
    localparam int unsigned AW = CW + 4    // of a word in a bank
) (
    input  wire logic          clk,
    input  wire logic          rst,
    output logic               clearing,
    input  wire logic          commit,
    output logic               bank,          // in force

    input  wire logic          host_write,
    input  wire logic [AW-1:0] host_waddr,
    input  wire logic [31:0]   host_wdata,
    input  wire logic          host_read,
    input  wire logic [AW-1:0] host_raddr,
    output logic [31:0]        host_rdata,    // a cycle later

    input  wire logic          wanted,        // a row of a ranked pass may be on its way
    input  wire logic          advance,
    input  wire logic [2:1]    stage,         // stage k+1 takes a row
    input  wire logic [31:0]   t,             // constant during a pass
    input  wire logic [31:0]   from1 [LANES], // where the distance to t is counted from
    input  wire logic [LANES-1:0] ahead1,
    input  wire logic [15:0]   label1 [LANES],
    output logic [7:0]         code [LANES]
);
    logic [AW+1:0] cleared;
    assign clearing = !cleared[AW+1];
    always_ff @(posedge clk) begin
        if (rst) cleared <= '0;
        else if (clearing) cleared <= cleared + 1'b1;
    end
    always_ff @(posedge clk) begin
        if (rst) bank <= 1'b0;
        else if (commit) bank <= !bank;
    end

    // ---- age buckets (R43) -----------------------------------------------------------------------------------------------
    // a = 1 + |t - from|, of which only the three highest bits count: (t + 1) - from, or from - (t - 1). From 2^17 on all ages are in the
    // last bucket.
    logic [32:0] behind_t, before_t;
    always_ff @(posedge clk) begin
        behind_t <= {1'b0, t} + 33'd1;
        before_t <= {1'b0, t} - 33'd1;
    end

    // The bucket is {l - 1, the two bits below the highest} less one, or a less one where that is below 4.
    // That is subtracted bit by bit, as a carry chain on the way to a memory's address would lie far from both.
    function automatic logic [5:0] bucket_of(input logic far, input logic [16:0] a);
        logic [5:0] next, less;
        next = {4'd0, a[1:0]};
        for (int k = 2; k < 17; k++) if (a[k]) next = {4'(k - 1), a[k-1 -: 2]};
        for (int k = 0; k < 6; k++) less[k] = next[k] ^ ((next & ((6'd1 << k) - 6'd1)) == '0);
        bucket_of = far ? 6'd63 : less;
    endfunction

    logic [32:0]      a1 [LANES];
    logic [16:0]      a2 [LANES];
    logic [LANES-1:0] far2;
    logic [CW-1:0]    cls2 [LANES];
    logic [5:0]       bucket [LANES];
    logic [1:0]       byte3 [LANES];

    always_comb begin
        a1 = '{default: '0};
        if (wanted) for (int l = 0; l < LANES; l++)
            a1[l] = ahead1[l] ? {1'b0, from1[l]} - before_t : behind_t - {1'b0, from1[l]};
    end
    always_ff @(posedge clk) begin
        if (advance && stage[1]) begin
            for (int l = 0; l < LANES; l++) a2[l] <= a1[l][16:0];
            for (int l = 0; l < LANES; l++) far2[l] <= (a1[l][32:17] != '0);
            for (int l = 0; l < LANES; l++) cls2[l] <= label1[l][CW-1:0];
        end
    end
    always_comb begin
        bucket = '{default: '0};
        if (wanted) for (int l = 0; l < LANES; l++) bucket[l] = bucket_of(far2[l], a2[l]);
    end

    // ---- memories --------------------------------------------------------------------------------------------------------
    logic          we;
    logic [AW:0]   waddr;
    logic [31:0]   wdata, word3 [LANES];

    assign we = clearing || host_write;
    assign waddr = clearing ? cleared[AW:0] : {!bank, host_waddr};
    assign wdata = clearing ? '0 : host_wdata;

    for (genvar l = 0; l < LANES; l++) begin : g_lane
        kvcpu_ram #(.WIDTH(32), .DEPTH(2 * CLASSES * 16)) u_table (
            .clk, .we, .waddr, .wdata, .ren(advance && stage[2]), .raddr({bank, cls2[l], bucket[l][5:2]}), .rdata(word3[l])
        );
        assign code[l] = word3[l][8 * byte3[l] +: 8];
    end
    always_ff @(posedge clk) if (advance && stage[2]) for (int l = 0; l < LANES; l++) byte3[l] <= bucket[l][1:0];

    kvcpu_ram #(.WIDTH(32), .DEPTH(2 * CLASSES * 16)) u_shown (
        .clk, .we, .waddr, .wdata, .ren(host_read), .raddr({!bank, host_raddr}), .rdata(host_rdata)
    );
endmodule
`default_nettype wire

// kvcpu_contest - who stays in tier 1 in ranked mode (R46, D31): finds θ with two histograms, and says of every block whether it wins.
//
// The first pass of a STEP counts its pool by the high byte of the rank, the second those whose high byte is that of θ by the low
// one. `scan` goes through the bins from the highest down until `capacity` blocks are counted: there is θ. In the passes behind
// those, `wins` says whether a block stays: it is above θ, or at θ while places are left, in index order.
//
// Every lane counts in a memory of its own, a row a cycle; the scan adds them up. A bin belongs to the count whose number it carries,
// so that none has to be cleared when a count begins. Each count wipes one bin, so that none is older than 256 counts, and a
// number comes again after 512.
`default_nettype none
module kvcpu_contest
    import kvcpu_pkg::*;
#(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned LANES = 8,
    localparam int unsigned CW = $clog2(ENTRIES / LANES) + 1  // of a lane's count
) (
    input  wire logic             clk,
    input  wire logic             rst,
    output logic                  clearing,
    input  wire logic [16:0]      capacity,      // C

    // counting: rows as the last stage of the lanes leaves them
    input  wire logic             begin_step,    // pulse in front of the first pass
    input  wire logic             begin_low,     // … and of the second
    input  wire logic             take,
    input  wire logic [LANES-1:0] pool,
    input  wire logic [LANES-1:0] outside,       // in the pool and not in tier 1
    input  wire logic [15:0]      rank [LANES],
    output logic [16:0]           pool_count,
    output logic [16:0]           outside_count,

    // θ
    input  wire logic             scan,          // pulse, behind a pass that counted
    output logic                  found,         // pulse
    output logic [15:0]           theta,         // 0 until it has been looked for

    // winning: rows as stage 1 of the lanes leaves them
    input  wire logic             choosing,      // such a pass may be going on
    input  wire logic             begin_choice,  // pulse in front of a pass that chooses
    input  wire logic             advance,
    input  wire logic [3:1]       stage,         // stage k+1 takes a row
    input  wire logic [LANES-1:0] pool1,
    input  wire logic [15:0]      rank1 [LANES],
    output logic [LANES-1:0]      wins           // of the row that stage 5 takes
);
    localparam int unsigned GEN_BITS = 9;
    typedef logic [LANES-1:0] flags_t;
    typedef struct packed {
        logic [GEN_BITS-1:0] number;
        logic [CW-1:0]       count;
    } bin_t;

    // ---- which count it is -----------------------------------------------------------------------------------------------
    logic [GEN_BITS-1:0] number;
    logic                low;      // the second of a STEP
    logic                begins, wipe;
    logic [8:0]          cleared;  // bins, after reset
    assign begins = begin_step || begin_low;
    assign clearing = !cleared[8];
    always_ff @(posedge clk) begin
        wipe <= begins;
        if (begins) begin
            number <= number + 1'b1;
            low <= begin_low;
        end
        if (clearing) cleared <= cleared + 9'd1;
        if (rst) begin
            number <= '0;
            cleared <= '0;
            wipe <= 1'b0;
        end
    end

    // ---- counting: the bin is read in one cycle, rests in a register, as a memory's data come late, and is written in the third ----
    logic       reads;                // a scan's read of a bin, instead of a row's
    logic [7:0] scanned;
    flags_t     counts, counts_1, counts_2;   // the row whose bins are read; a cycle on; being written
    flags_t     again_1, again_2;             // the same bin as in the cycle before, which was not written yet
    flags_t     twice_1, twice_2;             // as in that before, which was only being written
    logic [7:0] where [LANES], where_1 [LANES], where_2 [LANES];
    bin_t       stored [LANES], made [LANES];
    flags_t     of_this;                      // what was got is of this count
    logic [CW-1:0] got [LANES];
    logic [CW-1:0] held [LANES], last [LANES], last_but_one [LANES];  // what a bin of this count holds; held in the cycles before

    always_comb begin
        counts = '0;
        where = '{default: scanned};
        if (take) for (int l = 0; l < LANES; l++) begin
            counts[l] = pool[l] && (!low || rank[l][15:8] == theta[15:8]);
            where[l] = low ? rank[l][7:0] : rank[l][15:8];
        end
        held = '{default: '0};
        if (counts_2 != '0) for (int l = 0; l < LANES; l++)
            held[l] = again_2[l] ? last[l] : twice_2[l] ? last_but_one[l] : of_this[l] ? got[l] : '0;
        for (int l = 0; l < LANES; l++) made[l] = '{number: number, count: held[l] + CW'(counts_2[l])};
    end
    always_ff @(posedge clk) begin
        {counts_2, counts_1} <= rst ? '0 : {counts_1, counts};
        for (int l = 0; l < LANES; l++) again_1[l] <= counts_1[l] && where_1[l] == where[l];
        for (int l = 0; l < LANES; l++) twice_1[l] <= counts_2[l] && where_2[l] == where[l];
        {again_2, twice_2} <= {again_1, twice_1};
        if (take) where_1 <= where;
        if (counts_1 != '0) where_2 <= where_1;
        for (int l = 0; l < LANES; l++) got[l] <= stored[l].count;
        for (int l = 0; l < LANES; l++) of_this[l] <= (stored[l].number == number);
        for (int l = 0; l < LANES; l++) last[l] <= made[l].count;
        last_but_one <= last;
    end
    for (genvar l = 0; l < LANES; l++) begin : g_lane
        logic       we;
        logic [7:0] waddr;
        assign we = clearing || wipe || counts_2[l];
        assign waddr = clearing ? cleared[7:0] : wipe ? number[7:0] : where_2[l];
        kvcpu_ram #(.WIDTH($bits(bin_t)), .DEPTH(256)) u_bins (
            .clk, .we, .waddr, .wdata(made[l]), .ren(reads || counts[l]), .raddr(where[l]), .rdata(stored[l])
        );
    end

    logic [4:0] pool_more, outside_more;
    always_ff @(posedge clk) begin
        pool_more <= (take && !low) ? 5'($countones(pool)) : 5'd0;
        outside_more <= (take && !low) ? 5'($countones(outside)) : 5'd0;
        if (rst) {pool_more, outside_more} <= '0;
        if (rst || begin_step) begin
            pool_count <= '0;
            outside_count <= '0;
        end else begin
            pool_count <= pool_count + 17'(pool_more);
            outside_count <= outside_count + 17'(outside_more);
        end
    end

    // ---- scan: a bin is read, its lanes are added, and the sum is compared with the places that higher bins left --------------
    logic        read_1, read_2, sums;  // the bin that was read is on `stored`, on `got`; its sum is on `sum`
    logic [7:0]  scanned_1, scanned_2, scanned_3;
    logic [16:0] sum, room;           // room: the capacity without the blocks in higher bins
    logic        enough;
    assign enough = sums && !1'(({1'b0, sum} - {1'b0, room}) >> 17);  // sum >= room, as the sign of one chain

    always_ff @(posedge clk) begin
        if (scan) begin
            reads <= 1'b1;
            scanned <= '1;
        end else if (reads) begin
            reads <= !enough && scanned != '0;
            scanned <= scanned - 8'd1;
        end
        read_1 <= reads && !enough;
        scanned_1 <= scanned;
        read_2 <= read_1 && !enough;
        scanned_2 <= scanned_1;
        sums <= read_2 && !enough;
        scanned_3 <= scanned_2;
        begin
            logic [16:0] all;
            all = '0;
            for (int l = 0; l < LANES; l++) all = all + (of_this[l] ? 17'(got[l]) : 17'd0);
            sum <= all;
        end
        if (begin_step) begin
            room <= capacity;
            theta <= '0;
        end else if (enough) begin
            if (low) theta[7:0] <= scanned_3;
            else theta[15:8] <= scanned_3;
        end else if (sums) begin
            room <= room - sum;
        end
        found <= enough;
        if (rst) begin
            reads <= 1'b0;
            read_1 <= 1'b0;
            read_2 <= 1'b0;
            sums <= 1'b0;
            found <= 1'b0;
        end
    end

    // ---- winners -----------------------------------------------------------------------------------------------------------
    // Where all of the pool win, θ is 0 and there are places for all of them.
    flags_t      above1, equal1, above2, equal2, above3, equal3, wins3;
    logic [4:0]  before3 [LANES], total3;  // blocks at θ in lanes below; in the row
    logic [16:0] left;                     // places for blocks at θ
    always_comb begin
        {above1, equal1, wins3} = '0;
        if (choosing) for (int l = 0; l < LANES; l++) begin
            above1[l] = (rank1[l] > theta);
            equal1[l] = pool1[l] && (rank1[l] == theta);
            wins3[l] = above3[l] || (equal3[l] && 17'(before3[l]) < left);
        end
    end
    always_ff @(posedge clk) begin
        if (advance && stage[1]) begin
            above2 <= above1;
            equal2 <= equal1;
        end
        if (advance && stage[2]) begin
            above3 <= above2;
            equal3 <= equal2;
            for (int l = 0; l < LANES; l++) before3[l] <= 5'($countones(equal2 & ((flags_t'(1) << l) - flags_t'(1))));
            total3 <= 5'($countones(equal2));
        end
        if (begin_choice) left <= room;
        else if (advance && stage[3]) left <= (left < 17'(total3)) ? '0 : left - 17'(total3);
        if (advance && stage[3]) wins <= wins3;
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            scan_finds: assert (!(sums && !enough && scanned_3 == '0)) else $error("a scan is only asked for where θ exists");
            scan_alone: assert (!(reads && take)) else $error("no row is counted while the bins are added up");
            pool_fits: assert (pool_count <= 17'(ENTRIES) && outside_count <= pool_count)
                else $error("what lies outside is part of the pool, which has no more blocks than there are entries");
            wipes_apart: assert (!(wipe && {counts_1, counts_2} != '0)) else $error("a bin is wiped before the first row is counted");
            room_at_theta: assert (!(begin_choice && room > capacity)) else $error("fewer blocks than places lie above θ");
        end
    end
`endif
endmodule
`default_nettype wire

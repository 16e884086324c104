// formal_count - kvcpu_contest counts every block of the pool once, in its bin, and forgets the counts before.
//
// Promises: what a scan finds in a bin, which may be any, is the number of blocks of the pool that were taken with that byte since
// the count began, also where they come in adjacent rows; in the second count of a STEP only those with θ's high byte.
// Assumes: what the engine keeps: rows come behind the wipe, none beside a scan; of the bin, that its count is an old one.
// LANES = 2; every run of `depth` cycles from any state in which nothing is under way.
`default_nettype none
module formal_count #(localparam int unsigned LANES = 2) (
    input wire logic clk, input wire logic [16:0] capacity, input wire logic begin_step, input wire logic begin_low,
    input wire logic take, input wire logic [LANES-1:0] pool, input wire logic [LANES-1:0][15:0] ranks, input wire logic scan,
    input wire logic [7:0] any_bin
);
    logic             clearing, found;
    logic [16:0]      pool_count, outside_count;
    logic [15:0]      theta, rank [LANES], rank1 [LANES];
    logic [LANES-1:0] wins;
    always_comb for (int l = 0; l < LANES; l++) begin
        rank[l] = ranks[l];
        rank1[l] = '0;
    end
    kvcpu_contest #(.ENTRIES(256), .LANES(LANES)) dut (
        .*, .rst(1'b0), .outside('0), .pool1('0), .choosing(1'b0), .begin_choice(1'b0), .advance(1'b0), .stage('0)
    );

    logic        started = 1'b0, counting = 1'b0, low = 1'b0;  // a count has begun; it is the second
    logic [1:0]  rests = 2'd0;                                 // cycles without a row
    logic [7:0]  bin;
    logic [16:0] count;
    logic [1:0]  comes;
    always_comb begin
        comes = '0;
        for (int l = 0; l < LANES; l++)
            comes += 2'(take && pool[l] && (low ? ranks[l][7:0] == bin && ranks[l][15:8] == theta[15:8] : ranks[l][15:8] == bin));
    end
    always_ff @(posedge clk) begin
        started <= 1'b1;
        if (!started) bin <= any_bin;
        rests <= (take || begin_step || begin_low) ? 2'd0 : rests + 2'(rests != 2'd3);
        if (begin_step || begin_low) begin
            counting <= 1'b1;
            low <= begin_low;
            count <= '0;
        end else begin
            count <= count + 17'(comes);
        end
    end
    always_comb begin
        if (!started) begin
            assume (!clearing && !dut.wipe && dut.counts_1 == '0 && dut.counts_2 == '0 && !dut.reads && !dut.read_1 && !dut.read_2
                    && !dut.sums && dut.number == 9'd3);
            assume (!take && !scan && !begin_low);
            assume (dut.g_lane[0].u_bins.mem[any_bin][dut.CW +: 9] <= 9'd3 && dut.g_lane[1].u_bins.mem[any_bin][dut.CW +: 9] <= 9'd3);
        end
        assume (!(begin_step && begin_low));
        if (take) assume (counting && !dut.reads && !dut.read_1 && !dut.read_2 && !dut.sums && !dut.wipe && !scan);
        if (begin_step || begin_low || scan) assume (!take && !dut.reads && !dut.read_1 && !dut.read_2 && !dut.sums);
        if (begin_step || begin_low) assume (!scan && (rests == 2'd3 || !counting));
        if (scan) assume (counting && rests == 2'd3);
    end
    always_comb if (started && counting) begin
        if (dut.sums && dut.scanned_3 == bin) assert (dut.sum == count);
    end
endmodule
`default_nettype wire

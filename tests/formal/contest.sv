// formal_contest - kvcpu_contest gives the places at θ to the first blocks in index order, and to no more than there are.
//
// Promises: a row's `wins` are the blocks above θ, and of those of the pool at θ the first ones, counted over all rows since
// begin_choice, as long as there are places that the blocks above θ left.
// Assumes: θ and the capacity stay while a pass chooses. LANES = 4; by induction, over any number of rows.
`default_nettype none
module formal_contest #(localparam int unsigned LANES = 4) (
    input wire logic clk, input wire logic rst, input wire logic [16:0] capacity, input wire logic begin_choice,
    input wire logic advance, input wire logic [3:1] stage, input wire logic [LANES-1:0] pool1, input wire logic [LANES-1:0][15:0] ranks,
    input wire logic never
);
    logic             clearing, found;
    logic [16:0]      pool_count, outside_count;
    logic [15:0]      theta, rank [LANES], rank1 [LANES];
    logic [LANES-1:0] wins;
    always_comb for (int l = 0; l < LANES; l++) begin
        rank[l] = '0;
        rank1[l] = ranks[l];
    end
    kvcpu_contest #(.ENTRIES(256), .LANES(LANES)) dut (
        .*, .begin_step(never), .begin_low(never), .take(never), .pool('0), .outside('0), .scan(never), .choosing(1'b1)
    );

    // ---- the rows on their way, and how many blocks at θ were before them ----------------------------------------------------
    logic                   started = 1'b0, chosen = 1'b0;  // a pass has begun
    logic [LANES-1:0]       pool2, pool3, expected, was_expected;
    logic [LANES-1:0][15:0] ranks2, ranks3;
    logic [16:0]            kept_capacity, places;
    logic [15:0]            kept_theta;
    logic [31:0]            used, upto;                   // blocks at θ in rows before this one; up to the lane
    logic                   checks;
    always_comb begin
        upto = used;
        for (int l = 0; l < LANES; l++) begin
            expected[l] = ranks3[l] > theta;
            if (pool3[l] && ranks3[l] == theta) begin
                expected[l] = upto < 32'(places);
                upto = upto + 32'd1;
            end
        end
    end
    always_ff @(posedge clk) begin
        started <= 1'b1;
        {kept_capacity, kept_theta} <= {capacity, theta};
        checks <= started && chosen && advance && stage[3];
        was_expected <= expected;
        if (advance && stage[1]) {pool2, ranks2} <= {pool1, ranks};
        if (advance && stage[2]) {pool3, ranks3} <= {pool2, ranks2};
        if (begin_choice) begin
            chosen <= 1'b1;
            used <= '0;
            places <= dut.room;
        end else if (advance && stage[3] && chosen) begin
            used <= upto;
        end
    end
    always_comb begin
        assume (!rst && !never);
        if (started) assume (capacity == kept_capacity && theta == kept_theta);
        assume (!dut.reads && !dut.read_1 && !dut.read_2 && !dut.sums && dut.room <= capacity && capacity <= 17'd65536);
        assume (used < 32'h8000_0000);
        if (!started) assume (!chosen && !(advance && stage[3:2] != '0));
    end

    // What is on its way follows the stages; a pass starts with none.
    logic two, three;
    always_ff @(posedge clk) begin
        if (advance) {three, two} <= {two && stage[2], stage[1]};
        if (!started || begin_choice) {three, two} <= '0;
    end
    always_comb begin
        if (started && advance && stage[2]) assume (two);
        if (started && advance && stage[3]) assume (three);
        if (begin_choice) assume (!advance);
    end

    always_comb if (started) begin
        if (checks) assert (wins == was_expected);
        // For the induction.
        if (chosen) assert (32'(dut.left) == (used < 32'(places) ? 32'(places) - used : 32'd0));
        if (chosen && two) for (int l = 0; l < LANES; l++)
            assert (dut.above2[l] == (ranks2[l] > theta) && dut.equal2[l] == (pool2[l] && ranks2[l] == theta));
        if (chosen && three) begin
            int unsigned count;
            count = 0;
            for (int l = 0; l < LANES; l++) begin
                assert (dut.above3[l] == (ranks3[l] > theta) && dut.equal3[l] == (pool3[l] && ranks3[l] == theta));
                assert (32'(dut.before3[l]) == count);
                count = count + 32'(dut.equal3[l]);
            end
            assert (32'(dut.total3) == count);
        end
    end
endmodule
`default_nettype wire

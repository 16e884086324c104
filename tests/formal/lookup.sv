// formal_lookup - kvcpu_lookup shares the key index by turns or by rank (R35), and each answer goes to the port that asked.
//
// Promises: at most one request a cycle is taken; a port gets one answer for each request, seven cycles behind its handshake, and no
// other (latency and order of R12), except that a reset drops what is under way; the same for the engine, after six cycles. Under the
// round-robin policy at most PORTS requests of others are taken while one waits, that is one of each; under the fixed one nobody
// is taken while one of a higher rank asks: the engine, then the ports in their order. Who asks while no index is cleared is not kept
// waiting by more than the writes under way. `waits` says who was not taken.
// Assumes: a request stays until it is taken; the policy stays. A reset may come at any time. Proved by induction, with 16 entries.
`default_nettype none
module formal_lookup #(parameter int unsigned PORTS = 3) (
    input wire logic clk, input wire logic rst, input wire logic fixed, input wire logic eng_valid, input wire logic [1:0] eng_op,
    input wire logic [63:0] eng_key, input wire logic [3:0] eng_index, input wire logic [PORTS-1:0] port_valid,
    input wire logic [PORTS-1:0][63:0] port_key, input wire logic [1:0] tier
);
    logic                   clearing, eng_ready, eng_done, eng_hit, eng_shared, eng_unresolved, overflow, port_counts, port_hit_any;
    logic [3:0]             eng_hit_index, tier_index;
    logic [1:0]             eng_tier, port_hit_tier;
    logic [PORTS-1:0]       port_ready, port_done, port_hit, port_unresolved;
    logic [PORTS-1:0][15:0] port_index;
    logic [PORTS-1:0][1:0]  port_tier;
    logic [PORTS:0]         waits;
    logic                   policy;
    kvcpu_lookup #(.ENTRIES(16), .PORTS(PORTS)) dut (.*, .contend_fixed(policy));

    logic                  started = 1'b0;
    logic [PORTS:0]        asks, granted, kept;   // [0] is the engine
    logic [PORTS-1:0][6:0] way;          // of each port's requests, by the cycles since they were taken
    logic [5:0]            engine_way;
    logic [2:0]            writes;       // the engine's requests that write, the same
    logic [PORTS:0][2:0]   others;       // requests of others taken while one waits
    logic [PORTS:0][2:0]   ahead;        // how many there are whose turn comes before
    assign asks = {port_valid, eng_valid};
    assign granted = asks & {port_ready, eng_ready};
    always_comb begin
        for (int a = 0; a <= PORTS; a++) begin
            ahead[a] = dut.behind[a] ? 3'd0 : 3'($countones(dut.behind));
            for (int b = 0; b < a; b++) ahead[a] = ahead[a] + 3'(dut.behind[b] == dut.behind[a]);
        end
    end
    always_ff @(posedge clk) begin
        started <= 1'b1;
        if (!started) policy <= fixed;
        kept <= rst ? '0 : asks & ~granted;
        for (int a = 0; a <= PORTS; a++)
            others[a] <= (rst || !asks[a] || granted[a]) ? '0 : others[a] + 3'(granted != '0);
        for (int p = 0; p < PORTS; p++) way[p] <= rst ? '0 : {way[p][5:0], granted[p + 1]};
        engine_way <= rst ? '0 : {engine_way[4:0], granted[0]};
        writes <= rst ? '0 : {writes[1:0], granted[0] && eng_op != 2'd0};
    end
    always_comb begin
        if (!started) assume (rst);
        assume (eng_op != 2'd3);
        assume ((asks & kept) == kept);
    end

    always_comb if (started) begin
        assert ($onehot0(granted));
        for (int unsigned p = 0; p < PORTS; p++) assert (port_done[p] == way[p][6]);
        for (int unsigned a = 0; a <= PORTS; a++) begin
            if (!policy) assert (32'(others[a]) <= PORTS);
            // For the induction: those others came before it in this round.
            if (!policy) assert (32'(others[a]) + 32'(ahead[a]) <= PORTS);
            if (policy && granted[a]) assert ((asks & ((1 << a) - 1)) == '0);
        end
        assert ((dut.behind | (dut.behind - 1'b1)) == '1 || dut.behind == '0);   // all from one on
        assert (eng_done == engine_way[5]);
        assert (waits == kept);
        if (asks != '0 && !clearing && !writes[2]) assert (granted != '0);
    end
endmodule
`default_nettype wire

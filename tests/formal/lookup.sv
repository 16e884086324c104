// formal_lookup - kvcpu_lookup answers every request once, seven cycles on, and lets every port have its turn.
//
// Promises: one request a cycle is taken; a port's answer comes exactly seven cycles behind its handshake, the engine's six, and no other
// ever, also around a reset, which drops what is under way; while a port waits, at most PORTS - 1 requests of other ports are taken; a
// port that asks while no index is cleared and no engine asks is not kept waiting by more than the writes under way.
// Assumes: a request stays until it is taken. A reset may come at any time. Proved by induction, with 16 entries.
`default_nettype none
module formal_lookup #(parameter int unsigned PORTS = 3) (
    input wire logic clk, input wire logic rst, input wire logic eng_valid, input wire logic [1:0] eng_op,
    input wire logic [63:0] eng_key, input wire logic [3:0] eng_index, input wire logic [PORTS-1:0] port_valid,
    input wire logic [PORTS-1:0][63:0] port_key, input wire logic [1:0] tier
);
    logic                   clearing, eng_ready, eng_done, eng_hit, eng_shared, eng_unresolved, overflow, port_counts, port_hit_any;
    logic [3:0]             eng_hit_index, tier_index;
    logic [1:0]             eng_tier, port_hit_tier;
    logic [PORTS-1:0]       port_ready, port_done, port_hit, port_unresolved;
    logic [PORTS-1:0][15:0] port_index;
    logic [PORTS-1:0][1:0]  port_tier;
    kvcpu_lookup #(.ENTRIES(16), .PORTS(PORTS)) dut (.*);

    logic                  started = 1'b0;
    logic [PORTS-1:0]      granted, kept;
    logic                  engine, engine_kept;
    logic [PORTS-1:0][6:0] way;          // of each port's requests, by the cycles since they were taken
    logic [5:0]            engine_way;
    logic [2:0]            writes;       // the engine's requests that write, the same
    logic [PORTS-1:0][1:0] others;       // requests of other ports taken while a port waits
    assign granted = port_valid & port_ready;
    assign engine = eng_valid && eng_ready;
    always_ff @(posedge clk) begin
        started <= 1'b1;
        kept <= rst ? '0 : port_valid & ~port_ready;
        engine_kept <= !rst && eng_valid && !eng_ready;
        for (int p = 0; p < PORTS; p++) begin
            way[p] <= rst ? '0 : {way[p][5:0], granted[p]};
            others[p] <= (rst || !port_valid[p] || granted[p]) ? '0 : others[p] + 2'(granted != '0);
        end
        engine_way <= rst ? '0 : {engine_way[4:0], engine};
        writes <= rst ? '0 : {writes[1:0], engine && eng_op != 2'd0};
    end
    always_comb begin
        if (!started) assume (rst);
        assume (eng_op != 2'd3);
        assume ((port_valid & kept) == kept && !(engine_kept && !eng_valid));
    end

    always_comb if (started) begin
        assert ($onehot0({engine, granted}));
        for (int unsigned p = 0; p < PORTS; p++) begin
            assert (port_done[p] == way[p][6]);
            assert (32'(others[p]) <= PORTS - 1);
            // For the induction: those others came before it in this round.
            assert (32'(others[p]) + (p + PORTS - 32'(dut.turn)) % PORTS <= PORTS - 1);
        end
        assert (32'(dut.turn) < PORTS);
        assert (eng_done == engine_way[5]);
        if (port_valid != '0 && !eng_valid && !clearing && !writes[2]) assert (granted != '0);
    end
endmodule
`default_nettype wire

// kvcpu_directory - the memories of the block directory (RTBD), LANES entries wide, and the host's read window on them.
//
// Entry i sits in row i/LANES, lane i%LANES. The pass engine reads a row per cycle (`row_read`, data in the next cycle,
// held until the next read) and writes single lanes; the DMA completion writes one lane's residency. A third copy of the
// tiers serves lookups at any time.
//
// BAR2 reads steal the row port for two cycles: the pass is held (`steal`), the host's row is read, and the row that the
// pass was looking at is read again. So a host read is answered within 5 cycles, whatever the engine waits for.
// Rows at or above `rows_used` have never been written or hold freed entries; they read as zero (contract section 3).
`default_nettype none
module kvcpu_directory
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::*;
#(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned LANES = 8,
    parameter int unsigned TOKEN_BITS = 5,
    parameter int unsigned BLOCK_BYTES = 16384,
    localparam int unsigned ROWS = ENTRIES / LANES,
    localparam int unsigned RW = $clog2(ROWS),
    localparam int unsigned IW = $clog2(ENTRIES)
) (
    input  wire logic                    clk,
    input  wire logic                    rst,
    input  wire logic [3:0][63:0]        tier_base,
    input  wire logic [16:0]             rows_used,

    // row port of the pass
    input  wire logic                    row_read,
    input  wire logic [RW-1:0]           row,
    output entry_key_t                   q_key [LANES],
    output entry_state_t                 q_state [LANES],
    output entry_res_t                   q_res [LANES],
    output logic [63:0]                  q_va [LANES],
    output logic                         steal,

    // writes
    input  wire logic [RW-1:0]           write_row,
    input  wire logic [LANES-1:0]        write_state,
    input  wire entry_state_t            state_wdata [LANES],
    input  wire logic [LANES-1:0]        write_static,  // key and va
    input  wire entry_key_t              key_wdata,
    input  wire logic [63:0]             va_wdata,
    input  wire logic                    write_res,
    input  wire logic [IW-1:0]           res_index,
    input  wire entry_res_t              res_wdata,

    // tier of one entry, for lookups: one cycle
    input  wire logic [IW-1:0]           tier_index,
    output logic [1:0]                   tier,

    // BAR2: `host_req` is held until `host_ack`
    input  wire logic                    host_req,
    input  wire logic [22:0]             host_addr,
    output logic                         host_ack,
    output logic                         host_err,
    output logic [31:0]                  host_data
);
    localparam int unsigned LW = (LANES > 1) ? $clog2(LANES) : 1;

    // ---- host window ---------------------------------------------------------------------------------------------------
    // 0 idle  1 the host's row is being read  2 its data is there, the pass's row is read again  3 its phys_addr  4 answer
    logic [2:0]    host_state;
    logic [RW-1:0] held_row;   // what the pass last read
    logic [RW-1:0] host_row;
    logic [LW-1:0] host_lane;
    logic [15:0]   host_index;
    logic          is_va;
    logic          in_range;
    logic          row_in_use;
    entry_key_t    host_key;
    entry_state_t  host_entry;
    entry_res_t    host_res;
    logic [63:0]   host_va;
    logic [255:0]  host_bits;
    logic [63:0]   host_phys;

    assign is_va = (host_addr >= BAR2_VAS);
    assign host_index = is_va ? host_addr[18:3] : host_addr[20:5];
    assign in_range = is_va ? ({9'd0, host_addr - BAR2_VAS} < ENTRIES * 8) : ({9'd0, host_addr - BAR2_ENTRIES} < ENTRIES * 32);
    assign host_row = RW'(host_index >> $clog2(LANES));
    assign host_lane = (LANES > 1) ? LW'(host_index) : '0;
    assign row_in_use = (17'(host_row) < rows_used);
    assign host_bits = entry_bits(host_key, host_entry, host_res, host_phys, TOKEN_BITS);

    always_ff @(posedge clk) begin
        if (rst) begin
            host_state <= 3'd0;
            steal <= 1'b0;
            host_ack <= 1'b0;
            host_err <= 1'b0;
        end else begin
            host_ack <= 1'b0;
            case (host_state)
                3'd0: if (host_req && !host_ack) begin
                    host_state <= in_range ? 3'd1 : 3'd4;
                    steal <= in_range;
                    host_err <= !in_range;
                end
                3'd1: host_state <= 3'd2;
                3'd2: begin
                    host_state <= 3'd3;
                    steal <= 1'b0;
                end
                3'd3: host_state <= 3'd4;
                default: begin
                    host_state <= 3'd0;
                    host_ack <= 1'b1;
                end
            endcase
        end
    end

    always_ff @(posedge clk) begin
        if (host_state == 3'd2) begin
            host_key <= q_key[host_lane];
            host_entry <= q_state[host_lane];
            host_entry.valid <= q_state[host_lane].valid && row_in_use;
            host_res <= q_res[host_lane];
            host_va <= q_va[host_lane];
        end
        if (host_state == 3'd3) host_phys <= tier_base[host_res.tier] + 64'(host_index) * 64'(BLOCK_BYTES);
        if (host_state == 3'd4) begin
            if (host_err) host_data <= 32'd0;
            else if (is_va) host_data <= !host_entry.valid ? 32'd0 : host_addr[2] ? host_va[63:32] : host_va[31:0];
            else host_data <= host_bits[32 * host_addr[4:2] +: 32];
        end
    end

    // ---- row port ------------------------------------------------------------------------------------------------------
    logic          ren;
    logic [RW-1:0] raddr;

    assign ren = row_read || steal;
    assign raddr = (host_state == 3'd1) ? host_row : (host_state == 3'd2) ? held_row : row;

    always_ff @(posedge clk) begin
        if (rst) held_row <= '0;
        else if (row_read && !steal) held_row <= row;
    end

    for (genvar l = 0; l < LANES; l++) begin : g_lane
        logic res_here;
        assign res_here = (32'(res_index) % LANES == l);

        kvcpu_ram #(.WIDTH($bits(entry_key_t) + 64), .DEPTH(ROWS)) u_static (
            .clk, .we(write_static[l]), .waddr(write_row), .wdata({key_wdata, va_wdata}), .ren, .raddr, .rdata({q_key[l], q_va[l]})
        );
        kvcpu_ram #(.WIDTH($bits(entry_state_t)), .DEPTH(ROWS)) u_state (
            .clk, .we(write_state[l]), .waddr(write_row), .wdata(state_wdata[l]), .ren, .raddr, .rdata(q_state[l])
        );
        kvcpu_ram #(.WIDTH($bits(entry_res_t)), .DEPTH(ROWS)) u_res (
            .clk, .we(write_res && res_here), .waddr(RW'(res_index >> $clog2(LANES))), .wdata(res_wdata),
            .ren, .raddr, .rdata(q_res[l])
        );
    end

    kvcpu_ram #(.WIDTH(2), .DEPTH(ENTRIES)) u_tier (
        .clk, .we(write_res), .waddr(res_index), .wdata(res_wdata.tier), .ren(1'b1), .raddr(tier_index), .rdata(tier)
    );

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            port_free: assert (!(row_read && steal)) else $error("the pass reads no row while the host's is read");
        end
    end
`endif
endmodule
`default_nettype wire

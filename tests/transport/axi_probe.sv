// axi_probe.sv - a module with the ports of kvcpu that makes one AXI4 burst at a time, properly or breaking one rule on
// purpose. It tests the memory model and the bus master of fpga/sim (tests/transport/test_axi_memory.py), and nothing else.
//
// Registers: 0x00 go, 0x08/0x0C address, 0x10 burst length - 1, 0x14 strobes for every beat.  Reads: 0x20 response of
// the last burst, 0x24 low word of its last beat. go: [0] 1 read, 0 write; [1] write data ahead of the address; [7:4]
// rule to break, see RULE_*. 0x7F0 never answers. Write data: every byte of beat n is n+1.
module kvcpu #(
    parameter int ENTRIES = 256, LANES = 4, DATA_BITS = 128, BLOCK_TOKENS = 32, HEAD_DIM = 128, CLASSES = 256,
    parameter logic [63:0] BUILD_ID = 0, parameter logic CLOCK_GATES = 0, NMCE = 1
) (
    input  logic clk, rst,
    input  logic [22:0] s_axil_awaddr, input logic [2:0] s_axil_awprot, input logic s_axil_awvalid,
    output logic s_axil_awready,
    input  logic [31:0] s_axil_wdata, input logic [3:0] s_axil_wstrb, input logic s_axil_wvalid,
    output logic s_axil_wready,
    output logic [1:0] s_axil_bresp, output logic s_axil_bvalid, input logic s_axil_bready,
    input  logic [22:0] s_axil_araddr, input logic [2:0] s_axil_arprot, input logic s_axil_arvalid,
    output logic s_axil_arready,
    output logic [31:0] s_axil_rdata, output logic [1:0] s_axil_rresp, output logic s_axil_rvalid,
    input  logic s_axil_rready,
    output logic [1:0] m_axi_awid, output logic [63:0] m_axi_awaddr, output logic [7:0] m_axi_awlen,
    output logic [2:0] m_axi_awsize, output logic [1:0] m_axi_awburst, output logic [3:0] m_axi_awcache,
    output logic [2:0] m_axi_awprot, output logic m_axi_awvalid, input logic m_axi_awready,
    output logic [DATA_BITS-1:0] m_axi_wdata, output logic [DATA_BITS/8-1:0] m_axi_wstrb, output logic m_axi_wlast,
    output logic m_axi_wvalid, input logic m_axi_wready,
    input  logic [1:0] m_axi_bid, input logic [1:0] m_axi_bresp, input logic m_axi_bvalid, output logic m_axi_bready,
    output logic [1:0] m_axi_arid, output logic [63:0] m_axi_araddr, output logic [7:0] m_axi_arlen,
    output logic [2:0] m_axi_arsize, output logic [1:0] m_axi_arburst, output logic [3:0] m_axi_arcache,
    output logic [2:0] m_axi_arprot, output logic m_axi_arvalid, input logic m_axi_arready,
    input  logic [1:0] m_axi_rid, input logic [DATA_BITS-1:0] m_axi_rdata, input logic [1:0] m_axi_rresp,
    input  logic m_axi_rlast, input logic m_axi_rvalid, output logic m_axi_rready,
    input  logic [1:0] lookup_valid, output logic [1:0] lookup_ready, input logic [127:0] lookup_key,
    output logic [1:0] lookup_done, lookup_hit, lookup_unresolved,
    output logic [31:0] lookup_index, output logic [3:0] lookup_tier,
    output logic irq, idle
);
    localparam logic [3:0] RULE_ADDRESS_DROP = 1, RULE_ADDRESS_CHANGE = 2, RULE_BURST = 3, RULE_SIZE = 4,
                           RULE_LAST_EARLY = 5, RULE_LAST_MISSING = 6, RULE_DATA_DROP = 7, RULE_DATA_CHANGE = 8, RULE_STOP = 9,
                           RULE_ASSERT = 10;

    logic [7:0] len, beat, tick;
    logic [63:0] addr;
    logic [31:0] strobes, result;
    logic [3:0] rule;
    logic [1:0] response;
    logic read, early, busy, address_done, data_done;

    // ---- registers: one access at a time ----------------------------------------------------------------------------
    assign s_axil_awready = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
    assign s_axil_wready = s_axil_awready;
    assign s_axil_arready = !s_axil_rvalid;
    always_ff @(posedge clk) begin
        if (s_axil_bready) s_axil_bvalid <= 0;
        if (s_axil_rready) s_axil_rvalid <= 0;
        if (s_axil_awready) begin
            s_axil_bvalid <= 1;
            s_axil_bresp <= s_axil_awaddr > 23'h14 ? 2'b10 : 2'b00;
            case (s_axil_awaddr)
                23'h08: addr[31:0] <= s_axil_wdata;
                23'h0C: addr[63:32] <= s_axil_wdata;
                23'h10: len <= s_axil_wdata[7:0];
                23'h14: strobes <= s_axil_wdata;
                default: ;
            endcase
        end
        if (s_axil_arvalid && s_axil_arready && s_axil_araddr != 23'h7F0) begin
            s_axil_rvalid <= 1;
            s_axil_rresp <= s_axil_araddr > 23'h24 ? 2'b10 : 2'b00;
            s_axil_rdata <= s_axil_araddr == 23'h20 ? 32'(response) : result;
        end
        if (rst) {s_axil_bvalid, s_axil_rvalid} <= '0;
    end

    // ---- one burst --------------------------------------------------------------------------------------------------
    wire go = s_axil_awready && s_axil_awaddr == 0;
    wire hold = early && !read && !data_done || rule == RULE_ADDRESS_DROP && tick[0];
    wire address_valid = busy && !address_done && !hold;
    wire [63:0] address = addr + (rule == RULE_ADDRESS_CHANGE ? 64'(tick) << 12 : 0);
    wire last = beat == (rule == RULE_LAST_EARLY ? len - 8'd1 : len) && rule != RULE_LAST_MISSING;
    always_ff @(posedge clk) begin
        tick <= tick + 1;
        if (go) begin
            busy <= 1;
            {read, early, rule} <= {s_axil_wdata[0], s_axil_wdata[1], s_axil_wdata[7:4]};
            {address_done, data_done, beat} <= '0;
            keeps_rules: assert (s_axil_wdata[7:4] != RULE_ASSERT) else $error("the probe breaks no rule");
            if (s_axil_wdata[7:4] == RULE_STOP) $fatal(1, "the probe was told to stop");
        end
        if (m_axi_arvalid && m_axi_arready || m_axi_awvalid && m_axi_awready) address_done <= 1;
        if (m_axi_wvalid && m_axi_wready) begin
            beat <= beat + 1;
            if (beat == len && rule != RULE_LAST_MISSING) data_done <= 1;
        end
        if (m_axi_rvalid) begin
            result <= m_axi_rdata[31:0];
            response <= m_axi_rresp;
            if (m_axi_rlast) busy <= 0;
        end
        if (m_axi_bvalid) begin
            response <= m_axi_bresp;
            busy <= 0;
        end
        if (rst) begin
            busy <= 0;
            tick <= 0;
        end
    end
    assign {m_axi_arid, m_axi_awid} = '0;
    assign m_axi_arvalid = address_valid && read;
    assign m_axi_awvalid = address_valid && !read;
    assign {m_axi_araddr, m_axi_awaddr} = {2{address}};
    assign {m_axi_arlen, m_axi_awlen} = {2{len}};
    assign {m_axi_arsize, m_axi_awsize} = {2{3'($clog2(DATA_BITS / 8)) - 3'(rule == RULE_SIZE)}};
    assign {m_axi_arburst, m_axi_awburst} = {2{rule == RULE_BURST ? 2'b00 : 2'b01}};
    assign {m_axi_arcache, m_axi_awcache, m_axi_arprot, m_axi_awprot} = '0;
    assign m_axi_wvalid = busy && !read && !data_done && !(rule == RULE_DATA_DROP && tick[0]);
    assign m_axi_wdata = {DATA_BITS / 8{beat + 8'd1 + (rule == RULE_DATA_CHANGE ? tick : 8'd0)}};
    assign m_axi_wstrb = (DATA_BITS / 8)'({8{strobes}});
    assign m_axi_wlast = last;
    assign m_axi_rready = 1;
    assign m_axi_bready = 1;

    assign idle = !busy && !s_axil_bvalid && !rst;
    assign irq = 0;
    assign {lookup_ready, lookup_done, lookup_hit, lookup_unresolved, lookup_index, lookup_tier} = '0;
endmodule

// kvcpu_uart_top - the UART board: the KV-CPU core, its tiers in block RAM, and the UART bridge that leads to both. Vendor-neutral.
//
// A board's top puts a clock, a reset and pins around it; the virtual UART board simulates exactly this module. The four tiers lie
// behind each other from address 0, where TIER_BASE has them after reset.
//   active   low: nothing goes on anywhere; a simulation may stop the clock while it is low and uart_rx is high
`default_nettype none
module kvcpu_uart_top #(
    parameter int unsigned ENTRIES = 256,
    parameter int unsigned LANES = 1,
    parameter int unsigned DATA_BITS = 64,          // no other
    parameter int unsigned BLOCK_TOKENS = 32,
    parameter int unsigned HEAD_DIM = 2,
    parameter int unsigned CLASSES = 16,
    parameter logic NMCE = 1'b0,
    parameter logic [63:0] BUILD_ID = 64'd0,
    parameter logic CLOCK_GATES = 1'b0              // of the core
) (
    input  wire logic        clk,
    input  wire logic        rst,        // synchronous, active high
    input  wire logic        uart_rx,    // asynchronous
    output logic             uart_tx,
    input  wire logic [31:0] clk_hz,     // only told to the host
    input  wire logic [31:0] baud_step,  // round(baud * 2^32 / clk_hz), at most 2^29
    output logic             irq,
    output logic             active
);
    localparam int unsigned BLOCK_BYTES = 4 * BLOCK_TOKENS * HEAD_DIM;

    if (DATA_BITS != 64) begin : g_check
        $error("%m: DATA_BITS must be 64");
    end

    logic        idle, bridge_busy;
    assign active = !idle || bridge_busy;

    // ---- registers: bridge to core ---------------------------------------------------------------------------------------
    logic [22:0] axil_awaddr, axil_araddr;
    logic [2:0]  axil_awprot, axil_arprot;
    logic        axil_awvalid, axil_awready, axil_wvalid, axil_wready, axil_bvalid, axil_bready;
    logic        axil_arvalid, axil_arready, axil_rvalid, axil_rready;
    logic [31:0] axil_wdata, axil_rdata;
    logic [3:0]  axil_wstrb;
    logic [1:0]  axil_bresp, axil_rresp;

    // ---- memory: [0] core, [1] bridge --------------------------------------------------------------------------------------
    logic [1:0][1:0]  awid, arid;
    logic [1:0]       awvalid, awready, wlast, wvalid, wready, bvalid, bready;
    logic [1:0]       arvalid, arready, rvalid, rready;
    logic [1:0][63:0] awaddr, wdata, araddr;
    logic [1:0][7:0]  awlen, wstrb, arlen;
    logic [1:0][2:0]  awsize, arsize;
    logic [1:0][1:0]  awburst, arburst;
    logic             rlast;
    logic [1:0]       bid, rid, bresp, rresp;
    logic [63:0]      rdata;

    kvcpu_uart_bridge u_bridge (
        .clk, .rst, .uart_rx, .uart_tx, .clk_hz, .baud_step, .device_idle(idle), .busy(bridge_busy),
        .m_axil_awaddr(axil_awaddr), .m_axil_awprot(axil_awprot), .m_axil_awvalid(axil_awvalid), .m_axil_awready(axil_awready),
        .m_axil_wdata(axil_wdata), .m_axil_wstrb(axil_wstrb), .m_axil_wvalid(axil_wvalid), .m_axil_wready(axil_wready),
        .m_axil_bresp(axil_bresp), .m_axil_bvalid(axil_bvalid), .m_axil_bready(axil_bready),
        .m_axil_araddr(axil_araddr), .m_axil_arprot(axil_arprot), .m_axil_arvalid(axil_arvalid), .m_axil_arready(axil_arready),
        .m_axil_rdata(axil_rdata), .m_axil_rresp(axil_rresp), .m_axil_rvalid(axil_rvalid), .m_axil_rready(axil_rready),
        .m_axi_awid(awid[1][0]), .m_axi_awaddr(awaddr[1]), .m_axi_awlen(awlen[1]), .m_axi_awsize(awsize[1]), .m_axi_awburst(awburst[1]),
        .m_axi_awvalid(awvalid[1]), .m_axi_awready(awready[1]), .m_axi_wdata(wdata[1]), .m_axi_wstrb(wstrb[1]),
        .m_axi_wlast(wlast[1]), .m_axi_wvalid(wvalid[1]), .m_axi_wready(wready[1]),
        .m_axi_bid(bid[0]), .m_axi_bresp(bresp), .m_axi_bvalid(bvalid[1]), .m_axi_bready(bready[1]),
        .m_axi_arid(arid[1][0]), .m_axi_araddr(araddr[1]), .m_axi_arlen(arlen[1]), .m_axi_arsize(arsize[1]), .m_axi_arburst(arburst[1]),
        .m_axi_arvalid(arvalid[1]), .m_axi_arready(arready[1]),
        .m_axi_rid(rid[0]), .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast), .m_axi_rvalid(rvalid[1]), .m_axi_rready(rready[1])
    );

    assign awid[1][1] = 1'b0;
    assign arid[1][1] = 1'b0;
    logic [3:0]  awcache, arcache;
    logic [2:0]  awprot, arprot;
    logic [1:0]  lookup_ready, lookup_done, lookup_hit, lookup_unresolved;
    logic [1:0][15:0] lookup_index;
    logic [1:0][1:0]  lookup_tier;
    kvcpu #(
        .ENTRIES(ENTRIES), .LANES(LANES), .DATA_BITS(DATA_BITS), .BLOCK_TOKENS(BLOCK_TOKENS), .HEAD_DIM(HEAD_DIM), .CLASSES(CLASSES), .NMCE(NMCE), .BUILD_ID(BUILD_ID),
        .CLOCK_GATES(CLOCK_GATES)
    ) u_core (
        .clk, .rst,
        .s_axil_awaddr(axil_awaddr), .s_axil_awprot(axil_awprot), .s_axil_awvalid(axil_awvalid), .s_axil_awready(axil_awready),
        .s_axil_wdata(axil_wdata), .s_axil_wstrb(axil_wstrb), .s_axil_wvalid(axil_wvalid), .s_axil_wready(axil_wready),
        .s_axil_bresp(axil_bresp), .s_axil_bvalid(axil_bvalid), .s_axil_bready(axil_bready),
        .s_axil_araddr(axil_araddr), .s_axil_arprot(axil_arprot), .s_axil_arvalid(axil_arvalid), .s_axil_arready(axil_arready),
        .s_axil_rdata(axil_rdata), .s_axil_rresp(axil_rresp), .s_axil_rvalid(axil_rvalid), .s_axil_rready(axil_rready),
        .m_axi_awid(awid[0]), .m_axi_awaddr(awaddr[0]), .m_axi_awlen(awlen[0]), .m_axi_awsize(awsize[0]), .m_axi_awburst(awburst[0]),
        .m_axi_awcache(awcache), .m_axi_awprot(awprot), .m_axi_awvalid(awvalid[0]), .m_axi_awready(awready[0]),
        .m_axi_wdata(wdata[0]), .m_axi_wstrb(wstrb[0]), .m_axi_wlast(wlast[0]), .m_axi_wvalid(wvalid[0]), .m_axi_wready(wready[0]),
        .m_axi_bid(bid), .m_axi_bresp(bresp), .m_axi_bvalid(bvalid[0]), .m_axi_bready(bready[0]),
        .m_axi_arid(arid[0]), .m_axi_araddr(araddr[0]), .m_axi_arlen(arlen[0]), .m_axi_arsize(arsize[0]), .m_axi_arburst(arburst[0]),
        .m_axi_arcache(arcache), .m_axi_arprot(arprot), .m_axi_arvalid(arvalid[0]), .m_axi_arready(arready[0]),
        .m_axi_rid(rid), .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast), .m_axi_rvalid(rvalid[0]), .m_axi_rready(rready[0]),
        .lookup_valid('0), .lookup_ready, .lookup_key('0), .lookup_done, .lookup_hit, .lookup_unresolved, .lookup_index, .lookup_tier,
        .irq, .idle
    );
    wire unused_core = &{
        1'b0, awcache, awprot, arcache, arprot, lookup_ready, lookup_done, lookup_hit, lookup_unresolved, lookup_index, lookup_tier, 1'b0
    };

    kvcpu_tier_ram #(.BYTES(4 * ENTRIES * BLOCK_BYTES)) u_tiers (
        .clk, .rst,
        .s_awid(awid), .s_awaddr(awaddr), .s_awlen(awlen), .s_awsize(awsize), .s_awburst(awburst), .s_awvalid(awvalid), .s_awready(awready),
        .s_wdata(wdata), .s_wstrb(wstrb), .s_wlast(wlast), .s_wvalid(wvalid), .s_wready(wready),
        .s_bid(bid), .s_bresp(bresp), .s_bvalid(bvalid), .s_bready(bready),
        .s_arid(arid), .s_araddr(araddr), .s_arlen(arlen), .s_arsize(arsize), .s_arburst(arburst), .s_arvalid(arvalid), .s_arready(arready),
        .s_rid(rid), .s_rdata(rdata), .s_rresp(rresp), .s_rlast(rlast), .s_rvalid(rvalid), .s_rready(rready)
    );
endmodule
`default_nettype wire

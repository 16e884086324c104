// u250 - the full device on an AMD Alveo U250: kvcpu behind XDMA, its tiers in DDR4.
//
// NOT RUN HERE: this project has no Vivado and no card. Checked: that this file elaborates and lints around a stub of the shell
// (tests/rtl/test_boards_rtl.py), and that the core goes through Yosys for this family (scripts/bitstream/estimate_u250.py).
//
//   u250_shell  block design made by scripts/bitstream/u250.tcl: XDMA (PCIe Gen3 x16), one DDR4 channel (16 GB), SmartConnect. It gives
//               the core's clock (CLK_MHZ in u250.tcl), a reset for it, AXI4-Lite from the user BAR and a port into the memory.
//   user BAR    8 MiB: BAR0 of the contract at 0, BAR2 at 0x400000
//   memory      host DMA (h2c, c2h) and core see the same addresses: the four tiers of 1 GiB each from 0
//   interrupt   XDMA user interrupt 0, a level: /dev/xdma0_events_0
//   lookup      the hardware lookup ports are tied off; a design that uses them takes kvcpu from here
`default_nettype none
module u250 #(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned LANES = 8,
    parameter logic [63:0] BUILD_ID = 64'd0
) (
    input  wire logic [15:0] pci_express_x16_rxn,
    input  wire logic [15:0] pci_express_x16_rxp,
    output logic [15:0]      pci_express_x16_txn,
    output logic [15:0]      pci_express_x16_txp,
    input  wire logic        pcie_refclk_clk_n,
    input  wire logic        pcie_refclk_clk_p,
    input  wire logic        pcie_perstn,

    input  wire logic        default_300mhz_clk0_clk_n,
    input  wire logic        default_300mhz_clk0_clk_p,
    output logic             ddr4_sdram_c0_act_n,
    output logic [16:0]      ddr4_sdram_c0_adr,
    output logic [1:0]       ddr4_sdram_c0_ba,
    output logic [1:0]       ddr4_sdram_c0_bg,
    output logic             ddr4_sdram_c0_ck_c,
    output logic             ddr4_sdram_c0_ck_t,
    output logic             ddr4_sdram_c0_cke,
    output logic             ddr4_sdram_c0_cs_n,
    inout  wire logic [71:0] ddr4_sdram_c0_dq,
    inout  wire logic [17:0] ddr4_sdram_c0_dqs_c,
    inout  wire logic [17:0] ddr4_sdram_c0_dqs_t,
    output logic             ddr4_sdram_c0_odt,
    output logic             ddr4_sdram_c0_par,
    output logic             ddr4_sdram_c0_reset_n
);
    localparam int unsigned DATA_BITS = 512;

    logic        clk, resetn, rst, irq, host_clk;
    (* ASYNC_REG = "TRUE" *) logic [1:0] irq_sync;
    logic [31:0] axil_awaddr, axil_araddr, axil_wdata, axil_rdata;
    logic [2:0]  axil_awprot, axil_arprot;
    logic [3:0]  axil_wstrb;
    logic [1:0]  axil_bresp, axil_rresp;
    logic        axil_awvalid, axil_awready, axil_wvalid, axil_wready, axil_bvalid, axil_bready;
    logic        axil_arvalid, axil_arready, axil_rvalid, axil_rready;

    logic [1:0]             awid, bid, arid, rid;
    logic                   awvalid, awready, wlast, wvalid, wready, bvalid, bready;
    logic                   arvalid, arready, rlast, rvalid, rready;
    logic [63:0]            awaddr, araddr;
    logic [7:0]             awlen, arlen;
    logic [2:0]             awsize, arsize, awprot, arprot;
    logic [1:0]             awburst, arburst, bresp, rresp;
    logic [3:0]             awcache, arcache;
    logic [DATA_BITS-1:0]   wdata, rdata;
    logic [DATA_BITS/8-1:0] wstrb;

    u250_shell_wrapper u_shell (
        .pci_express_x16_rxn, .pci_express_x16_rxp, .pci_express_x16_txn, .pci_express_x16_txp,
        .pcie_refclk_clk_n, .pcie_refclk_clk_p, .pcie_perstn,
        .default_300mhz_clk0_clk_n, .default_300mhz_clk0_clk_p,
        .ddr4_sdram_c0_act_n, .ddr4_sdram_c0_adr, .ddr4_sdram_c0_ba, .ddr4_sdram_c0_bg,
        .ddr4_sdram_c0_ck_c, .ddr4_sdram_c0_ck_t, .ddr4_sdram_c0_cke, .ddr4_sdram_c0_cs_n,
        .ddr4_sdram_c0_dq, .ddr4_sdram_c0_dqs_c, .ddr4_sdram_c0_dqs_t,
        .ddr4_sdram_c0_odt, .ddr4_sdram_c0_par, .ddr4_sdram_c0_reset_n,
        .core_clk(clk), .core_resetn(resetn), .host_clk, .host_irq(irq_sync[1]),
        .axil_awaddr, .axil_awprot, .axil_awvalid, .axil_awready, .axil_wdata, .axil_wstrb, .axil_wvalid, .axil_wready,
        .axil_bresp, .axil_bvalid, .axil_bready, .axil_araddr, .axil_arprot, .axil_arvalid, .axil_arready,
        .axil_rdata, .axil_rresp, .axil_rvalid, .axil_rready,
        .mem_awid(awid), .mem_awaddr(awaddr), .mem_awlen(awlen), .mem_awsize(awsize), .mem_awburst(awburst),
        .mem_awlock(1'b0), .mem_awcache(awcache), .mem_awprot(awprot), .mem_awqos(4'd0), .mem_awvalid(awvalid), .mem_awready(awready),
        .mem_wdata(wdata), .mem_wstrb(wstrb), .mem_wlast(wlast), .mem_wvalid(wvalid), .mem_wready(wready),
        .mem_bid(bid), .mem_bresp(bresp), .mem_bvalid(bvalid), .mem_bready(bready),
        .mem_arid(arid), .mem_araddr(araddr), .mem_arlen(arlen), .mem_arsize(arsize), .mem_arburst(arburst),
        .mem_arlock(1'b0), .mem_arcache(arcache), .mem_arprot(arprot), .mem_arqos(4'd0), .mem_arvalid(arvalid), .mem_arready(arready),
        .mem_rid(rid), .mem_rdata(rdata), .mem_rresp(rresp), .mem_rlast(rlast), .mem_rvalid(rvalid), .mem_rready(rready)
    );

    always_ff @(posedge clk) rst <= !resetn;
    always_ff @(posedge host_clk) irq_sync <= {irq_sync[0], irq};

    logic [1:0] lookup_ready, lookup_done, lookup_hit, lookup_unresolved;
    logic [1:0][15:0] lookup_index;
    logic [1:0][1:0]  lookup_tier;
    logic idle;

    kvcpu #(.ENTRIES(ENTRIES), .LANES(LANES), .DATA_BITS(DATA_BITS), .NMCE(1'b1), .BUILD_ID(BUILD_ID)) u_kvcpu (
        .clk, .rst,
        .s_axil_awaddr(axil_awaddr[22:0]), .s_axil_awprot(axil_awprot), .s_axil_awvalid(axil_awvalid), .s_axil_awready(axil_awready),
        .s_axil_wdata(axil_wdata), .s_axil_wstrb(axil_wstrb), .s_axil_wvalid(axil_wvalid), .s_axil_wready(axil_wready),
        .s_axil_bresp(axil_bresp), .s_axil_bvalid(axil_bvalid), .s_axil_bready(axil_bready),
        .s_axil_araddr(axil_araddr[22:0]), .s_axil_arprot(axil_arprot), .s_axil_arvalid(axil_arvalid), .s_axil_arready(axil_arready),
        .s_axil_rdata(axil_rdata), .s_axil_rresp(axil_rresp), .s_axil_rvalid(axil_rvalid), .s_axil_rready(axil_rready),
        .m_axi_awid(awid), .m_axi_awaddr(awaddr), .m_axi_awlen(awlen), .m_axi_awsize(awsize), .m_axi_awburst(awburst),
        .m_axi_awcache(awcache), .m_axi_awprot(awprot), .m_axi_awvalid(awvalid), .m_axi_awready(awready),
        .m_axi_wdata(wdata), .m_axi_wstrb(wstrb), .m_axi_wlast(wlast), .m_axi_wvalid(wvalid), .m_axi_wready(wready),
        .m_axi_bid(bid), .m_axi_bresp(bresp), .m_axi_bvalid(bvalid), .m_axi_bready(bready),
        .m_axi_arid(arid), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(arburst),
        .m_axi_arcache(arcache), .m_axi_arprot(arprot), .m_axi_arvalid(arvalid), .m_axi_arready(arready),
        .m_axi_rid(rid), .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast), .m_axi_rvalid(rvalid), .m_axi_rready(rready),
        .lookup_valid('0), .lookup_ready, .lookup_key('0), .lookup_done, .lookup_hit, .lookup_unresolved, .lookup_index, .lookup_tier,
        .irq, .idle
    );
    wire unused = &{1'b0, lookup_ready, lookup_done, lookup_hit, lookup_unresolved, lookup_index, lookup_tier, idle,
                    axil_awaddr[31:23], axil_araddr[31:23], 1'b0};
endmodule
`default_nettype wire

// kvcpu_uart_bridge - serial line to AXI4-Lite registers and AXI4 memory: frames with CRC, sequence numbers, execution exactly once.
// docs/uart-bridge.md is the specification.
//
//   m_axil_*      AXI4-Lite master, 23-bit offsets; offsets beyond are answered with DECERR here
//   m_axi_*       AXI4 master: one id, bursts of one beat of 8 bytes
//   device_idle   what WAIT_IDLE waits for; must be low while an AXI4-Lite access is under way or has something left to do
//   busy          a byte moves on the line, or a frame is being received, executed or answered
// One access at a time, on either port. Nothing is written that no intact RUN frame asked for, and that once.
`default_nettype none
module kvcpu_uart_bridge (
    input  wire logic        clk,
    input  wire logic        rst,        // synchronous, active high
    input  wire logic        uart_rx,    // asynchronous
    output logic             uart_tx,
    input  wire logic [31:0] clk_hz,     // only told to the host
    input  wire logic [31:0] baud_step,  // round(baud * 2^32 / clk_hz), at most 2^29
    input  wire logic        device_idle,
    output logic             busy,

    output logic [22:0]      m_axil_awaddr,
    output logic [2:0]       m_axil_awprot,
    output logic             m_axil_awvalid,
    input  wire logic        m_axil_awready,
    output logic [31:0]      m_axil_wdata,
    output logic [3:0]       m_axil_wstrb,
    output logic             m_axil_wvalid,
    input  wire logic        m_axil_wready,
    input  wire logic [1:0]  m_axil_bresp,
    input  wire logic        m_axil_bvalid,
    output logic             m_axil_bready,
    output logic [22:0]      m_axil_araddr,
    output logic [2:0]       m_axil_arprot,
    output logic             m_axil_arvalid,
    input  wire logic        m_axil_arready,
    input  wire logic [31:0] m_axil_rdata,
    input  wire logic [1:0]  m_axil_rresp,
    input  wire logic        m_axil_rvalid,
    output logic             m_axil_rready,

    output logic [0:0]       m_axi_awid,
    output logic [63:0]      m_axi_awaddr,
    output logic [7:0]       m_axi_awlen,
    output logic [2:0]       m_axi_awsize,
    output logic [1:0]       m_axi_awburst,
    output logic             m_axi_awvalid,
    input  wire logic        m_axi_awready,
    output logic [63:0]      m_axi_wdata,
    output logic [7:0]       m_axi_wstrb,
    output logic             m_axi_wlast,
    output logic             m_axi_wvalid,
    input  wire logic        m_axi_wready,
    input  wire logic [0:0]  m_axi_bid,
    input  wire logic [1:0]  m_axi_bresp,
    input  wire logic        m_axi_bvalid,
    output logic             m_axi_bready,
    output logic [0:0]       m_axi_arid,
    output logic [63:0]      m_axi_araddr,
    output logic [7:0]       m_axi_arlen,
    output logic [2:0]       m_axi_arsize,
    output logic [1:0]       m_axi_arburst,
    output logic             m_axi_arvalid,
    input  wire logic        m_axi_arready,
    input  wire logic [0:0]  m_axi_rid,
    input  wire logic [63:0] m_axi_rdata,
    input  wire logic [1:0]  m_axi_rresp,
    input  wire logic        m_axi_rlast,
    input  wire logic        m_axi_rvalid,
    output logic             m_axi_rready
);
    localparam int unsigned BUFFER = 2048;
    localparam int unsigned AW = $clog2(BUFFER);
    localparam int unsigned WW = AW - 2;

    // ---- line ------------------------------------------------------------------------------------------------------------
    logic       rx_valid, rx_error, rx_busy, tx_valid, tx_ready;
    logic [7:0] rx_data, tx_data;
    kvcpu_uart_rx u_rx (
        .clk, .rst, .rx(uart_rx), .baud_step, .valid(rx_valid), .error(rx_error), .data(rx_data), .busy(rx_busy)
    );
    kvcpu_uart_tx u_tx (
        .clk, .rst, .baud_step, .valid(tx_valid), .data(tx_data), .ready(tx_ready), .tx(uart_tx)
    );

    // ---- requests --------------------------------------------------------------------------------------------------------
    logic          deframing, frame, dropped, damaged, hold, request_we;
    logic [7:0]    kind, sequence_number, request_wdata, request_raw, request_rdata;
    logic [15:0]   session;
    logic [31:0]   first_word;
    logic [AW:0]   body_bytes;
    logic [AW-1:0] request_waddr, request_raddr;
    kvcpu_uart_deframer #(.BUFFER(BUFFER)) u_deframer (
        .clk, .rst, .byte_valid(rx_valid), .byte_error(rx_error), .byte_data(rx_data), .hold, .busy(deframing), .frame, .dropped, .damaged,
        .kind, .session, .sequence_number, .first_word, .body_bytes,
        .we(request_we), .waddr(request_waddr), .wdata(request_wdata)
    );
    kvcpu_ram #(.WIDTH(8), .DEPTH(BUFFER)) u_request (
        .clk, .we(request_we), .waddr(request_waddr), .wdata(request_wdata),
        .ren(1'b1), .raddr(request_raddr), .rdata(request_raw)
    );
    always_ff @(posedge clk) request_rdata <= request_raw;  // block RAM is slow: nothing on the way to a register

    // ---- replies ---------------------------------------------------------------------------------------------------------
    logic          control_busy, run_start, run_done, send_start, send_busy, send_done, reply_we;
    logic [2:0]    run_status;
    logic [7:0]    run_word;
    logic [15:0]   run_position;
    logic [WW:0]   run_used;
    logic [9:0]    send_words, send_index;
    logic [31:0]   send_word, reply_wdata, reply_raw, reply_rdata;
    logic [WW-1:0] reply_waddr, reply_raddr;
    kvcpu_uart_control #(.BUFFER(BUFFER)) u_control (
        .clk, .rst, .clk_hz, .busy(control_busy), .frame, .dropped, .damaged, .stop_error(rx_error),
        .kind, .session, .sequence_number, .first_word, .body_bytes, .hold,
        .run_start, .run_done, .run_status, .run_word, .run_position, .run_used,
        .send_start, .send_words, .send_done, .send_index, .send_word, .reply_raddr, .reply_rdata
    );
    kvcpu_ram #(.WIDTH(32), .DEPTH(BUFFER / 4)) u_reply (
        .clk, .we(reply_we), .waddr(reply_waddr), .wdata(reply_wdata), .ren(1'b1), .raddr(reply_raddr), .rdata(reply_raw)
    );
    always_ff @(posedge clk) reply_rdata <= reply_raw;
    kvcpu_uart_framer u_framer (
        .clk, .rst, .start(send_start), .words(send_words), .busy(send_busy), .done(send_done),
        .index(send_index), .word(send_word), .tx_valid, .tx_data, .tx_ready
    );

    // ---- programs --------------------------------------------------------------------------------------------------------
    logic        reg_start, mem_start, is_write, reg_done, mem_done;
    logic [2:0]  reg_status, mem_status;
    logic [23:0] reg_addr;
    logic [31:0] reg_rdata;
    logic [63:0] mem_addr, operand, mem_rdata;
    logic [7:0]  mem_wstrb;
    kvcpu_uart_executor #(.BUFFER(BUFFER)) u_executor (
        .clk, .rst, .device_idle, .start(run_start), .program_bytes(body_bytes), .done(run_done),
        .status(run_status), .word(run_word), .position(run_position), .used(run_used),
        .raddr(request_raddr), .rdata(request_rdata), .we(reply_we), .waddr(reply_waddr), .wdata(reply_wdata),
        .reg_start, .mem_start, .is_write, .reg_addr, .mem_addr, .operand, .mem_wstrb,
        .reg_done, .reg_status, .reg_rdata, .mem_done, .mem_status, .mem_rdata
    );
    kvcpu_uart_master #(.ADDR_BITS(23), .DATA_BITS(32)) u_registers (
        .clk, .rst, .start(reg_start), .is_write, .outside(reg_addr[23]), .addr(reg_addr[22:0]), .wdata(operand[63:32]),
        .wstrb(4'hF), .done(reg_done), .status(reg_status), .rdata(reg_rdata),
        .m_addr(m_axil_awaddr), .m_awvalid(m_axil_awvalid), .m_awready(m_axil_awready),
        .m_wdata(m_axil_wdata), .m_wstrb(m_axil_wstrb), .m_wvalid(m_axil_wvalid), .m_wready(m_axil_wready),
        .m_bresp(m_axil_bresp), .m_bvalid(m_axil_bvalid), .m_bready(m_axil_bready),
        .m_arvalid(m_axil_arvalid), .m_arready(m_axil_arready),
        .m_rdata(m_axil_rdata), .m_rresp(m_axil_rresp), .m_rvalid(m_axil_rvalid), .m_rready(m_axil_rready)
    );
    kvcpu_uart_master #(.ADDR_BITS(64), .DATA_BITS(64)) u_memory (
        .clk, .rst, .start(mem_start), .is_write, .outside(1'b0), .addr(mem_addr), .wdata(operand),
        .wstrb(mem_wstrb), .done(mem_done), .status(mem_status), .rdata(mem_rdata),
        .m_addr(m_axi_awaddr), .m_awvalid(m_axi_awvalid), .m_awready(m_axi_awready),
        .m_wdata(m_axi_wdata), .m_wstrb(m_axi_wstrb), .m_wvalid(m_axi_wvalid), .m_wready(m_axi_wready),
        .m_bresp(m_axi_bresp), .m_bvalid(m_axi_bvalid), .m_bready(m_axi_bready),
        .m_arvalid(m_axi_arvalid), .m_arready(m_axi_arready),
        .m_rdata(m_axi_rdata), .m_rresp(m_axi_rresp), .m_rvalid(m_axi_rvalid), .m_rready(m_axi_rready)
    );
    assign m_axil_araddr = m_axil_awaddr;
    assign m_axil_awprot = 3'b000;
    assign m_axil_arprot = 3'b000;
    assign m_axi_araddr = m_axi_awaddr;
    assign m_axi_awid = 1'b0;
    assign m_axi_arid = 1'b0;
    assign m_axi_awlen = 8'd0;
    assign m_axi_arlen = 8'd0;
    assign m_axi_awsize = 3'd3;
    assign m_axi_arsize = 3'd3;
    assign m_axi_awburst = 2'b01;
    assign m_axi_arburst = 2'b01;
    assign m_axi_wlast = 1'b1;
    wire unused_answers = &{1'b0, m_axi_bid, m_axi_rid, m_axi_rlast, 1'b0};  // one access, one beat

    assign busy = rx_busy || control_busy || send_busy || tx_valid || !tx_ready || deframing;

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            one_port: assert (!(reg_start && mem_start)) else $error("one access at a time, on either port");
        end
    end
`endif
endmodule
`default_nettype wire

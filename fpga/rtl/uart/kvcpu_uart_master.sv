// kvcpu_uart_master - one AXI access at a time, with a watchdog: serves AXI4-Lite, and AXI4 in bursts of one beat.
//
// `start` (with the request's inputs, held until then only) begins an access; `done` is a pulse with `status` and `rdata`. An access
// `outside` the address space is answered with DECERR and makes none. A slave that has not answered after 2^16 cycles is
// dead: NO_ANSWER then, and at once for every later access until reset. What was valid at its channels stays so, as AXI demands, and
// a late answer is taken and means nothing.
`default_nettype none
module kvcpu_uart_master #(
    parameter int unsigned ADDR_BITS = 23,
    parameter int unsigned DATA_BITS = 32
) (
    input  wire logic                   clk,
    input  wire logic                   rst,
    input  wire logic                   start,
    input  wire logic                   is_write,
    input  wire logic                   outside,
    input  wire logic [ADDR_BITS-1:0]   addr,
    input  wire logic [DATA_BITS-1:0]   wdata,
    input  wire logic [DATA_BITS/8-1:0] wstrb,
    output logic                        done,
    output logic [2:0]                  status,     // of the protocol: 0 OK, 2 SLVERR, 3 DECERR, 4 NO_ANSWER
    output logic [DATA_BITS-1:0]        rdata,

    output logic [ADDR_BITS-1:0]        m_addr,     // of both address channels
    output logic                        m_awvalid,
    input  wire logic                   m_awready,
    output logic [DATA_BITS-1:0]        m_wdata,
    output logic [DATA_BITS/8-1:0]      m_wstrb,
    output logic                        m_wvalid,
    input  wire logic                   m_wready,
    input  wire logic [1:0]             m_bresp,
    input  wire logic                   m_bvalid,
    output logic                        m_bready,
    output logic                        m_arvalid,
    input  wire logic                   m_arready,
    input  wire logic [DATA_BITS-1:0]   m_rdata,
    input  wire logic [1:0]             m_rresp,
    input  wire logic                   m_rvalid,
    output logic                        m_rready
);
    localparam logic [2:0] OK = 3'd0;
    localparam logic [2:0] DECERR = 3'd3;
    localparam logic [2:0] NO_ANSWER = 3'd4;

    logic        waiting, writing;  // an access is on the bus; its direction
    logic        dead;
    logic [16:0] watchdog;
    logic        answered;
    logic [1:0]  response;

    assign m_bready = 1'b1;
    assign m_rready = 1'b1;
    assign answered = waiting && (writing ? m_bvalid && !m_awvalid && !m_wvalid : m_rvalid && !m_arvalid);
    assign response = writing ? m_bresp : m_rresp;

    always_ff @(posedge clk) begin
        done <= 1'b0;
        watchdog <= waiting ? watchdog + 17'd1 : 17'd0;
        if (m_awready) m_awvalid <= 1'b0;
        if (m_wready) m_wvalid <= 1'b0;
        if (m_arready) m_arvalid <= 1'b0;

        if (answered) begin
            waiting <= 1'b0;
            done <= !dead;
            status <= response[1] ? {1'b0, response} : OK;
        end else if (waiting && watchdog[16] && !dead) begin
            dead <= 1'b1;
            done <= 1'b1;
            status <= NO_ANSWER;
        end
        if (start && (dead || outside)) begin
            done <= 1'b1;
            status <= dead ? NO_ANSWER : DECERR;
        end else if (start) begin
            waiting <= 1'b1;
            m_awvalid <= is_write;
            m_wvalid <= is_write;
            m_arvalid <= !is_write;
        end
        if (start && !dead) begin
            writing <= is_write;
            m_addr <= addr;
            m_wdata <= wdata;
            m_wstrb <= wstrb;
        end
        if (m_rvalid) rdata <= m_rdata;

        if (rst) begin
            waiting <= 1'b0;
            dead <= 1'b0;
            done <= 1'b0;
            m_awvalid <= 1'b0;
            m_wvalid <= 1'b0;
            m_arvalid <= 1'b0;
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
    kvcpu_handshake_check #(.WIDTH(ADDR_BITS)) u_aw_check (
        .clk, .rst, .valid(m_awvalid), .ready(m_awready), .data(m_addr)
    );
    kvcpu_handshake_check #(.WIDTH(DATA_BITS + DATA_BITS/8)) u_w_check (
        .clk, .rst, .valid(m_wvalid), .ready(m_wready), .data({m_wdata, m_wstrb})
    );
    kvcpu_handshake_check #(.WIDTH(ADDR_BITS)) u_ar_check (
        .clk, .rst, .valid(m_arvalid), .ready(m_arready), .data(m_addr)
    );
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            one_access: assert (!(start && waiting && !dead)) else $error("an access starts when the one before is answered");
        end
    end
`endif
endmodule
`default_nettype wire

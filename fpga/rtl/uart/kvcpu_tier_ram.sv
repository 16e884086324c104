// kvcpu_tier_ram - the tiers' memory in block RAM, behind two AXI4 slave ports: s0 for the core's DMA, s1 for the UART bridge.
//
// BYTES bytes from address 0, 64-bit data. INCR bursts of whole beats; other bursts and what lies beyond the end are answered with
// DECERR beat by beat (reads as zero, written nowhere). Reads and writes run beside each other, one burst at a time each, a beat
// a clock; where both ports ask, s1 goes first (it asks for single beats, rarely). A read behind a write's response sees it.
`default_nettype none
module kvcpu_tier_ram #(
    parameter int unsigned BYTES = 262144
) (
    input  wire logic              clk,
    input  wire logic              rst,

    // Both ports, [0] and [1].
    input  wire logic [1:0][1:0]   s_awid,
    input  wire logic [1:0][63:0]  s_awaddr,
    input  wire logic [1:0][7:0]   s_awlen,
    input  wire logic [1:0][2:0]   s_awsize,
    input  wire logic [1:0][1:0]   s_awburst,
    input  wire logic [1:0]        s_awvalid,
    output logic [1:0]             s_awready,
    input  wire logic [1:0][63:0]  s_wdata,
    input  wire logic [1:0][7:0]   s_wstrb,
    input  wire logic [1:0]        s_wlast,
    input  wire logic [1:0]        s_wvalid,
    output logic [1:0]             s_wready,
    output logic [1:0]             s_bid,        // of either port
    output logic [1:0]             s_bresp,
    output logic [1:0]             s_bvalid,
    input  wire logic [1:0]        s_bready,
    input  wire logic [1:0][1:0]   s_arid,
    input  wire logic [1:0][63:0]  s_araddr,
    input  wire logic [1:0][7:0]   s_arlen,
    input  wire logic [1:0][2:0]   s_arsize,
    input  wire logic [1:0][1:0]   s_arburst,
    input  wire logic [1:0]        s_arvalid,
    output logic [1:0]             s_arready,
    output logic [1:0]             s_rid,        // of either port
    output logic [63:0]            s_rdata,
    output logic [1:0]             s_rresp,
    output logic                   s_rlast,
    output logic [1:0]             s_rvalid,
    input  wire logic [1:0]        s_rready
);
    localparam int unsigned BEATS = BYTES / 8;
    localparam int unsigned AW = $clog2(BEATS);
    localparam int unsigned BANK = (BEATS > 16384) ? 16384 : BEATS;
    localparam int unsigned BANKS = BEATS / BANK;
    localparam int unsigned BW = $clog2(BANK);
    localparam logic [1:0] OKAY = 2'b00;
    localparam logic [1:0] DECERR = 2'b11;

    if (BYTES < 2048 || (BYTES & (BYTES - 1)) != 0) begin : g_check
        $error("%m: BYTES must be a power of two, 2048 or more");
    end

    // The beat's number, with one bit more for what lies beyond the end; a burst cannot come back from there, it is 256 beats at most.
    function automatic logic [AW:0] beat_of(input logic [63:0] addr, input logic [2:0] size, input logic [1:0] burst);
        beat_of = {addr[63:AW+3] != '0 || addr[2:0] != 3'd0 || size != 3'd3 || burst != 2'b01, addr[AW+2:3]};
    endfunction

    // ---- reads: take a burst, then address -> block RAM -> its register -> channel, all standing still while the channel waits ----
    typedef struct packed {
        logic          valid, port, last;
        logic [1:0]    id;
        logic [AW:0]   beat;
    } beat_t;
    logic          r_port, reading, r_move, pick_r;
    logic [1:0]    r_id;
    logic [AW:0]   r_beat;
    logic [7:0]    r_left;
    beat_t         fetched, stored;        // what is behind the block RAM, and behind its register
    logic [BANKS-1:0][63:0] banks;
    logic [1:0]    r_valid;
    wire unused_beat = &{1'b0, stored.beat, 1'b0};

    assign s_rvalid = r_valid;
    assign r_move = (r_valid & ~s_rready) == 2'b00;
    assign pick_r = s_arvalid[1];
    assign s_arready = reading ? 2'b00 : pick_r ? 2'b10 : 2'b01;

    always_ff @(posedge clk) begin
        if (!reading) begin
            r_port <= pick_r;
            r_id <= s_arid[pick_r];
            r_beat <= beat_of(s_araddr[pick_r], s_arsize[pick_r], s_arburst[pick_r]);
            r_left <= s_arlen[pick_r];
            reading <= (s_arvalid != 2'b00);
        end else if (r_move) begin
            r_beat[AW-1:0] <= r_beat[AW-1:0] + 1'b1;
            if (&r_beat[AW-1:0]) r_beat[AW] <= 1'b1;
            r_left <= r_left - 8'd1;
            reading <= (r_left != 8'd0);
        end
        if (r_move) begin
            fetched <= '{valid: reading, port: r_port, id: r_id, last: r_left == 8'd0, beat: r_beat};
            stored <= fetched;
            r_valid <= {stored.valid && stored.port, stored.valid && !stored.port};
            s_rid <= stored.id;
            s_rlast <= stored.last;
            s_rresp <= stored.beat[AW] ? DECERR : OKAY;
            s_rdata <= stored.beat[AW] ? '0 : banks[32'(stored.beat[AW-1:0]) / BANK];
        end
        if (rst) begin
            reading <= 1'b0;
            fetched.valid <= 1'b0;
            stored.valid <= 1'b0;
            r_valid <= '0;
        end
    end

    // ---- writes: take a burst, its data, answer ----------------------------------------------------------------------------------
    typedef enum logic [1:0] {W_IDLE, W_DATA, W_ANSWER} write_e;
    write_e        w_state;
    logic          w_port, pick_w, taken;
    logic [AW:0]   w_beat;
    logic          w_outside;
    logic [7:0]    we;
    logic [AW-1:0] waddr;
    logic [63:0]   wdata;

    assign pick_w = s_awvalid[1];
    assign s_awready = (w_state != W_IDLE) ? 2'b00 : pick_w ? 2'b10 : 2'b01;
    assign s_bvalid = (w_state != W_ANSWER) ? 2'b00 : w_port ? 2'b10 : 2'b01;
    assign s_bresp = w_outside ? DECERR : OKAY;
    assign taken = (s_wready & s_wvalid) != 2'b00;

    always_ff @(posedge clk) begin
        case (w_state)
            W_IDLE: begin
                w_port <= pick_w;
                s_bid <= s_awid[pick_w];
                w_beat <= beat_of(s_awaddr[pick_w], s_awsize[pick_w], s_awburst[pick_w]);
                w_outside <= 1'b0;
                if (s_awvalid != 2'b00) begin
                    w_state <= W_DATA;
                    s_wready <= pick_w ? 2'b10 : 2'b01;
                end
            end
            W_DATA: if (taken) begin
                w_beat[AW-1:0] <= w_beat[AW-1:0] + 1'b1;
                if (&w_beat[AW-1:0]) w_beat[AW] <= 1'b1;
                w_outside <= w_outside || w_beat[AW];
                if (s_wlast[w_port]) begin
                    w_state <= W_ANSWER;
                    s_wready <= '0;
                end
            end
            default: if (s_bready[w_port]) w_state <= W_IDLE;
        endcase
        we <= (taken && !w_beat[AW]) ? s_wstrb[w_port] : 8'd0;
        waddr <= w_beat[AW-1:0];
        wdata <= s_wdata[w_port];
        if (rst) begin
            w_state <= W_IDLE;
            s_wready <= '0;
            we <= '0;
        end
    end
    wire unused_lengths = &{1'b0, s_awlen, 1'b0};  // WLAST ends a write

    // ---- memory: banks as deep as one block RAM can be, each with its output register beside it, for the way from there is long;
    //      in them a lane for each byte, for the strobes
    for (genvar bank = 0; bank < BANKS; bank++) begin : g_bank
        logic        ours;
        logic [63:0] raw;
        assign ours = (32'(waddr) / BANK == bank);
        always_ff @(posedge clk) if (r_move) banks[bank] <= raw;
        for (genvar lane = 0; lane < 8; lane++) begin : g_lane
            kvcpu_ram #(.WIDTH(8), .DEPTH(BANK)) u_ram (
                .clk, .we(we[lane] && ours), .waddr(waddr[BW-1:0]), .wdata(wdata[8*lane +: 8]),
                .ren(r_move), .raddr(r_beat[BW-1:0]), .rdata(raw[8*lane +: 8])
            );
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
    for (genvar port = 0; port < 2; port++) begin : g_port
        kvcpu_handshake_check #(.WIDTH(4)) u_b_check (
            .clk, .rst, .valid(s_bvalid[port]), .ready(s_bready[port]), .data({s_bid, s_bresp})
        );
        kvcpu_handshake_check #(.WIDTH(69)) u_r_check (
            .clk, .rst, .valid(s_rvalid[port]), .ready(s_rready[port]), .data({s_rid, s_rlast, s_rresp, s_rdata})
        );
    end
`ifndef SYNTHESIS
    logic [7:0] beats_left;  // of a write, behind the next
    always_ff @(posedge clk) begin
        if (w_state == W_IDLE) beats_left <= s_awlen[pick_w];
        else if (taken) beats_left <= beats_left - 8'd1;
    end
    always_ff @(posedge clk) begin
        if (!rst) begin
            one_read: assert ($onehot0(s_rvalid)) else $error("one port a cycle is answered");
            last_beat: assert (!(w_state == W_DATA && taken && s_wlast[w_port] != (beats_left == 8'd0)))
                else $error("a write has as many beats as its address said");
        end
    end
`endif
endmodule
`default_nettype wire

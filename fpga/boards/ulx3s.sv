// ulx3s - the UART board on a Radiona ULX3S-85F: clock, reset, pins and LEDs around kvcpu_uart_top.
//
//   clock    PLL, 25 MHz on the board to CLK_HZ. Its three dividers below are the only place that says how fast the design runs;
//            scripts/bitstream/build_ulx3s.py refuses a bitstream that place and route finds slower.
//   reset    until the PLL has locked and while button FIRE1 is held; synchronous to the design's clock on release
//   UART     the board's FTDI chip: ftdi_txd is what it sends, our input; 8 data bits, no parity, 1 stop bit at BAUD
//   LEDs     0 heartbeat (about 1 Hz)  1 something goes on (stretched to be seen)  2 interrupt  3 in reset
//            4 bytes from the host, 5 bytes to the host (stretched)  6, 7 dark
// The board's power button and its other peripherals are not used; wifi_gpio0 is held high, or the ESP32 may take the board over.
`default_nettype none
module ulx3s #(
    parameter int unsigned CLKI_DIV = 1,     // CLK_HZ = 25 MHz / CLKI_DIV * CLKFB_DIV
    parameter int unsigned CLKFB_DIV = 3,
    parameter int unsigned CLKOP_DIV = 8,    // CLK_HZ * CLKOP_DIV, the oscillator, must be 400 to 800 MHz
    parameter int unsigned BAUD = 3_000_000,
    parameter logic [63:0] BUILD_ID = 64'd0
) (
    input  wire logic       clk_25mhz,
    input  wire logic       btn_fire1,
    input  wire logic       ftdi_txd,
    output logic            ftdi_rxd,
    output logic            wifi_gpio0,
    output logic [7:0]      led
);
    localparam int unsigned CLK_HZ = 25_000_000 / CLKI_DIV * CLKFB_DIV;
    localparam logic [63:0] BAUD_STEP = ((64'(BAUD) << 32) + 64'(CLK_HZ) / 2) / 64'(CLK_HZ);

    if (CLK_HZ * CLKOP_DIV < 400_000_000 || CLK_HZ * CLKOP_DIV > 800_000_000) begin : g_check
        $error("%m: the PLL's oscillator, CLK_HZ * CLKOP_DIV, must run at 400 to 800 MHz");
    end

    // ---- clock -----------------------------------------------------------------------------------------------------------
    logic clk, locked;
    (* ICP_CURRENT = "12" *) (* LPF_RESISTOR = "8" *) (* MFG_ENABLE_FILTEROPAMP = "1" *) (* MFG_GMCREF_SEL = "2" *)
    EHXPLLL #(
        .CLKI_DIV(CLKI_DIV), .CLKFB_DIV(CLKFB_DIV), .FEEDBK_PATH("CLKOP"),
        .CLKOP_ENABLE("ENABLED"), .CLKOP_DIV(CLKOP_DIV), .CLKOP_CPHASE(CLKOP_DIV / 2 - 1), .CLKOP_FPHASE(0),
        .OUTDIVIDER_MUXA("DIVA"), .PLLRST_ENA("DISABLED"), .INTFB_WAKE("DISABLED"), .STDBY_ENABLE("DISABLED"),
        .DPHASE_SOURCE("DISABLED")
    ) u_pll (
        .CLKI(clk_25mhz), .CLKFB(clk), .CLKOP(clk), .LOCK(locked),
        .RST(1'b0), .STDBY(1'b0), .PLLWAKESYNC(1'b0), .ENCLKOP(1'b0),
        .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b0), .PHASESTEP(1'b0), .PHASELOADREG(1'b0)
    );

    // ---- reset -----------------------------------------------------------------------------------------------------------
    // Set at once, released in step with the clock. A button bounces for some ms; each bounce is one more reset.
    logic       hold;
    logic [2:0] reset_chain;
    logic       rst;
    assign hold = !locked || btn_fire1;
    always_ff @(posedge clk or posedge hold) begin
        if (hold) reset_chain <= '1;
        else reset_chain <= {reset_chain[1:0], 1'b0};
    end
    always_ff @(posedge clk) rst <= reset_chain[2];

    // ---- design ----------------------------------------------------------------------------------------------------------
    logic irq, active;
    kvcpu_uart_top #(
        .ENTRIES(256), .LANES(1), .DATA_BITS(64), .BLOCK_TOKENS(32), .HEAD_DIM(2), .CLASSES(16), .NMCE(0), .BUILD_ID(BUILD_ID)
    ) u_board (
        .clk, .rst, .uart_rx(ftdi_txd), .uart_tx(ftdi_rxd), .clk_hz(CLK_HZ), .baud_step(BAUD_STEP[31:0]), .irq, .active
    );
    assign wifi_gpio0 = 1'b1;

    // ---- LEDs ------------------------------------------------------------------------------------------------------------
    localparam int unsigned TICK = 20;  // 2^20 cycles: some 20 ms
    logic [25:0] count;
    logic [2:0]  now, seen, shown;      // active, from the host, to the host
    logic [1:0]  rx_sync;
    always_ff @(posedge clk) begin
        count <= rst ? '0 : count + 26'd1;
        rx_sync <= {rx_sync[0], ftdi_txd};
        if (count[TICK-1:0] == '0) begin
            shown <= seen | now;
            seen <= '0;
        end else begin
            seen <= seen | now;
        end
    end
    assign now = {!ftdi_rxd, !rx_sync[1], active};
    assign led = {2'b00, shown[2], shown[1], rst, irq, shown[0], count[25]};
    wire unused_step = &{1'b0, BAUD_STEP[63:32], 1'b0};
endmodule
`default_nettype wire

// EHXPLLL - declaration of the ECP5's PLL, for tools that do not know it (Verilator, slang). Ports and parameters as far as
// fpga/boards uses them; the synthesis tool's own library has the rest. For lint it passes its input on.
`default_nettype none
(* blackbox *)
module EHXPLLL #(
    parameter CLKI_DIV = 1,
    parameter CLKFB_DIV = 1,
    parameter FEEDBK_PATH = "CLKOP",
    parameter CLKOP_ENABLE = "ENABLED",
    parameter CLKOP_DIV = 8,
    parameter CLKOP_CPHASE = 0,
    parameter CLKOP_FPHASE = 0,
    parameter OUTDIVIDER_MUXA = "DIVA",
    parameter PLLRST_ENA = "DISABLED",
    parameter INTFB_WAKE = "DISABLED",
    parameter STDBY_ENABLE = "DISABLED",
    parameter DPHASE_SOURCE = "DISABLED"
) (
    input  wire logic CLKI,
    input  wire logic CLKFB,
    input  wire logic RST,
    input  wire logic STDBY,
    input  wire logic PLLWAKESYNC,
    input  wire logic ENCLKOP,
    input  wire logic PHASESEL0,
    input  wire logic PHASESEL1,
    input  wire logic PHASEDIR,
    input  wire logic PHASESTEP,
    input  wire logic PHASELOADREG,
    output logic      CLKOP,
    output logic      LOCK
);
`ifdef VERILATOR
    assign CLKOP = CLKI;
    assign LOCK = 1'b1;
`endif
endmodule
`default_nettype wire

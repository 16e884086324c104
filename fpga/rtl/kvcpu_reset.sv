// kvcpu_reset - the soft reset (CTRL.soft_reset): stops the engine at once, lets the DMA finish what it has begun on the AXI bus,
// waits for a moment without bus access, then resets everything for one cycle.
//
//   stop_core   engine, pass, queues and tables are held in reset       drain   DMA takes no further block
//   block       the AXI4-Lite front end takes no new access             reset_all   one cycle: registers and all the rest
// While it drains, registers can be read and doorbells are refused (BUSERR_RESETTING), so a memory that never answers leaves a
// device that still says so.
`default_nettype none
module kvcpu_reset (
    input  wire logic clk,
    input  wire logic rst,
    input  wire logic request,
    input  wire logic dma_idle,
    input  wire logic bus_quiet,
    output logic      draining,
    output logic      stop_core,
    output logic      block,
    output logic      reset_all
);
    typedef enum logic [1:0] {RUN, DRAIN, QUIET, PULSE} phase_e;
    phase_e phase;

    assign draining = stop_core;
    assign block = (phase == QUIET) || (phase == PULSE);
    assign reset_all = (phase == PULSE);

    always_ff @(posedge clk) begin
        case (phase)
            RUN: if (request) begin
                phase <= DRAIN;
                stop_core <= 1'b1;
            end
            DRAIN:   if (dma_idle) phase <= QUIET;
            QUIET:   if (bus_quiet) phase <= PULSE;
            default: begin
                phase <= RUN;
                stop_core <= 1'b0;
            end
        endcase
        if (rst) begin
            phase <= RUN;
            stop_core <= 1'b0;
        end
    end

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk) begin
        if (!rst) begin
            nothing_torn: assert (!reset_all || (dma_idle && bus_quiet))
                else $error("a soft reset tears no burst and no bus access");
        end
    end
`endif
endmodule
`default_nettype wire

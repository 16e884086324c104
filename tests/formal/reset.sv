// formal_reset - a soft reset tears nothing and comes to its end.
//
// Promises: everything is reset for one cycle, only when the DMA was idle and the bus quiet in that order, only behind a request; the
// engine is held from the request to the cycle of the reset, the last included; new accesses are refused before and in that cycle; with
// a DMA that comes to rest and a bus that does, it ends.
// Assumes: once draining, an idle DMA stays idle; once blocked, a quiet bus stays quiet. Proved by induction.
`default_nettype none
module formal_reset (
    input wire logic clk, input wire logic rst, input wire logic request, input wire logic dma_idle, input wire logic bus_quiet
);
    logic draining, stop_core, block, reset_all;
    kvcpu_reset dut (.*);

    logic started = 1'b0;
    logic was_idle, was_quiet, was_block, was_reset, was_stopped, was_request, was_rst;
    logic [1:0] rests;   // cycles in which nothing hinders it
    always_ff @(posedge clk) begin
        started <= 1'b1;
        {was_idle, was_quiet, was_block, was_reset, was_stopped, was_request, was_rst}
            <= {dma_idle, bus_quiet, block, reset_all, stop_core, request, rst};
        if (rst || !stop_core || !dma_idle || !bus_quiet) rests <= '0;
        else if (rests != 2'd3) rests <= rests + 2'd1;
    end
    always_comb begin
        if (!started) assume (rst);
        if (started && was_stopped && was_idle && stop_core) assume (dma_idle);
        if (started && was_block && was_quiet && block) assume (bus_quiet);
    end

    always_comb if (started) begin
        if (reset_all) assert (stop_core && block && dma_idle && bus_quiet && was_block && !was_reset && !was_rst);
        if (was_reset) assert (!stop_core && !block);
        if (block) assert (stop_core && dma_idle);
        if (stop_core && !was_stopped) assert (was_request);
        if (was_stopped && !stop_core) assert (was_reset || was_rst);
        assert (draining == stop_core);
        assert (!(stop_core && rests == 2'd3));
        // For the induction: how far it has come.
        if (stop_core) assert (dut.phase != 2'd0);
        else assert (dut.phase == 2'd0);
        if (reset_all) assert (was_idle && was_quiet);
        if (stop_core && rests != '0) assert (dut.phase >= rests + 2'd1);
    end
endmodule
`default_nettype wire

// kvcpu_telemetry - the counters of R23.
//
// Every counter is 64 bits and wraps. `clear` (CTRL.clear_counters, in order with commands) zeroes all that count or
// remember; what mirrors live state (current step, T1 places, valid entries) is not kept here.
`default_nettype none
module kvcpu_telemetry
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::*;
#(
    parameter int unsigned BLOCK_BYTES = 16384
) (
    input  wire logic         clk,
    input  wire logic         rst,
    input  wire logic         clear,
    input  wire logic [31:0]  now,            // free-running cycle counter

    input  wire logic         accepted,       // pulse: `command` ended with OK
    input  wire logic         ended,          // pulse: it ended
    input  wire logic [31:0]  command_cycles,
    input  wire command_t     command,        // also while it runs
    input  wire logic         busy,
    input  wire pass_events_t events,
    input  wire logic         completion_valid,
    input  wire completion_t  completion,
    input  wire logic         lookup_counts,
    input  wire logic         lookup_hit,
    input  wire logic [1:0]   lookup_tier,
    input  wire logic         port_counts,
    input  wire logic         port_hit,
    input  wire logic [1:0]   port_tier,
    input  wire logic         index_overflow,
    input  wire logic         result_lost,
    input  wire logic         completion_lost,

    output counters_t         n
);
    logic        first_trigger;  // of this command is still to come
    logic        any_trigger;
    assign any_trigger = events.evict_trigger || events.prefetch_trigger;

    always_ff @(posedge clk) begin
        if (rst || clear) begin
            n.step_count <= '0;
            n.hot_count <= '0;
            n.evict_count <= '0;
            n.prefetch_count <= '0;
            n.share_count <= '0;
            n.last_va <= '0;
            n.last_len <= '0;
            n.last_target_step <= '0;
        end else if (accepted) begin
            case (command.op)
                OP_STEP: begin
                    n.step_count <= n.step_count + 64'd1;
                    n.last_target_step <= command.a;
                end
                OP_HOT:      n.hot_count <= n.hot_count + 64'd1;
                OP_EVICT:    n.evict_count <= n.evict_count + 64'd1;
                OP_PREFETCH: begin
                    n.prefetch_count <= n.prefetch_count + 64'd1;
                    n.last_target_step <= command.c;
                end
                OP_SHARE, OP_SHARE_INDEX: n.share_count <= n.share_count + 64'd1;
                default: ;
            endcase
            if (command.op == OP_HOT || command.op == OP_EVICT || command.op == OP_PREFETCH || command.op == OP_SHARE) begin
                n.last_va <= command.a;
                n.last_len <= command.b;
            end
        end
    end

    always_ff @(posedge clk) begin
        if (rst || clear) begin
            n.triggers <= '0;
            n.completions <= '0;
            n.bytes <= '0;
            n.guards <= '0;
            n.denials <= '0;
            n.saturations <= '0;
            n.release_refusals <= '0;
            n.hits <= '0;
            n.hit_total <= '0;
            n.misses <= '0;
            n.index_overflows <= '0;
            n.results_lost <= '0;
            n.completions_lost <= '0;
            n.dma_errors <= '0;
        end else begin
            if (events.evict_trigger) n.triggers[0] <= n.triggers[0] + 64'd1;
            if (events.prefetch_trigger) n.triggers[1] <= n.triggers[1] + 64'd1;
            if (completion_valid) begin
                n.completions[completion.channel] <= n.completions[completion.channel] + 64'd1;
                if (completion.error) n.dma_errors <= n.dma_errors + 64'd1;
                else if (completion.copy) n.bytes[completion.channel] <= n.bytes[completion.channel] + 64'(BLOCK_BYTES);
            end
            n.guards <= n.guards + 64'(events.guards);
            n.denials <= n.denials + 64'(events.denials);
            n.saturations <= n.saturations + 64'(events.saturations);
            n.release_refusals <= n.release_refusals + 64'(events.release_refusals);
            for (int k = 0; k < 4; k++)
                n.hits[k] <= n.hits[k] + 64'(lookup_counts && lookup_hit && lookup_tier == 2'(k))
                                   + 64'(port_counts && port_hit && port_tier == 2'(k));
            n.hit_total <= n.hit_total + 64'(lookup_counts && lookup_hit) + 64'(port_counts && port_hit);
            n.misses <= n.misses + 64'(lookup_counts && !lookup_hit) + 64'(port_counts && !port_hit);
            if (index_overflow) n.index_overflows <= n.index_overflows + 64'd1;
            if (result_lost) n.results_lost <= n.results_lost + 64'd1;
            if (completion_lost) n.completions_lost <= n.completions_lost + 64'd1;
        end
    end

    always_ff @(posedge clk) begin
        if (rst || clear) begin
            n.busy_cycles <= '0;
            n.last_command_cycles <= '0;
            n.step_to_trigger_cycles <= '0;
            first_trigger <= 1'b1;
        end else begin
            if (busy) n.busy_cycles <= n.busy_cycles + 64'd1;
            if (ended && command.op != OP_DIGEST) n.last_command_cycles <= 64'(command_cycles);
            if (ended) first_trigger <= 1'b1;
            else if (any_trigger) first_trigger <= 1'b0;
            if (any_trigger && first_trigger && command.op == OP_STEP) n.step_to_trigger_cycles <= 64'(now - command.stamp);
        end
    end
endmodule
`default_nettype wire

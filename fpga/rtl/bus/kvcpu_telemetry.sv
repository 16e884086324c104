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
    input  wire logic         clk_events,     // runs while events_work, and in reset
    input  wire logic         rst,
    output logic              events_work,
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
    input  wire logic [2:0]   waits,          // lookup ports that asked and were not taken: host, port 0, port 1 (R35)
    input  wire logic         query_written,  // pulses: a word of NMCE's windows (R33)
    input  wire logic         scores_read,
    input  wire logic         streamed,       // pulse: all keys of a block were read; `accepted` with it: and scored
    input  wire logic         index_overflow,
    input  wire logic         result_lost,
    input  wire logic         completion_lost,
    input  wire logic         ranked,         // with `accepted`, of a STEP: R46 applied, with what it found
    input  wire logic         searched,
    input  wire logic [15:0]  step_theta,
    input  wire logic [16:0]  step_pool,
    input  wire logic [16:0]  step_outside,

    // live state shown beside the counters
    input  wire logic [31:0]  current_step,
    input  wire logic [16:0]  t1_used,
    input  wire logic [16:0]  valid_entries,

    output logic [63:0]       hit_total,
    output logic [63:0]       misses,

    // the window of the register map: answers in the next cycle
    input  wire logic         select,
    input  wire logic         read,           // with `select`: the value is taken
    input  wire logic [8:2]   read_addr,
    output logic [31:0]       read_data
);
    logic [63:0] step_count, hot_count, evict_count, prefetch_count, share_count, last_va, last_len, last_target_step;
    logic [1:0][63:0] triggers, completions, moved_bytes;  // [0] evict, [1] prefetch
    logic [63:0] guards, denials, saturations, release_refusals;
    logic [3:0][63:0] hits;                                // by tier
    logic [63:0] busy_cycles, last_command_cycles, step_to_trigger_cycles;
    logic [15:0] theta;
    logic [16:0] pool, outside;
    logic [63:0] ranked_steps;
    logic [63:0] index_overflows, results_lost, completions_lost, dma_errors;
    logic [63:0] query_bytes, result_bytes, key_bytes, blocks_scored;
    logic [2:0][63:0] waited;                              // host, port 0, port 1

    wire unused_parts = &{1'b0, command.hint, command.rung, 1'b0};

    logic        first_trigger;  // of this command is still to come
    logic        any_trigger;
    assign any_trigger = events.evict_trigger || events.prefetch_trigger;

    // Time is all that goes on counting in between.
    always_ff @(posedge clk) begin
        if (rst || clear) busy_cycles <= '0;
        else if (busy) busy_cycles <= busy_cycles + 64'd1;
    end

    assign events_work = clear || accepted || ended || events != '0 || completion_valid || lookup_counts || port_counts
                         || index_overflow || result_lost || completion_lost || waits != '0 || query_written || scores_read || select;

    logic counting;  // of a command that ended with OK, in the cycle behind: `command` is still there
    always_ff @(posedge clk_events) begin
        counting <= !rst && !clear && accepted;
        if (rst || clear) begin
            step_count <= '0;
            hot_count <= '0;
            evict_count <= '0;
            prefetch_count <= '0;
            share_count <= '0;
            last_va <= '0;
            last_len <= '0;
            last_target_step <= '0;
            {theta, pool, outside} <= '0;
            ranked_steps <= '0;
        end else if (counting) begin
            case (command.op)
                OP_STEP: begin
                    step_count <= step_count + 64'd1;
                    last_target_step <= command.a;
                    {theta, pool, outside} <= ranked ? {step_theta, step_pool, step_outside} : '0;
                    if (ranked && searched) ranked_steps <= ranked_steps + 64'd1;
                end
                OP_HOT:      hot_count <= hot_count + 64'd1;
                OP_EVICT:    evict_count <= evict_count + 64'd1;
                OP_PREFETCH: begin
                    prefetch_count <= prefetch_count + 64'd1;
                    last_target_step <= command.c;
                end
                OP_SHARE, OP_SHARE_INDEX: share_count <= share_count + 64'd1;
                default: ;
            endcase
            if (command.op == OP_HOT || command.op == OP_EVICT || command.op == OP_PREFETCH || command.op == OP_SHARE) begin
                last_va <= command.a;
                last_len <= command.b;
            end
        end
    end

    always_ff @(posedge clk_events) begin
        if (rst || clear) begin
            triggers <= '0;
            completions <= '0;
            moved_bytes <= '0;
            guards <= '0;
            denials <= '0;
            saturations <= '0;
            release_refusals <= '0;
            hits <= '0;
            hit_total <= '0;
            misses <= '0;
            index_overflows <= '0;
            results_lost <= '0;
            completions_lost <= '0;
            dma_errors <= '0;
            {query_bytes, result_bytes, key_bytes, blocks_scored} <= '0;
            waited <= '0;
        end else begin
            if (events.evict_trigger) triggers[0] <= triggers[0] + 64'd1;
            if (events.prefetch_trigger) triggers[1] <= triggers[1] + 64'd1;
            if (completion_valid) begin
                completions[completion.channel] <= completions[completion.channel] + 64'd1;
                if (!completion.error && completion.copy) moved_bytes[completion.channel] <= moved_bytes[completion.channel] + 64'(BLOCK_BYTES);
            end
            guards <= guards + 64'(events.guards);
            denials <= denials + 64'(events.denials);
            saturations <= saturations + 64'(events.saturations);
            release_refusals <= release_refusals + 64'(events.release_refusals);
            for (int k = 0; k < 4; k++)
                hits[k] <= hits[k] + 64'(lookup_counts && lookup_hit && lookup_tier == 2'(k))
                                   + 64'(port_counts && port_hit && port_tier == 2'(k));
            hit_total <= hit_total + 64'(lookup_counts && lookup_hit) + 64'(port_counts && port_hit);
            misses <= misses + 64'(lookup_counts && !lookup_hit) + 64'(port_counts && !port_hit);
            dma_errors <= dma_errors + 64'(completion_valid && completion.error) + 64'(streamed && !accepted);
            if (query_written) query_bytes <= query_bytes + 64'd4;
            if (scores_read) result_bytes <= result_bytes + 64'd4;
            if (streamed) key_bytes <= key_bytes + (64'(BLOCK_BYTES) >> 1);
            if (streamed && accepted) blocks_scored <= blocks_scored + 64'd1;
            for (int k = 0; k < 3; k++) if (waits[k]) waited[k] <= waited[k] + 64'd1;
            if (index_overflow) index_overflows <= index_overflows + 64'd1;
            if (result_lost) results_lost <= results_lost + 64'd1;
            if (completion_lost) completions_lost <= completions_lost + 64'd1;
        end
    end

    always_ff @(posedge clk_events) begin
        if (rst || clear) begin
            last_command_cycles <= '0;
            step_to_trigger_cycles <= '0;
            first_trigger <= 1'b1;
        end else begin
            if (ended && command.op != OP_DIGEST) last_command_cycles <= 64'(command_cycles);
            if (ended) first_trigger <= 1'b1;
            else if (any_trigger) first_trigger <= 1'b0;
            if (any_trigger && first_trigger && command.op == OP_STEP) step_to_trigger_cycles <= {32'd0, now - command.stamp};
        end
    end

    // ---- read window: a low word latches its high word (R1), each counter's in a place of its own ----------------------------
    logic [63:0] value;
    logic [8:2]  addr;      // of `value`
    logic        latching;  // its high word, while it is on the way to the host
    logic [31:0] latched [64];
    logic [31:0] high;      // what was latched

    always_ff @(posedge clk_events) begin
        addr <= read_addr;
        latching <= !rst && read && !read_addr[2];
        if (select) begin
            // Read here and not on the way out, which has no time for a memory; the read before may be latching in this cycle.
            high <= (latching && addr[8:3] == read_addr[8:3]) ? value[63:32] : latched[read_addr[8:3]];
            case (read_addr[8:3])
                TELE_CURRENT_STEP:             value <= 64'(current_step);
                TELE_STEP_COUNT:               value <= step_count;
                TELE_HOT_COUNT:                value <= hot_count;
                TELE_EVICT_COUNT:              value <= evict_count;
                TELE_PREFETCH_COUNT:           value <= prefetch_count;
                TELE_SHARE_COUNT:              value <= share_count;
                TELE_LAST_VA:                  value <= last_va;
                TELE_LAST_LEN:                 value <= last_len;
                TELE_LAST_TARGET_STEP:         value <= last_target_step;
                TELE_EVICT_TRIGGERS:           value <= triggers[0];
                TELE_PREFETCH_TRIGGERS:        value <= triggers[1];
                TELE_EVICT_COMPLETIONS:        value <= completions[0];
                TELE_PREFETCH_COMPLETIONS:     value <= completions[1];
                TELE_EVICT_BYTES:              value <= moved_bytes[0];
                TELE_PREFETCH_BYTES:           value <= moved_bytes[1];
                TELE_GUARDS:                   value <= guards;
                TELE_DENIALS:                  value <= denials;
                TELE_SATURATIONS:              value <= saturations;
                TELE_RELEASE_REFUSALS:         value <= release_refusals;
                TELE_HITS_T0:                  value <= hits[0];
                TELE_HITS_T1:                  value <= hits[1];
                TELE_HITS_T2:                  value <= hits[2];
                TELE_HITS_T3:                  value <= hits[3];
                TELE_MISSES:                   value <= misses;
                TELE_T1_USED:                  value <= 64'(t1_used);
                TELE_VALID_ENTRIES:            value <= 64'(valid_entries);
                TELE_BUSY_CYCLES:              value <= busy_cycles;
                TELE_LAST_COMMAND_CYCLES:      value <= last_command_cycles;
                TELE_STEP_TO_TRIGGER_CYCLES:   value <= step_to_trigger_cycles;
                TELE_INDEX_OVERFLOWS:          value <= index_overflows;
                TELE_RESULTS_LOST:             value <= results_lost;
                TELE_COMPLETIONS_LOST:         value <= completions_lost;
                TELE_DMA_ERRORS:               value <= dma_errors;
                TELE_THETA:                    value <= 64'(theta);
                TELE_POOL:                     value <= 64'(pool);
                TELE_OUTSIDE:                  value <= 64'(outside);
                TELE_RANKED_STEPS:             value <= ranked_steps;
                TELE_QUERY_BYTES:              value <= query_bytes;
                TELE_RESULT_BYTES:             value <= result_bytes;
                TELE_KEY_BYTES:                value <= key_bytes;
                TELE_BLOCKS_SCORED:            value <= blocks_scored;
                TELE_HOST_WAITS:               value <= waited[0];
                TELE_PORT0_WAITS:              value <= waited[1];
                TELE_PORT1_WAITS:              value <= waited[2];
                default:                       value <= '0;
            endcase
        end
        if (latching) latched[addr[8:3]] <= value[63:32];
    end
    assign read_data = addr[2] ? high : value[31:0];

    // ---- promises, checked in simulation ------------------------------------------------------------------------------------
`ifndef SYNTHESIS
    always_ff @(posedge clk_events) begin
        if (!rst) begin
            hits_add_up: assert (hit_total == hits[0] + hits[1] + hits[2] + hits[3])
                else $error("hit_total is the sum of the tiers' hits");
        end
    end
`endif
endmodule
`default_nettype wire

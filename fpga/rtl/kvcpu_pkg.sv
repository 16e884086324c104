// kvcpu_pkg - the types that the modules of the KV-CPU share.
//
// How a directory entry (contract section 3) is kept: the fields that only LOAD writes (entry_key_t, and the virtual
// address) apart from those that a pass rewrites (entry_state_t) and from those that the DMA completion writes
// (entry_res_t), so that each memory has one writer at a time. phys_addr is not stored: it is TIER_BASE[tier] +
// index*BLOCK_BYTES at every moment, so tier and phys_addr change in one write (R16).
`default_nettype none
package kvcpu_pkg;

    // TOUCH_HINT (R41).
    typedef struct packed {
        logic        wide;   // more was written than it has bits
        logic        labels; // set: the entry's class and order become these
        logic [15:0] label;
    } hint_t;

    // A command on its way from a doorbell to the engine. Operands by opcode:
    //   STEP a=step                 HOT/EVICT/SHARE/RELEASE/UNLOAD a=addr b=len     PREFETCH a=addr b=len c=target
    //   LOAD a=va b={token_end,token_start} c={tier,id}   LOOKUP/TOUCH a={position,id}   UNLOAD_REQUEST/…_INDEX a=value
    //   DIGEST a={end,first}        SET a=value b=setting         CLASS a=addr b=len c={shift,base,class}
    //   SCORE a={position,id} b={flags,slot}
    typedef struct packed {
        logic [4:0]  op;
        logic [63:0] a;
        logic [63:0] b;
        logic [63:0] c;
        hint_t       hint;   // LOAD/TOUCH/SCORE
        logic [31:0] stamp;  // cycle of the doorbell's write handshake
        logic        rung;   // by the page of doorbells
    } command_t;

    typedef struct packed {
        logic [7:0]  code;
        logic [4:0]  op;
        logic        has_index;
        logic [1:0]  tier;
        logic [16:0] matched;
        logic [15:0] index;
        logic [63:0] phys;
        logic [31:0] cycles;
        logic        rung;
    } result_t;

    typedef struct packed {
        logic [31:0] id;    // layer, head, request: word 0 of the entry
        logic [31:0] span;  // token_start with token_end-token_start in its low bits (token_start is a multiple of BLOCK_TOKENS)
    } entry_key_t;

    typedef struct packed {  // words of 32 bits, so that no field lies in two
        logic        pool;   // in ranked mode: the last STEP's first pass found it in the pool (R46); no host sees this
        logic [15:0] label;  // {order, class}
        logic        valid;
        logic        prefix;
        logic        pinned;
        logic        armed;
        logic [7:0]  ref_count;
        logic [15:0] prio;
        logic [7:0]  r;
        logic [7:0]  f;
        logic [31:0] access_step;
    } entry_state_t;

    typedef struct packed {
        logic [1:0] tier;
        logic       dirty;
        logic       inflight;
    } entry_res_t;

    // Settings in force (R6).
    typedef struct packed {
        logic [7:0]       w_r;
        logic [7:0]       w_f;
        logic [7:0]       w_s;
        logic [7:0]       w_d;
        logic [15:0]      evict_thresh;
        logic [15:0]      prefetch_thresh;
        logic [7:0]       window;
        logic [16:0]      t1_capacity;
        logic [1:0]       evict_tier;
        logic             contend_fixed;
        logic             strict;
        logic             ranked;     // POLICY
        logic [7:0]       fill_age;
        logic [3:0][63:0] tier_base;
    } settings_t;

    // How a pass selects entries.
    typedef enum logic [2:0] {
        MATCH_ALL,      // every valid entry
        MATCH_POOL,     // those in the pool
        MATCH_VA,       // [va, va+BLOCK_BYTES) overlaps the range
        MATCH_REQUEST,  // request_id
        MATCH_LANE,     // one lane of one row
        MATCH_KEY,      // key, with the shared-prefix key beside it
        MATCH_NONE      // DIGEST: only kvcpu_digest takes the rows
    } match_e;

    // The passes of a STEP behind its first, in ranked mode. They are no commands, so the register map does not know them.
    typedef enum logic [4:0] {
        OP_COUNT = 5'd29,  // the low bytes of ranks at θ
        OP_LEAVE = 5'd30,  // losers in tier 1 are evicted
        OP_ENTER = 5'd31   // winners outside it are prefetched
    } later_pass_e;

    // What stays the same during one pass.
    typedef struct packed {
        logic [4:0]   op;
        match_e       match;
        logic [31:0]  t;
        logic [31:0]  target;       // PREFETCH
        logic [63:0]  va_low;       // MATCH_VA: va_low <= va < va_end
        logic [64:0]  va_end;
        logic [15:0]  request;      // MATCH_REQUEST
        logic [63:0]  key;          // MATCH_KEY: {id, token_start}
        logic [3:0]   lane;         // MATCH_LANE
        logic [31:0]  first;        // what is hashed, in DIGEST and STEP: first <= index < last
        logic [31:0]  last;
        entry_key_t   load_key;     // LOAD
        logic [63:0]  load_va;      // CLASS: its addr
        logic [1:0]   load_tier;
        logic         loads;        // op is LOAD
        logic         labels;       // class and order are given: LOAD, TOUCH with a hint, CLASS
        logic [15:0]  label;        // CLASS: the order's half is base
        logic [3:0]   shift;        // CLASS
        logic         fresh_row;    // LOAD: the row holds no valid entry and rubbish in its other lanes
    } pass_t;

    // A block to move, as queued on a channel (R16).
    typedef struct packed {
        logic [15:0] index;
        logic [1:0]  from;
        logic [1:0]  to;
        logic        dirty;  // before the move
        logic        copy;   // bytes must move
        logic [31:0] step;
    } trigger_t;

    typedef struct packed {
        logic [15:0] index;
        logic        channel;  // 0 evict, 1 prefetch
        logic [1:0]  from;
        logic [1:0]  to;
        logic        dirty;    // after the move
        logic        copy;
        logic        error;
        logic [31:0] step;
    } completion_t;

    // Events that telemetry counts, as increments of this cycle (R23).
    typedef struct packed {
        logic [4:0] guards;
        logic [4:0] denials;
        logic [4:0] saturations;
        logic [4:0] release_refusals;
        logic       evict_trigger;
        logic       prefetch_trigger;
    } pass_events_t;

    // The 256-bit entry as a host sees it (contract section 3).
    function automatic logic [255:0] entry_bits(
        input entry_key_t key, input entry_state_t state, input entry_res_t res, input logic [63:0] phys,
        input int unsigned token_bits
    );
        for (int k = 0; k < 4; k++) entry_bits[64*k +: 64] = entry_word(k, key, state, res, phys, token_bits);
    endfunction

    // Its 64-bit word k.
    /* verilator lint_off UNUSEDSIGNAL */  // `pool` is not shown
    function automatic logic [63:0] entry_word(
        input int k, input entry_key_t key, input entry_state_t state, input entry_res_t res, input logic [63:0] phys,
        input int unsigned token_bits
    );
        logic [31:0] mask;
        logic [31:0] token_start;
        mask = (32'd1 << token_bits) - 32'd1;
        token_start = key.span & ~mask;
        case (k)
            0: entry_word = {token_start, key.id};
            1: entry_word = {phys[29:0], res.tier, token_start + (key.span & mask)};
            2: entry_word = {state.access_step[13:0], state.prio, phys[63:30]};
            default:
                entry_word = {state.label, state.armed, res.inflight, state.pinned, state.valid, state.f, state.r, res.dirty,
                              state.prefix, state.ref_count, state.access_step[31:14]};
        endcase
        if (!state.valid) entry_word = '0;
    endfunction
    /* verilator lint_on UNUSEDSIGNAL */

endpackage
`default_nettype wire

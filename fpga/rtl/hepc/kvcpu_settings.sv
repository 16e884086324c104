// kvcpu_settings - the settings in force (R6) and the rules for changing them.
//
// A change arrives as a command, in order with all others, so no pass ever sees a weight change half way. `code` says in
// the same cycle whether `value` is acceptable for `setting`: only then is there to be a `change`. Nothing is cut to fit (R6), and what the layout of memory
// depends on changes only while the directory is empty (R16).
`default_nettype none
module kvcpu_settings
    import kvcpu_pkg::*;
    import kvcpu_map_pkg::*;
#(
    parameter int unsigned ENTRIES = 65536,
    parameter int unsigned BLOCK_BYTES = 16384
) (
    input  wire logic        clk,
    input  wire logic        clk_shown,  // of `in_force`
    input  wire logic        rst,
    input  wire logic        change,
    input  wire logic [4:0]  setting,
    input  wire logic [63:0] value,
    input  wire logic        empty,   // no valid entry
    input  wire logic        bank,    // of PTABLE
    output logic             commit,  // swap its banks
    output logic [7:0]       code,
    output settings_t        set,
    input  wire logic [4:0]  shown,
    output logic [63:0]      in_force // what the register of `shown` shows, a cycle later
);
    assign commit = change && setting == SET_PTABLE_COMMIT;

    logic wide8, wide16, unaligned;
    assign wide8 = (value[63:8] != '0);
    assign wide16 = (value[63:16] != '0);
    assign unaligned = ((value & (64'(BLOCK_BYTES) - 64'd1)) != '0);

    always_comb begin
        code = CODE_OK;
        case (setting)
            SET_WINDOW, SET_WEIGHT_R, SET_WEIGHT_F, SET_WEIGHT_S, SET_WEIGHT_D, SET_FILL_AGE: if (wide8) code = CODE_ERR_RANGE;
            SET_EVICT_THRESH, SET_PREFETCH_THRESH: if (wide16) code = CODE_ERR_RANGE;
            SET_CONTEND_POLICY, SET_POLICY: if (value > 64'd1) code = CODE_ERR_RANGE;
            SET_PTABLE_COMMIT: if (value != 64'd1) code = CODE_ERR_RANGE;
            SET_T1_CAPACITY: if (value > 64'(ENTRIES)) code = CODE_ERR_RANGE;
            SET_EVICT_TIER:
                if (value[63:1] != 63'd1) code = CODE_ERR_RANGE;
                else if (!empty) code = CODE_ERR_NOT_EMPTY;
            SET_TIER_BASE0, SET_TIER_BASE1, SET_TIER_BASE2, SET_TIER_BASE3:
                if (unaligned) code = CODE_ERR_RANGE;
                else if (!empty) code = CODE_ERR_NOT_EMPTY;
            default: ;
        endcase
    end

    always_ff @(posedge clk_shown) begin
        case (shown)
            SET_WINDOW:          in_force <= 64'(set.window);
            SET_WEIGHT_R:        in_force <= 64'(set.w_r);
            SET_WEIGHT_F:        in_force <= 64'(set.w_f);
            SET_WEIGHT_S:        in_force <= 64'(set.w_s);
            SET_WEIGHT_D:        in_force <= 64'(set.w_d);
            SET_EVICT_THRESH:    in_force <= 64'(set.evict_thresh);
            SET_PREFETCH_THRESH: in_force <= 64'(set.prefetch_thresh);
            SET_CONTEND_POLICY:  in_force <= 64'(set.contend_fixed);
            SET_T1_CAPACITY:     in_force <= 64'(set.t1_capacity);
            SET_EVICT_TIER:      in_force <= 64'(set.evict_tier);
            SET_POLICY:          in_force <= 64'(set.ranked);
            SET_FILL_AGE:        in_force <= 64'(set.fill_age);
            SET_PTABLE_COMMIT:   in_force <= 64'(bank);
            SET_TIER_BASE0:      in_force <= set.tier_base[0];
            SET_TIER_BASE1:      in_force <= set.tier_base[1];
            SET_TIER_BASE2:      in_force <= set.tier_base[2];
            SET_TIER_BASE3:      in_force <= set.tier_base[3];
            SET_CTRL:            in_force <= {61'd0, set.strict, 2'd0};
            default:             in_force <= '0;
        endcase
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            set.w_r <= 8'd1;
            set.w_f <= 8'd1;
            set.w_s <= 8'd2;
            set.w_d <= 8'd200;
            set.evict_thresh <= 16'h1000;
            set.prefetch_thresh <= 16'hE000;
            set.window <= 8'd255;
            set.t1_capacity <= 17'(ENTRIES);
            set.evict_tier <= 2'd2;
            set.contend_fixed <= 1'b0;
            set.strict <= 1'b1;
            set.ranked <= 1'b0;
            set.fill_age <= 8'd1;
            for (int k = 0; k < 4; k++) set.tier_base[k] <= 64'(k) * 64'(ENTRIES) * 64'(BLOCK_BYTES);
        end else if (change) begin
            case (setting)
                SET_WINDOW:          set.window <= value[7:0];
                SET_WEIGHT_R:        set.w_r <= value[7:0];
                SET_WEIGHT_F:        set.w_f <= value[7:0];
                SET_WEIGHT_S:        set.w_s <= value[7:0];
                SET_WEIGHT_D:        set.w_d <= value[7:0];
                SET_EVICT_THRESH:    set.evict_thresh <= value[15:0];
                SET_PREFETCH_THRESH: set.prefetch_thresh <= value[15:0];
                SET_CONTEND_POLICY:  set.contend_fixed <= value[0];
                SET_T1_CAPACITY:     set.t1_capacity <= value[16:0];
                SET_EVICT_TIER:      set.evict_tier <= value[1:0];
                SET_POLICY:          set.ranked <= value[0];
                SET_FILL_AGE:        set.fill_age <= value[7:0];
                SET_TIER_BASE0:      set.tier_base[0] <= value;
                SET_TIER_BASE1:      set.tier_base[1] <= value;
                SET_TIER_BASE2:      set.tier_base[2] <= value;
                SET_TIER_BASE3:      set.tier_base[3] <= value;
                SET_CTRL:            set.strict <= value[2];
                default: ;
            endcase
        end
    end
endmodule
`default_nettype wire

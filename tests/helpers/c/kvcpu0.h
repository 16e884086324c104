/* The ioctls of /dev/kvcpu0, written down once more from contract section 7: the tests hold host/linux/ioctls.py against it. */
#ifndef KVCPU0_H
#define KVCPU0_H

#include <stdint.h>
#include <sys/ioctl.h>

struct kvcpu_step {
    uint64_t step;
};

struct kvcpu_range {
    uint64_t va, len, target_step;
};

struct kvcpu_weights {
    uint32_t w_r, w_f, w_s, w_d, evict_thresh, prefetch_thresh;
};

struct kvcpu_telemetry {
    uint64_t current_step, step_count, hot_count, evict_count, prefetch_count, share_count, last_va, last_len, last_target_step;
    uint32_t w_r, w_f, w_s, w_d, evict_thresh, prefetch_thresh;
};

#define KVCPU_STEP_ADVANCE _IOW('K', 1, struct kvcpu_step)
#define KVCPU_MARK_HOT _IOW('K', 2, struct kvcpu_range)
#define KVCPU_EVICT _IOW('K', 3, struct kvcpu_range)
#define KVCPU_PREFETCH _IOW('K', 4, struct kvcpu_range)
#define KVCPU_SHARE_PREFIX _IOW('K', 5, struct kvcpu_range)
#define KVCPU_SET_WEIGHTS _IOW('K', 6, struct kvcpu_weights)
#define KVCPU_GET_TELEMETRY _IOR('K', 7, struct kvcpu_telemetry)

#endif

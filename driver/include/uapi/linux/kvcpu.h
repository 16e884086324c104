/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR Apache-2.0 */
/*
 * The control interface of /dev/kvcpuN. Numbers 1 to 7 are those of existing tools (device
 * contract, section 7); from 8 on every structure begins with its version, KVCPU_ABI, and reserved
 * members and unknown flags must be 0.
 *
 * An ioctl returns when the device has run the command. What the device refuses is an errno:
 *   EINVAL      ERR_LEN, ERR_RANGE, ERR_STEP_ORDER; another version, unknown flag, reserved member
 *   ENOENT      ERR_NOT_FOUND              EEXIST      ERR_EXISTS
 *   ENOSPC      ERR_FULL                   EBUSY       ERR_NOT_EMPTY
 *   EAGAIN      ERR_NOT_RESIDENT           EOPNOTSUPP  ERR_UNSUPPORTED, or no compute engine
 *   EIO         ERR_MEMORY, or a device that answers wrongly or not at all (every later call, too)
 *   ENODEV      the device is gone
 *   EINTR       a signal came before the command was given to the device
 *
 * write(2) takes an array of struct kvcpu_post and returns when they are queued: it waits while the
 * device's queue is full (O_NONBLOCK: EAGAIN), and never drops one. read(2) gives struct
 * kvcpu_event: the result of each posted command in the order of posting, and a record of each move
 * between tiers. poll(2) tells which of the two would not wait.
 *
 * mmap(2) at offset 0, PROT_READ, shared: the directory, 32 bytes an entry (device contract,
 * section 3), the virtual addresses of the blocks from 2 MiB on. At KVCPU_MAP_TIER2 and
 * KVCPU_MAP_TIER3, shared: the memory of this host that the device has for these tiers, block i at
 * i times the size of a block (EINVAL where the device has them in memory of its own). After the
 * device has gone, touching a mapping is a SIGBUS.
 *
 * At KVCPU_MAP_DOORBELL, one page, shared, PROT_WRITE: STEP without a system call. A store of 64
 * bits to KVCPU_RING_STEP, or of 32 to KVCPU_RING_STEP_FAST, queues it; nobody is told its result,
 * and the telemetry shows it when it has run. Half of the device's queue is for it: a ring that
 * finds no room there is refused by the device, as is a step behind the current one (the attributes
 * rung_steps and rung_refused count what ran, and the kernel's log what found no room). From the
 * first such mapping on, the driver's own commands have the other half. The page reads as zero.
 * Store nothing else to it: that is an error of the device's bus. EINVAL where the device has no
 * such page, or pages of this machine are larger than 4 KiB.
 */
#ifndef _UAPI_LINUX_KVCPU_H
#define _UAPI_LINUX_KVCPU_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KVCPU_ABI	1

#define KVCPU_MAP_TIER2	0x100000000ULL
#define KVCPU_MAP_TIER3	0x200000000ULL
#define KVCPU_MAP_DOORBELL	0x300000000ULL

#define KVCPU_RING_STEP		0x10
#define KVCPU_RING_STEP_FAST	0x18

struct kvcpu_step {
	__u64 step;
};

/*
 * target_step is for PREFETCH; it is reported as last_target_step whichever command it came with.
 */
struct kvcpu_range {
	__u64 va;
	__u64 len;
	__u64 target_step;
};

struct kvcpu_weights {
	__u32 w_r;
	__u32 w_f;
	__u32 w_s;
	__u32 w_d;
	__u32 evict_thresh;
	__u32 prefetch_thresh;
};

struct kvcpu_telemetry {
	__u64 current_step;
	__u64 step_count;
	__u64 hot_count;
	__u64 evict_count;
	__u64 prefetch_count;
	__u64 share_count;
	__u64 last_va;
	__u64 last_len;
	__u64 last_target_step;
	struct kvcpu_weights weights;
};

/* Flags of LOAD and LOOKUP. */
#define KVCPU_HINT	0x1	/* cls and order become those of the block (R41) */
#define KVCPU_TOUCH	0x2	/* of LOOKUP: an access, not only a look (R13) */
/* Flag of UNLOAD. */
#define KVCPU_REQUEST	0x4	/* all blocks of `request`, instead of those in [va, va + len) */

#define KVCPU_NO_INDEX	0xffffffffu

/* index: where the block went. */
struct kvcpu_load {
	__u32 version;
	__u32 flags;
	__u16 request;
	__u8 layer;
	__u8 head;
	__u32 token_start;
	__u32 token_end;	/* inclusive */
	__u32 tier;
	__u64 va;
	__u8 cls;
	__u8 order;
	__u16 reserved;
	__u32 index;		/* out */
};

struct kvcpu_unload {
	__u32 version;
	__u32 flags;
	__u64 va;
	__u64 len;
	__u32 request;
	__u32 matched;		/* out */
};

struct kvcpu_lookup {
	__u32 version;
	__u32 flags;
	__u16 request;
	__u8 layer;
	__u8 head;
	__u32 token_pos;
	__u8 cls;
	__u8 order;
	__u16 reserved;
	__u32 index;		/* out: KVCPU_NO_INDEX is a miss, the rest 0 then */
	__u32 tier;		/* out */
	__u32 reserved2;
	__u64 phys_addr;	/* out: in the device's memory space */
};

struct kvcpu_class {
	__u32 version;
	__u32 flags;
	__u64 va;
	__u64 len;
	__u32 cls;
	__u32 base;
	__u32 shift;
	__u32 matched;		/* out */
};

#define KVCPU_LINEAR	0
#define KVCPU_RANKED	1

struct kvcpu_policy {
	__u32 version;
	__u32 flags;
	__u32 policy;
	__u32 fill_age;
};

#define KVCPU_BUCKETS	64

/*
 * The whole rank table: `classes` must be that of the device (R45), `codes` points to classes *
 * KVCPU_BUCKETS bytes.
 */
struct kvcpu_ptable {
	__u32 version;
	__u32 flags;
	__u32 classes;
	__u32 reserved;
	__u64 codes;
};

/*
 * Queries for SCORE: `count` of them, of `head_dim` FP16 values each, which `values` points to, go
 * into the slots from `slot` on (of KVCPU_SLOTS; R30). `head_dim` must be that of the device. All
 * programs share the slots, and a SCORE under way with a slot may see the values of before or
 * after: programs agree on who has which, and each waits for its SCOREs.
 */
#define KVCPU_SLOTS	64

struct kvcpu_query {
	__u32 version;
	__u32 flags;
	__u32 slot;
	__u32 count;
	__u32 head_dim;
	__u32 reserved;
	__u64 values;
};

/* Flags of SCORE, beside KVCPU_HINT. */
#define KVCPU_NUMERATORS	0x8	/* exp(score - max) of each row, and their sum (R32) */
#define KVCPU_FP16		0x10	/* scores as FP16, rounded once (R31): half to read */

/*
 * The scores of a block's keys with the query in `slot`: a touch of the block first, then `rows`
 * scores, where `rows` must be the device's tokens of a block. A block outside of tier 1 is EAGAIN,
 * and was called (R30): the event of its move says when to ask again.
 */
struct kvcpu_score {
	__u32 version;
	__u32 flags;
	__u16 request;
	__u8 layer;
	__u8 head;
	__u32 token_pos;
	__u32 slot;
	__u8 cls;
	__u8 order;
	__u16 rows;
	__u64 scores;		/* points to `rows` FP32, or FP16 with KVCPU_FP16 */
	__u64 numerators;	/* points to `rows` FP32; 0 without KVCPU_NUMERATORS */
	__u32 max;		/* out, as all behind it: FP32, or 0 without KVCPU_NUMERATORS */
	__u32 sum;
	__u32 index;
	__u32 tier;
	__u64 phys_addr;
};

/*
 * For a host that checks the device: a command by the registers that it is made of, the device's
 * own answer, and registers. All of these want the node open for writing (EBADF).
 *
 * KVCPU_RUN: `writes` points to `count` structs kvcpu_register, operands of one command and its
 * doorbell, or a setting, last (EINVAL: another register; SCORE, TIER_BASE, or a soft reset). What
 * the device refuses is no error: `code` is its RESULT_STATUS.code.
 * KVCPU_ACCESS: `count` words from `offset` of BAR0 on, at most 1024: read from registers to which
 * nothing happens then, or, with KVCPU_STORE, written to SCRATCH, PTABLE or QUERY (EACCES: others).
 * KVCPU_IDLE: waits until nothing is queued, running or moving; read(2) has every record of a move
 * then (ETIMEDOUT: after 60 s).
 * KVCPU_RESET: waits, then resets the device for everybody; tiers 2 and 3 are in its own memory
 * until the driver is loaded again.
 */
#define KVCPU_WRITES	8

struct kvcpu_register {
	__u32 offset;		/* in BAR0 */
	__u32 bytes;		/* 4 or 8, as the register has them */
	__u64 value;
};

struct kvcpu_run {
	__u32 version;
	__u32 flags;
	__u32 count;
	__u32 reserved;
	__u64 writes;
	__u32 code;		/* out, as all that follow */
	__u32 matched;
	__u32 index;		/* KVCPU_NO_INDEX: none */
	__u32 tier;
	__u64 phys_addr;
	__u32 cycles;
	__u32 reserved2;
};

/* Flag of ACCESS. */
#define KVCPU_STORE	0x8

struct kvcpu_access {
	__u32 version;
	__u32 flags;
	__u32 offset;
	__u32 count;
	__u64 words;
};

#define KVCPU_STEP_ADVANCE	_IOW('K', 1, struct kvcpu_step)
#define KVCPU_MARK_HOT		_IOW('K', 2, struct kvcpu_range)
#define KVCPU_EVICT		_IOW('K', 3, struct kvcpu_range)
#define KVCPU_PREFETCH		_IOW('K', 4, struct kvcpu_range)
#define KVCPU_SHARE_PREFIX	_IOW('K', 5, struct kvcpu_range)
#define KVCPU_SET_WEIGHTS	_IOW('K', 6, struct kvcpu_weights)
#define KVCPU_GET_TELEMETRY	_IOR('K', 7, struct kvcpu_telemetry)
#define KVCPU_LOAD		_IOWR('K', 8, struct kvcpu_load)
#define KVCPU_UNLOAD		_IOWR('K', 9, struct kvcpu_unload)
#define KVCPU_LOOKUP		_IOWR('K', 10, struct kvcpu_lookup)
#define KVCPU_CLASS		_IOWR('K', 11, struct kvcpu_class)
#define KVCPU_POLICY		_IOW('K', 12, struct kvcpu_policy)
#define KVCPU_PTABLE		_IOW('K', 13, struct kvcpu_ptable)
#define KVCPU_RELEASE		_IOW('K', 14, struct kvcpu_range)
#define KVCPU_QUERY		_IOW('K', 15, struct kvcpu_query)
#define KVCPU_SCORE		_IOWR('K', 16, struct kvcpu_score)
#define KVCPU_RUN		_IOWR('K', 24, struct kvcpu_run)
#define KVCPU_ACCESS		_IOW('K', 25, struct kvcpu_access)
#define KVCPU_IDLE		_IO('K', 26)
#define KVCPU_RESET		_IO('K', 27)

/*
 * What write(2) takes: the number of the ioctl (1 to 5, 14) that the command is otherwise given
 * with.
 */
struct kvcpu_post {
	__u32 version;
	__u32 number;
	__u64 cookie;		/* comes back in the event */
	__u64 va;
	__u64 len;
	__u64 step;		/* of STEP_ADVANCE and PREFETCH */
};

/*
 * What io_uring takes, as `cmd` of an IORING_OP_URING_CMD with the number of the ioctl (1 to 5, 14)
 * as cmd_op. `res` of its answer, which comes when the device has run the command: blocks in the
 * range (of a STEP all valid ones), or -errno. While the device's queue is full, commands wait in
 * threads of io_uring and may overtake one another: link those whose order matters.
 */
struct kvcpu_uring {
	__u64 va;
	__u32 len;
	__u32 step;		/* of STEP_ADVANCE and PREFETCH */
};

#define KVCPU_EVENT_RESULT	1
#define KVCPU_EVENT_MOVE	2

/* What read(2) gives. */
struct kvcpu_event {
	__u32 type;
	__u32 lost;		/* moves that this file took too late, since the last event */
	__u64 cookie;		/* result: of the post */
	__s32 error;		/* 0 or -errno; of a move: -EIO where the memory refused */
	__u32 matched;		/* result: blocks in the range, of a STEP all valid ones */
	__u32 cycles;		/* result: of the command */
	__u32 index;		/* move: of the block */
	__u8 from_tier;		/* move */
	__u8 to_tier;		/* move */
	__u8 prefetch;		/* move: 1 by a prefetch, 0 by an eviction */
	__u8 reserved;
	__u32 step;		/* move */
};

#endif

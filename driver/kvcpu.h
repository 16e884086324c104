/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The KV-CPU's Linux driver: what its parts share.
 *
 *   pci.c         the PCI function: identity, memory lent to the device, interrupt, arrival, end
 *   queue.c       commands: operands, doorbell, a place in the queue, result; telemetry, settings
 *   scores.c      the compute engine: queries into its buffer, scores out of it
 *   node.c        /dev/kvcpuN
 *   registers.c   of that, the ioctls by which a host runs commands by their registers
 *   uring.c       its commands by io_uring
 *   attributes.c  /sys/class/kv_cpu/kvcpuN
 *
 * Locks, outermost first: `here` (read by whoever uses the device, written once, when it goes),
 * `windows` (queries, and the idle bank of the rank table until it is committed), `issue` (operand
 * registers and doorbells, so also the order of `sent`), `drain` (RESULT, SCORES, COMPLETION and
 * ERROR registers), `list` (the lists, a spinlock).
 */
#ifndef KVCPU_H
#define KVCPU_H

#include <linux/cdev.h>
#include <linux/completion.h>
#include <linux/device.h>
#include <linux/io.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/kfifo.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linux/kvcpu.h>
#include "kvcpu_regs.h"

/* The offset of a register of BAR0, by its name in the register map. */
#define REG(name)	((u32)offsetof(kvcpu_t, name))
#define TELEMETRY(name)	((u32)(offsetof(kvcpu_t, TELEMETRY) + offsetof(kvcpu__TELEMETRY_t, name)))

/* fpga/regs/kvcpu.rdl, which no header of it names; tests/scripts/test_driver.py compares. */
enum kvcpu_opcode {
	KVCPU_OP_STEP = 1,
	KVCPU_OP_HOT = 2,
	KVCPU_OP_EVICT = 3,
	KVCPU_OP_PREFETCH = 4,
	KVCPU_OP_SHARE = 5,
	KVCPU_OP_RELEASE = 6,
	KVCPU_OP_UNLOAD = 7,
	KVCPU_OP_UNLOAD_REQUEST = 8,
	KVCPU_OP_LOAD = 9,
	KVCPU_OP_LOOKUP = 10,
	KVCPU_OP_TOUCH = 11,
	KVCPU_OP_SHARE_INDEX = 12,
	KVCPU_OP_RELEASE_INDEX = 13,
	KVCPU_OP_DIGEST = 14,
	KVCPU_OP_SET = 15,
	KVCPU_OP_CLASS = 16,
	KVCPU_OP_SCORE = 17,
};

enum kvcpu_code {
	KVCPU_OK = 0,
	KVCPU_ERR_LEN = 1,
	KVCPU_ERR_NOT_FOUND = 2,
	KVCPU_ERR_EXISTS = 3,
	KVCPU_ERR_FULL = 4,
	KVCPU_ERR_RANGE = 5,
	KVCPU_ERR_STEP_ORDER = 6,
	KVCPU_ERR_NOT_RESIDENT = 7,
	KVCPU_ERR_NOT_EMPTY = 8,
	KVCPU_ERR_UNSUPPORTED = 9,
	KVCPU_ERR_MEMORY = 10,
};

struct io_uring_cmd;
struct kvcpu_file;

struct kvcpu_result {
	u32 code;
	u32 matched;
	u32 index;
	u32 tier;
	u32 cycles;
	u64 phys_addr;
};

/* Of SCORE_FLAGS (R30); the driver's own flags are others. */
#define KVCPU_SCORE_NUMERATORS	1

/* Most rows that a block has, and values that a row has, where there is a compute engine (D33). */
#define KVCPU_ROWS	256
#define KVCPU_VALUES	256

/*
 * What a SCORE computed, for whoever waits for it; `rows`, `fp16` and `numerators` say what to
 * take.
 */
struct kvcpu_scores {
	u32 rows;
	bool fp16;
	bool numerators;
	u32 max;
	u32 sum;
	u32 exps[KVCPU_ROWS];
	u32 values[KVCPU_ROWS];	/* FP32; or FP16 two a word, the lower row in the lower half */
};

struct kvcpu_write {
	u32 offset;
	u32 bytes;		/* 4 or 8 */
	u64 value;
};

/* A command: its writes, the doorbell last, and what became of it. */
struct kvcpu_command {
	enum kvcpu_opcode opcode;
	u32 count;
	struct kvcpu_write writes[8];
	bool has_target;		/* came with a target step */
	u64 target_step;

	struct list_head sent;		/* in kvcpu.sent until its result came */
	struct completion done;
	int error;			/* once done: 0 or -errno */
	struct kvcpu_result result;
	struct kvcpu_scores *scores;	/* of a SCORE: to be filled where it is not refused */
	struct kvcpu_file *file;	/* posted by it, which is told … */
	u64 cookie;
	struct io_uring_cmd *uring;	/* … or asked by it; else somebody waits for `done` */
};

#define PATIENCE	(60 * HZ)	/* with a device that comes to no end; then it is dead */
#define KVCPU_SETTINGS	6
#define KVCPU_PAGE	4096		/* of doorbells */
#define KVCPU_INTERRUPTS	(KVCPU__IRQ_ENABLE__RESULT_bm | KVCPU__IRQ_ENABLE__COMPLETION_bm | \
				 KVCPU__IRQ_ENABLE__ERROR_bm)

struct kvcpu {
	struct device dev;
	struct cdev cdev;
	struct pci_dev *pdev;
	int number;
	void __iomem *bar0;
	phys_addr_t directory;		/* BAR2 */
	size_t directory_bytes;
	u32 entries;
	u32 classes;
	u32 block_bytes;
	u32 block_tokens;
	u32 head_dim;
	bool nmce;			/* is there a compute engine? */
	u32 doorbells;			/* offset of their page in BAR0; 0: there is none */

	struct rw_semaphore here;
	bool gone;			/* written under `here` */
	bool failed;			/* the device answered wrongly: it is not asked any more */

	struct mutex windows;		/* of queries, and of the rank table */
	struct mutex issue;		/* operands and doorbells */
	u32 depth;			/* of the device's queue, or of our half of it */
	u64 target_step;		/* of the last HOT, EVICT or SHARE: news to the device */
	bool target_step_is_ours;	/* nothing came after it whose target step is not */

	struct mutex drain;		/* results, records and errors */
	u64 interrupts;
	u64 late_results;		/* found by looking, without an interrupt */
	u64 rung_steps;			/* STEPs that user space rang, */
	u64 rung_refused;		/* and those that were queued, and refused then */

	spinlock_t list;		/* the lists, and what says so */
	struct list_head sent;		/* commands that the device has, oldest first */
	u32 in_flight;			/* how many of them; never above `depth` */
	struct list_head files;
	struct delayed_work watch;	/* while commands are out */
	unsigned long progress;		/* jiffies of the last result, or first command out since */
	wait_queue_head_t room;		/* in_flight fell, or the device is gone */

	bool lends;			/* until a reset of KVCPU_RESET */
	void *lent[2];			/* memory of this host that holds tiers 2 and 3 */
	dma_addr_t lent_bus[2];
	size_t lent_bytes;
};

/*
 * An open file. Posts that are not read yet take a place in `results` beforehand, so that none is
 * ever lost.
 */
#define KVCPU_EVENTS	256

struct kvcpu_file {
	struct kvcpu *kv;
	struct file *file;
	struct list_head files;
	struct mutex reading;		/* one reader at a time, */
	struct mutex writing;		/* and one writer */
	u32 promised;			/* under kv->list: posted, and not read yet */
	u32 outstanding;		/* under kv->list: posted, and without a result */
	u32 lost;			/* under kv->list: moves that found `moves` full */
	wait_queue_head_t wait;
	DECLARE_KFIFO(results, struct kvcpu_event, KVCPU_EVENTS);
	DECLARE_KFIFO(moves, struct kvcpu_event, KVCPU_EVENTS);
};

static inline u32 kvcpu_read32(struct kvcpu *kv, u32 offset)
{
	return readl(kv->bar0 + offset);
}

/* The low word latches the high one (R1). */
static inline u64 kvcpu_read64(struct kvcpu *kv, u32 offset)
{
	u64 low = readl(kv->bar0 + offset);

	return low | (u64)readl(kv->bar0 + offset + 4) << 32;
}

/* TOUCH_HINT (R41), by the flags of LOAD, LOOKUP or SCORE. */
static inline u32 kvcpu_touch_hint(u32 flags, u8 cls, u8 order)
{
	if (!(flags & KVCPU_HINT))
		return 0;
	return cls | order << KVCPU__TOUCH_HINT__ORDER_bp | KVCPU__TOUCH_HINT__SET_bm;
}

/* LOAD_ID, LOOKUP_ID and SCORE_ID: word 0 of an entry. */
static inline u32 kvcpu_key(u16 request, u8 layer, u8 head)
{
	return request | head << KVCPU_SPACE__BAR2_ENTRIES__ENTRY__HEAD_bp |
	       (u32)layer << KVCPU_SPACE__BAR2_ENTRIES__ENTRY__LAYER_bp;
}

/* queue.c */
void kvcpu_drain(struct kvcpu *kv);
int kvcpu_run(struct kvcpu *kv, struct kvcpu_command *commands, u32 count);
int kvcpu_post(struct kvcpu *kv, struct kvcpu_command *command, bool wait);
void kvcpu_watch(struct work_struct *work);
void kvcpu_abandon(struct kvcpu *kv, int error);
void kvcpu_add(struct kvcpu_command *command, u32 offset, u32 bytes, u64 value);
void kvcpu_begin(struct kvcpu_command *command, enum kvcpu_opcode opcode);
int kvcpu_make_range(struct kvcpu_command *command, u32 number, const struct kvcpu_range *range);
int kvcpu_hint(struct kvcpu *kv, u32 number, const struct kvcpu_range *range);
int kvcpu_set_weights(struct kvcpu *kv, const u32 *values, u32 first, u32 count);
void kvcpu_telemetry(struct kvcpu *kv, struct kvcpu_telemetry *telemetry);
int kvcpu_usable(struct kvcpu *kv);
int kvcpu_enter(struct kvcpu *kv);

/* scores.c */
int kvcpu_query(struct kvcpu *kv, const struct kvcpu_query *query);
int kvcpu_score(struct kvcpu *kv, struct kvcpu_score *score);
void kvcpu_take_scores(struct kvcpu *kv, struct kvcpu_scores *scores);

/* registers.c */
long kvcpu_do_run(struct kvcpu *kv, struct kvcpu_run *run);
long kvcpu_do_access(struct kvcpu *kv, const struct kvcpu_access *access);
long kvcpu_do_idle(struct kvcpu *kv);
long kvcpu_do_reset(struct kvcpu *kv);

/* node.c */
extern const struct file_operations kvcpu_fops;
void kvcpu_tell_move(struct kvcpu *kv, u64 record);
void kvcpu_tell_result(struct kvcpu_command *command);
void kvcpu_wake_files(struct kvcpu *kv);
void kvcpu_unmap(struct kvcpu *kv);

/* uring.c */
int kvcpu_uring_cmd(struct io_uring_cmd *request, unsigned int issue_flags);
void kvcpu_answer_uring(struct kvcpu_command *command);

/* attributes.c */
extern const struct attribute_group *kvcpu_groups[];

#endif

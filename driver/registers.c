// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The device by its registers, as far as that disturbs nobody: for a host that checks every command
 * against a reference and so needs the device's own answers. A command is the registers that it is
 * made of, and runs as any other does; registers are read that nothing happens to; and of what only
 * stores, SCRATCH and the windows of tables and queries are written. Where memory is (TIER_BASE),
 * interrupts, and the queues of results and records stay the driver's.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kvcpu.h"

#define AT_ONCE		1024			/* words of one copy */

struct place {
	u32 offset, bytes;
	enum kvcpu_opcode opcode;		/* that writing it queues; none: an operand */
};

static const struct place places[] = {
	{ REG(STEP_FAST), 4, KVCPU_OP_STEP },
	{ REG(STEP_ADVANCE), 8, KVCPU_OP_STEP },
	{ REG(RTBD_SHARE), 4, KVCPU_OP_SHARE_INDEX },
	{ REG(RTBD_RELEASE), 4, KVCPU_OP_RELEASE_INDEX },
	{ REG(BOOST_ADDR), 8 }, { REG(BOOST_LEN), 8, KVCPU_OP_HOT },
	{ REG(IMEVICT_ADDR), 8 }, { REG(IMEVICT_LEN), 8, KVCPU_OP_EVICT },
	{ REG(PREFETCH_ADDR), 8 }, { REG(PREFETCH_LEN), 8 },
	{ REG(PREFETCH_STEP), 8, KVCPU_OP_PREFETCH },
	{ REG(SHARE_ADDR), 8 }, { REG(SHARE_LEN), 8, KVCPU_OP_SHARE },
	{ REG(RELEASE_ADDR), 8 }, { REG(RELEASE_LEN), 8, KVCPU_OP_RELEASE },
	{ REG(UNLOAD_ADDR), 8 }, { REG(UNLOAD_LEN), 8, KVCPU_OP_UNLOAD },
	{ REG(UNLOAD_ID), 4, KVCPU_OP_UNLOAD_REQUEST },
	{ REG(CLASS_ADDR), 8 }, { REG(CLASS_LEN), 8 }, { REG(CLASS_ID), 4 },
	{ REG(CLASS_ORDER), 4, KVCPU_OP_CLASS },
	{ REG(LOAD_ID), 4 }, { REG(LOAD_TOKEN_START), 4 }, { REG(LOAD_VA), 8 },
	{ REG(LOAD_TOKEN_END), 4 }, { REG(TOUCH_HINT), 4 }, { REG(LOAD_TIER), 4, KVCPU_OP_LOAD },
	{ REG(LOOKUP_ID), 4 }, { REG(LOOKUP_POS), 4, KVCPU_OP_LOOKUP },
	{ REG(TOUCH_POS), 4, KVCPU_OP_TOUCH },
	{ REG(DIGEST_FIRST), 4 }, { REG(DIGEST_END), 4, KVCPU_OP_DIGEST },
	{ REG(WINDOW), 4, KVCPU_OP_SET },
	{ REG(CONTEND_POLICY), 4, KVCPU_OP_SET },
	{ REG(CTRL), 4, KVCPU_OP_SET },
	{ REG(WEIGHT_R), 8, KVCPU_OP_SET },
	{ REG(WEIGHT_F), 8, KVCPU_OP_SET },
	{ REG(WEIGHT_S), 8, KVCPU_OP_SET },
	{ REG(WEIGHT_D), 8, KVCPU_OP_SET },
	{ REG(EVICT_THRESH), 8, KVCPU_OP_SET },
	{ REG(PREFETCH_THRESH), 8, KVCPU_OP_SET },
	{ REG(T1_CAPACITY), 4, KVCPU_OP_SET },
	{ REG(EVICT_TIER), 4, KVCPU_OP_SET },
	{ REG(POLICY), 4, KVCPU_OP_SET },
	{ REG(FILL_AGE), 4, KVCPU_OP_SET },
	{ REG(PTABLE_COMMIT), 4, KVCPU_OP_SET },
};

static const struct place *place_of(const struct kvcpu_register *write)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(places); i++)
		if (places[i].offset == write->offset && places[i].bytes == write->bytes)
			return &places[i];
	return NULL;
}

/* Operands, and the doorbell last; a soft reset is KVCPU_RESET. */
static int make(struct kvcpu_command *command, const struct kvcpu_register *writes, u32 count)
{
	const struct place *place = NULL;
	u32 i;

	kvcpu_begin(command, 0);
	for (i = 0; i < count; i++) {
		if (place && place->opcode)
			return -EINVAL;
		place = place_of(&writes[i]);
		if (!place)
			return -EINVAL;
		if (place->offset == REG(CTRL) && writes[i].value & KVCPU__CTRL__SOFT_RESET_bm)
			return -EINVAL;
		kvcpu_add(command, writes[i].offset, writes[i].bytes, writes[i].value);
	}
	if (!place || !place->opcode)
		return -EINVAL;
	command->opcode = place->opcode;
	return 0;
}

/* What the device refuses is no error here: the answer says it. */
long kvcpu_do_run(struct kvcpu *kv, struct kvcpu_run *run)
{
	struct kvcpu_register writes[KVCPU_WRITES];
	struct kvcpu_command command;
	int error;

	if (run->flags || run->reserved || run->reserved2 || run->count > KVCPU_WRITES)
		return -EINVAL;
	if (copy_from_user(writes, u64_to_user_ptr(run->writes), run->count * sizeof(writes[0])))
		return -EFAULT;
	error = make(&command, writes, run->count);
	/* It may commit the table that somebody fills. */
	if (!error && mutex_lock_interruptible(&kv->windows))
		error = -ERESTARTSYS;
	if (error)
		return error;
	error = kvcpu_run(kv, &command, 1);
	mutex_unlock(&kv->windows);
	if (error && !command.result.code)
		return error;
	run->code = command.result.code;
	run->matched = command.result.matched;
	run->index = command.result.index;
	run->tier = command.result.tier;
	run->phys_addr = command.result.phys_addr;
	run->cycles = command.result.cycles;
	return 0;
}

static bool overlaps(u64 offset, u64 end, u64 first, u64 behind)
{
	return offset < behind && first < end;
}

/* In all of these nothing happens where they are read. */
static bool may_read(u64 offset, u64 end)
{
	if (offset >= offsetof(kvcpu_space_t, PTABLE))
		return end <= offsetof(kvcpu_space_t, DOORBELLS);
	return end <= sizeof(kvcpu_t) &&
	       !overlaps(offset, end, REG(RESULT_STATUS), REG(RESULT_CYCLES) + 4) &&
	       !overlaps(offset, end, REG(COMPLETION), REG(COMPLETION) + 8);
}

static bool may_write(u64 offset, u64 end)
{
	return (offset >= offsetof(kvcpu_space_t, PTABLE) &&
		end <= offsetof(kvcpu_space_t, DOORBELLS)) ||
	       (offset == REG(SCRATCH) && end == offset + 4);
}

long kvcpu_do_access(struct kvcpu *kv, const struct kvcpu_access *access)
{
	u32 __user *user = u64_to_user_ptr(access->words);
	bool write = access->flags & KVCPU_STORE;
	u64 end = access->offset + 4ull * access->count;
	int error = 0;
	u32 *words, i;

	if (access->flags & ~KVCPU_STORE || access->offset % 4 || !access->count ||
	    access->count > AT_ONCE)
		return -EINVAL;
	if (!(write ? may_write : may_read)(access->offset, end))
		return -EACCES;
	words = kmalloc_array(access->count, sizeof(*words), GFP_KERNEL);
	if (!words)
		return -ENOMEM;
	if (write && copy_from_user(words, user, access->count * sizeof(*words)))
		error = -EFAULT;
	if (!error && mutex_lock_interruptible(&kv->windows))
		error = -ERESTARTSYS;
	if (!error) {
		mutex_lock(&kv->issue);		/* the latch of a high word is everybody's */
		for (i = 0; i < access->count; i++) {
			if (write)
				writel(words[i], kv->bar0 + access->offset + 4 * i);
			else
				words[i] = kvcpu_read32(kv, access->offset + 4 * i);
		}
		mutex_unlock(&kv->issue);
		mutex_unlock(&kv->windows);
	}
	if (!error && !write && copy_to_user(user, words, access->count * sizeof(*words)))
		error = -EFAULT;
	kfree(words);
	return error;
}

/* Until nothing is queued, running or under way; every move has been told then. */
long kvcpu_do_idle(struct kvcpu *kv)
{
	u32 busy = KVCPU__STATUS__BUSY_bm | KVCPU__STATUS__DMA_BUSY_bm |
		   KVCPU__STATUS__RESETTING_bm | KVCPU__STATUS__FIFO_LEVEL_bm;
	unsigned long end = jiffies + PATIENCE;

	while (kvcpu_read32(kv, REG(STATUS)) & busy) {
		if (kvcpu_usable(kv))
			return kvcpu_usable(kv);
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		if (signal_pending(current))
			return -EINTR;
		usleep_range(50, 200);
	}
	kvcpu_drain(kv);
	return kvcpu_usable(kv);
}

/*
 * To its reset values, with tiers 2 and 3 in the device's own memory from then on. Commands that
 * others have queued run before.
 */
long kvcpu_do_reset(struct kvcpu *kv)
{
	long error = mutex_lock_interruptible(&kv->issue) ? -ERESTARTSYS : 0;

	if (error)
		return error;
	error = kvcpu_do_idle(kv);
	if (!error) {
		WRITE_ONCE(kv->lends, false);
		writel(KVCPU__CTRL__SOFT_RESET_bm, kv->bar0 + REG(CTRL));
		error = kvcpu_do_idle(kv);
		writel(KVCPU_INTERRUPTS, kv->bar0 + REG(IRQ_ENABLE));
		spin_lock(&kv->list);
		kv->target_step_is_ours = false;
		spin_unlock(&kv->list);
	}
	mutex_unlock(&kv->issue);
	return error;
}

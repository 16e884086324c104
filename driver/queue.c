// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Commands. A command is its operands and a doorbell, written under `issue`; the device queues it,
 * runs it in order (R5) and leaves a result. So the oldest command in `sent` is the one whose
 * result comes next, and a command that is not sent while `depth` of them are out is never refused
 * by a full queue. Results are taken by the interrupt's thread. While commands are out, a watch
 * looks from time to time as well, so that a lost interrupt costs time and nothing else, and ends
 * them all when the device is gone, or answers no more; so whoever waits is woken in the end.
 */
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "kvcpu.h"

#define LOOK_AFTER	(HZ / 5)	/* without an interrupt */

static int errno_of(u32 code)
{
	switch (code) {
	case KVCPU_OK:
		return 0;
	case KVCPU_ERR_LEN:
	case KVCPU_ERR_RANGE:
	case KVCPU_ERR_STEP_ORDER:
		return -EINVAL;
	case KVCPU_ERR_NOT_FOUND:
		return -ENOENT;
	case KVCPU_ERR_EXISTS:
		return -EEXIST;
	case KVCPU_ERR_FULL:
		return -ENOSPC;
	case KVCPU_ERR_NOT_RESIDENT:
		return -EAGAIN;
	case KVCPU_ERR_NOT_EMPTY:
		return -EBUSY;
	case KVCPU_ERR_UNSUPPORTED:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

/* 0, or why nothing can be asked of the device. */
int kvcpu_usable(struct kvcpu *kv)
{
	if (kv->gone)
		return -ENODEV;
	return kv->failed ? -EIO : 0;
}

/* Hold the device, until up_read(&kv->here): 0, or the errno with which it is not there. */
int kvcpu_enter(struct kvcpu *kv)
{
	int error;

	down_read(&kv->here);
	error = kvcpu_usable(kv);
	if (error)
		up_read(&kv->here);
	return error;
}

/* ---- results --------------------------------------------------------------------------------- */

static void finish(struct kvcpu_command *command)
{
	if (command->file) {
		kvcpu_tell_result(command);
		kfree(command);
	} else if (command->uring) {
		kvcpu_answer_uring(command);
		kfree(command);
	} else {
		complete(&command->done);
	}
}

/*
 * last_target_step is that of the last command's structure, whichever it was. The device learns it
 * of STEP and PREFETCH (R23), in whichever way they came, and shows it in its telemetry; of HOT,
 * EVICT and SHARE the driver remembers it. What was refused leaves no trace.
 */
static void note_target(struct kvcpu *kv, const struct kvcpu_command *command)
{
	bool is_known = command->opcode == KVCPU_OP_STEP || command->opcode == KVCPU_OP_PREFETCH;

	if (!is_known && !command->has_target)
		return;
	spin_lock(&kv->list);
	kv->target_step = command->target_step;
	kv->target_step_is_ours = !is_known;
	spin_unlock(&kv->list);
}

/* A STEP that user space rang: no command waits for its result. */
static void note_rung(struct kvcpu *kv, u32 code)
{
	if (code != KVCPU_OK) {
		kv->rung_refused++;
		return;
	}
	kv->rung_steps++;
	spin_lock(&kv->list);
	kv->target_step_is_ours = false;
	spin_unlock(&kv->list);
}

static void take_result(struct kvcpu *kv)
{
	struct kvcpu_result result = {};
	struct kvcpu_command *command;
	u32 status = kvcpu_read32(kv, REG(RESULT_STATUS));
	u32 opcode = (status & KVCPU__RESULT_STATUS__OPCODE_bm) >> KVCPU__RESULT_STATUS__OPCODE_bp;

	result.code = status & KVCPU__RESULT_STATUS__CODE_bm;
	if (status & KVCPU__RESULT_STATUS__RUNG_bm) {
		kvcpu_read32(kv, REG(RESULT_CYCLES));		/* takes it off the queue */
		note_rung(kv, result.code);
		return;
	}
	result.tier = (status & KVCPU__RESULT_STATUS__TIER_bm) >> KVCPU__RESULT_STATUS__TIER_bp;
	result.matched = kvcpu_read32(kv, REG(RESULT_MATCHED));
	if (opcode == KVCPU_OP_LOOKUP || opcode == KVCPU_OP_TOUCH || opcode == KVCPU_OP_SCORE)
		result.phys_addr = kvcpu_read64(kv, REG(RESULT_PHYS));
	result.index = kvcpu_read32(kv, REG(RESULT_INDEX));
	if (!(status & KVCPU__RESULT_STATUS__HAS_INDEX_bm))
		result.index = KVCPU_NO_INDEX;

	spin_lock(&kv->list);
	command = list_first_entry_or_null(&kv->sent, struct kvcpu_command, sent);
	spin_unlock(&kv->list);		/* it stays there: only who holds `drain` takes one out */
	if (command && command->scores && opcode == KVCPU_OP_SCORE && result.code == KVCPU_OK)
		kvcpu_take_scores(kv, command->scores);
	/* Takes it off the queue, and its scores. */
	result.cycles = kvcpu_read32(kv, REG(RESULT_CYCLES));

	spin_lock(&kv->list);
	if (command && command->opcode == opcode) {
		list_del(&command->sent);
		kv->in_flight--;
		kv->progress = jiffies;
	} else {
		command = NULL;
		kv->failed = true;
	}
	spin_unlock(&kv->list);
	if (!command) {
		dev_err(&kv->dev,
			"a result of opcode %u that no command waits for: somebody else uses the device\n",
			opcode);
		return;
	}
	command->result = result;
	command->error = errno_of(result.code);
	if (!command->error)
		note_target(kv, command);
	finish(command);
	wake_up_all(&kv->room);
}

static void take_error(struct kvcpu *kv)
{
	u32 error = kvcpu_read32(kv, REG(ERROR));

	dev_err_ratelimited(&kv->dev, "error %#x of the device, at %#x\n", error,
			    kvcpu_read32(kv, REG(ERROR_OFFSET)));
	writel(error & (KVCPU__ERROR__BUS_bm | KVCPU__ERROR__DMA_bm), kv->bar0 + REG(ERROR));
}

static void drain_locked(struct kvcpu *kv)
{
	for (;;) {
		u32 status = kvcpu_read32(kv, REG(STATUS));

		if (status == ~0u) {	/* what a device answers that is not there any more */
			kv->failed = true;
			return;
		}
		if (status & KVCPU__STATUS__RESULT_READY_bm)
			take_result(kv);
		else if (status & KVCPU__STATUS__COMPLETION_READY_bm)
			kvcpu_tell_move(kv, kvcpu_read64(kv, REG(COMPLETION)));
		else if (status & KVCPU__STATUS__ERROR_bm)
			take_error(kv);
		else
			return;
		cond_resched();			/* a device under load always has something */
	}
}

/*
 * Take everything that the device has for us, until its interrupt line is low. `here` must be held,
 * or no interrupt be freed.
 */
void kvcpu_drain(struct kvcpu *kv)
{
	mutex_lock(&kv->drain);
	if (!kvcpu_usable(kv))
		drain_locked(kv);
	mutex_unlock(&kv->drain);
}

/* Every command that is out ends with `error`. */
void kvcpu_abandon(struct kvcpu *kv, int error)
{
	struct kvcpu_command *command, *next;
	LIST_HEAD(all);

	mutex_lock(&kv->drain);
	spin_lock(&kv->list);
	list_splice_init(&kv->sent, &all);
	kv->in_flight = 0;
	spin_unlock(&kv->list);
	list_for_each_entry_safe(command, next, &all, sent) {
		command->error = error;
		finish(command);
	}
	mutex_unlock(&kv->drain);
	wake_up_all(&kv->room);
}

static void give_up(struct kvcpu *kv)
{
	dev_err(&kv->dev, "no result for %u s: the device is not used any more\n", PATIENCE / HZ);
	kv->failed = true;
}

void kvcpu_watch(struct work_struct *work)
{
	struct kvcpu *kv = container_of(to_delayed_work(work), struct kvcpu, watch);
	u32 before = READ_ONCE(kv->in_flight);

	if (time_after(jiffies, READ_ONCE(kv->progress) + LOOK_AFTER)) {
		kvcpu_drain(kv);
		if (READ_ONCE(kv->in_flight) < before)
			kv->late_results++;
	}
	if (!kvcpu_usable(kv) && READ_ONCE(kv->in_flight) &&
	    time_after(jiffies, READ_ONCE(kv->progress) + PATIENCE))
		give_up(kv);
	if (kvcpu_usable(kv)) {
		kvcpu_abandon(kv, kvcpu_usable(kv));
		kvcpu_wake_files(kv);
	}
	if (READ_ONCE(kv->in_flight))
		schedule_delayed_work(&kv->watch, LOOK_AFTER);
}

/* ---- commands -------------------------------------------------------------------------------- */

void kvcpu_begin(struct kvcpu_command *command, enum kvcpu_opcode opcode)
{
	memset(command, 0, sizeof(*command));
	init_completion(&command->done);
	command->opcode = opcode;
}

/* One more write of the command; the last one is the doorbell. */
void kvcpu_add(struct kvcpu_command *command, u32 offset, u32 bytes, u64 value)
{
	if (!WARN_ON_ONCE(command->count == ARRAY_SIZE(command->writes)))
		command->writes[command->count++] = (struct kvcpu_write){ offset, bytes, value };
}

static bool has_room(struct kvcpu *kv)
{
	return READ_ONCE(kv->in_flight) < READ_ONCE(kv->depth) || kvcpu_usable(kv);
}

/*
 * Until the device's queue has room. `wait`: else -EAGAIN; `interruptible`: -ERESTARTSYS when a
 * signal comes.
 */
static int wait_for_room(struct kvcpu *kv, bool wait, bool interruptible)
{
	int error = 0;

	if (!wait && !has_room(kv))
		return -EAGAIN;
	if (interruptible)
		error = wait_event_interruptible(kv->room, has_room(kv));
	else
		wait_event(kv->room, has_room(kv));
	return error ? error : kvcpu_usable(kv);
}

/*
 * Operands and doorbell. The command is in `sent` first: its result may be taken before the last
 * write has returned.
 */
static void send(struct kvcpu *kv, struct kvcpu_command *command)
{
	u32 i;

	spin_lock(&kv->list);
	list_add_tail(&command->sent, &kv->sent);
	if (!kv->in_flight++) {
		kv->progress = jiffies;
		schedule_delayed_work(&kv->watch, LOOK_AFTER);
	}
	spin_unlock(&kv->list);
	for (i = 0; i < command->count; i++) {
		const struct kvcpu_write *write = &command->writes[i];

		writel(lower_32_bits(write->value), kv->bar0 + write->offset);
		if (write->bytes == 8)	/* the high word commits (R1) */
			writel(upper_32_bits(write->value), kv->bar0 + write->offset + 4);
	}
}

static int run_locked(struct kvcpu *kv, struct kvcpu_command *commands, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++) {
		int error = wait_for_room(kv, true, i == 0);

		if (error)
			return i ? -EIO : error;	/* some of several: who knows how far? */
		send(kv, &commands[i]);
	}
	return 0;
}

/*
 * Run the commands, with none of others between them, and wait for their results. The first
 * refusal's errno. A signal is heeded as long as nothing was sent; a command that is out is always
 * waited for, so its caller knows what became of it.
 */
int kvcpu_run(struct kvcpu *kv, struct kvcpu_command *commands, u32 count)
{
	int error = mutex_lock_interruptible(&kv->issue) ? -ERESTARTSYS : 0;
	u32 i;

	if (error)
		return error;
	error = run_locked(kv, commands, count);
	mutex_unlock(&kv->issue);
	if (error == -EIO && count > 1)
		kvcpu_abandon(kv, -EIO);	/* what is out must not outlive this call */
	if (error)
		return error;
	for (i = 0; i < count; i++)
		wait_for_completion(&commands[i].done);
	for (i = 0; i < count && !error; i++)
		error = commands[i].error;
	return error;
}

/*
 * Send a command that nobody waits for; its file is told the result. It belongs to the queue when
 * this returns 0.
 */
int kvcpu_post(struct kvcpu *kv, struct kvcpu_command *command, bool wait)
{
	int error;

	if (wait ? mutex_lock_interruptible(&kv->issue) != 0 : !mutex_trylock(&kv->issue))
		return wait ? -ERESTARTSYS : -EAGAIN;
	error = wait_for_room(kv, wait, true);
	if (!error)
		send(kv, command);
	mutex_unlock(&kv->issue);
	return error;
}

/* ---- the commands of existing tools ---------------------------------------------------------- */

/* STEP_ADVANCE, or the command on a range that ioctl `number` stands for. */
int kvcpu_make_range(struct kvcpu_command *command, u32 number, const struct kvcpu_range *range)
{
	static const struct {
		enum kvcpu_opcode opcode;
		u32 address, length;
	} kinds[] = {
		[_IOC_NR(KVCPU_MARK_HOT)] = { KVCPU_OP_HOT, REG(BOOST_ADDR), REG(BOOST_LEN) },
		[_IOC_NR(KVCPU_EVICT)] = { KVCPU_OP_EVICT, REG(IMEVICT_ADDR), REG(IMEVICT_LEN) },
		[_IOC_NR(KVCPU_PREFETCH)] = {
			KVCPU_OP_PREFETCH, REG(PREFETCH_ADDR), REG(PREFETCH_LEN)
		},
		[_IOC_NR(KVCPU_SHARE_PREFIX)] = { KVCPU_OP_SHARE, REG(SHARE_ADDR), REG(SHARE_LEN) },
		[_IOC_NR(KVCPU_RELEASE)] = {
			KVCPU_OP_RELEASE, REG(RELEASE_ADDR), REG(RELEASE_LEN)
		},
	};

	if (number != _IOC_NR(KVCPU_STEP_ADVANCE) &&
	    (number >= ARRAY_SIZE(kinds) || !kinds[number].opcode))
		return -EINVAL;
	kvcpu_begin(command,
		    number == _IOC_NR(KVCPU_STEP_ADVANCE) ? KVCPU_OP_STEP : kinds[number].opcode);
	command->has_target = number != _IOC_NR(KVCPU_RELEASE);
	command->target_step = range->target_step;
	if (command->opcode == KVCPU_OP_STEP) {
		kvcpu_add(command, REG(STEP_ADVANCE), 8, range->target_step);
		return 0;
	}
	kvcpu_add(command, kinds[number].address, 8, range->va);
	kvcpu_add(command, kinds[number].length, 8, range->len);
	if (command->opcode == KVCPU_OP_PREFETCH)
		kvcpu_add(command, REG(PREFETCH_STEP), 8, range->target_step);
	return 0;
}

int kvcpu_hint(struct kvcpu *kv, u32 number, const struct kvcpu_range *range)
{
	struct kvcpu_command command;
	int error = kvcpu_make_range(&command, number, range);

	if (!error)
		error = kvcpu_run(kv, &command, 1);
	return error;
}

static const struct {
	u32 offset, limit;
} settings[KVCPU_SETTINGS] = {
	{ REG(WEIGHT_R), 0xff },
	{ REG(WEIGHT_F), 0xff },
	{ REG(WEIGHT_S), 0xff },
	{ REG(WEIGHT_D), 0xff },
	{ REG(EVICT_THRESH), 0xffff },
	{ REG(PREFETCH_THRESH), 0xffff },
};

/*
 * `count` of the six from `first` on, in the order of struct kvcpu_weights: all of them, or none
 * where one is too wide (R6).
 */
int kvcpu_set_weights(struct kvcpu *kv, const u32 *values, u32 first, u32 count)
{
	struct kvcpu_command *commands;
	int error;
	u32 i;

	for (i = 0; i < count; i++)
		if (values[i] > settings[first + i].limit)
			return -EINVAL;
	commands = kcalloc(count, sizeof(*commands), GFP_KERNEL);
	if (!commands)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		kvcpu_begin(&commands[i], KVCPU_OP_SET);
		kvcpu_add(&commands[i], settings[first + i].offset, 8, values[i]);
	}
	error = kvcpu_run(kv, commands, count);
	kfree(commands);
	return error;
}

/* Of the device, not of what it was told. */
void kvcpu_telemetry(struct kvcpu *kv, struct kvcpu_telemetry *telemetry)
{
	static const u32 counters[] = {
		TELEMETRY(T_CURRENT_STEP), TELEMETRY(T_STEP_COUNT), TELEMETRY(T_HOT_COUNT),
		TELEMETRY(T_EVICT_COUNT), TELEMETRY(T_PREFETCH_COUNT), TELEMETRY(T_SHARE_COUNT),
		TELEMETRY(T_LAST_VA), TELEMETRY(T_LAST_LEN), TELEMETRY(T_LAST_TARGET_STEP),
	};
	__u64 *counter = &telemetry->current_step;
	__u32 *weight = &telemetry->weights.w_r;
	u32 i;

	BUILD_BUG_ON(sizeof(*telemetry) != 96);
	mutex_lock(&kv->issue);		/* the latch of a high word is everybody's */
	for (i = 0; i < ARRAY_SIZE(counters); i++)
		counter[i] = kvcpu_read64(kv, counters[i]);
	for (i = 0; i < KVCPU_SETTINGS; i++)
		weight[i] = kvcpu_read32(kv, settings[i].offset);
	spin_lock(&kv->list);
	if (kv->target_step_is_ours)
		telemetry->last_target_step = kv->target_step;
	spin_unlock(&kv->list);
	mutex_unlock(&kv->issue);
}

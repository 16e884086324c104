// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The compute engine: queries go into a window of the device, a SCORE names one of them, and what
 * it computed is in another window until its result is taken (R30, R34). So scores are read by
 * whoever takes results, into memory of the command.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kvcpu.h"

#define SCORES		((u32)offsetof(kvcpu_space_t, SCORES))
#define QUERY		((u32)offsetof(kvcpu_space_t, QUERY))

/*
 * Of the window SCORES (docs/decisions/D33-nmce.md), which no header names;
 * tests/scripts/test_driver.py compares.
 */
enum {
	SCORES_EXPS = 0x400,
	SCORES_HALVES = 0x800,
	SCORES_LARGEST = 0xc00,
	SCORES_SUM = 0xc04,
};

/* ---- queries --------------------------------------------------------------------------------- */

static int check_query(struct kvcpu *kv, const struct kvcpu_query *query)
{
	if (query->flags || query->reserved)
		return -EINVAL;
	if (!kv->nmce)
		return -EOPNOTSUPP;
	if (query->head_dim != kv->head_dim || !query->count || query->slot >= KVCPU_SLOTS ||
	    query->count > KVCPU_SLOTS - query->slot)
		return -EINVAL;
	return 0;
}

int kvcpu_query(struct kvcpu *kv, const struct kvcpu_query *query)
{
	int error = check_query(kv, query);
	u32 count, first, i;
	u16 *values;

	if (error)
		return error;
	count = query->count * kv->head_dim;
	first = query->slot * kv->head_dim;
	values = memdup_user(u64_to_user_ptr(query->values), count * sizeof(u16));
	if (IS_ERR(values))
		return PTR_ERR(values);
	error = mutex_lock_interruptible(&kv->windows) ? -ERESTARTSYS : 0;
	if (!error) {
		for (i = 0; i < count; i += 2)
			writel(values[i] | (u32)values[i + 1] << 16,
			       kv->bar0 + QUERY + (first + i) * sizeof(u16));
		mutex_unlock(&kv->windows);
	}
	kfree(values);
	return error;
}

/* ---- scores ---------------------------------------------------------------------------------- */

static void read_scores(struct kvcpu *kv, u32 offset, u32 *words, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++)
		words[i] = kvcpu_read32(kv, SCORES + offset + i * sizeof(u32));
}

/*
 * Of the oldest SCORE that was not refused and whose result is not taken. No more than was asked
 * for: the device counts it (R33).
 */
void kvcpu_take_scores(struct kvcpu *kv, struct kvcpu_scores *scores)
{
	if (scores->fp16)
		read_scores(kv, SCORES_HALVES, scores->values, DIV_ROUND_UP(scores->rows, 2));
	else
		read_scores(kv, 0, scores->values, scores->rows);
	if (!scores->numerators)
		return;
	read_scores(kv, SCORES_EXPS, scores->exps, scores->rows);
	scores->max = kvcpu_read32(kv, SCORES + SCORES_LARGEST);
	scores->sum = kvcpu_read32(kv, SCORES + SCORES_SUM);
}

static int give_scores(struct kvcpu_score *score, struct kvcpu_scores *scores)
{
	u32 i;

	if (scores->fp16) {
		u16 *halves = (u16 *)scores->values;	/* in place: row j, not behind word j / 2 */

		for (i = 0; i < scores->rows; i += 2) {
			u32 word = scores->values[i / 2];

			halves[i] = lower_16_bits(word);
			halves[i + 1] = upper_16_bits(word);
		}
	}
	if (copy_to_user(u64_to_user_ptr(score->scores), scores->values,
			 scores->rows * (scores->fp16 ? sizeof(u16) : sizeof(u32))))
		return -EFAULT;
	if (scores->numerators && copy_to_user(u64_to_user_ptr(score->numerators), scores->exps,
					       scores->rows * sizeof(u32)))
		return -EFAULT;
	score->max = scores->max;
	score->sum = scores->sum;
	return 0;
}

static int run_score(struct kvcpu *kv, struct kvcpu_score *score, struct kvcpu_scores *scores)
{
	struct kvcpu_command command;
	int error;

	kvcpu_begin(&command, KVCPU_OP_SCORE);
	command.scores = scores;
	kvcpu_add(&command, REG(TOUCH_HINT), 4,
		  kvcpu_touch_hint(score->flags, score->cls, score->order));
	kvcpu_add(&command, REG(SCORE_ID), 4, kvcpu_key(score->request, score->layer, score->head));
	kvcpu_add(&command, REG(SCORE_POS), 4, score->token_pos);
	kvcpu_add(&command, REG(SCORE_SLOT), 4, score->slot);
	kvcpu_add(&command, REG(SCORE_FLAGS), 4, scores->numerators ? KVCPU_SCORE_NUMERATORS : 0);
	error = kvcpu_run(kv, &command, 1);
	if (error)
		return error;
	score->index = command.result.index;
	score->tier = command.result.tier;
	score->phys_addr = command.result.phys_addr;
	return give_scores(score, scores);
}

int kvcpu_score(struct kvcpu *kv, struct kvcpu_score *score)
{
	struct kvcpu_scores *scores;
	int error;

	if (score->flags & ~(KVCPU_HINT | KVCPU_NUMERATORS | KVCPU_FP16))
		return -EINVAL;
	if (score->rows != kv->block_tokens ||
	    (!(score->flags & KVCPU_NUMERATORS) && score->numerators))
		return -EINVAL;
	scores = kzalloc(sizeof(*scores), GFP_KERNEL);
	if (!scores)
		return -ENOMEM;
	scores->rows = score->rows;
	scores->fp16 = score->flags & KVCPU_FP16;
	scores->numerators = score->flags & KVCPU_NUMERATORS;
	error = run_score(kv, score, scores);
	kfree(scores);
	return error;
}

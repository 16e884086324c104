// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * SCORE and QUERY. /nmce has a block, four queries, and the bits that their scores must have (tests/data/nmce); of everything else that
 * a SCORE computes, the reference model behind the device says what is right.
 */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#define ROWS		32
#define HEAD_DIM	128
#define QUERIES		4
#define CASES		5		/* the last one is query 0, and SHORT tokens of the block */
#define SHORT		21
#define PLUS_INFINITY	0x7f800000u
#define NOT_A_NUMBER	0x7fc00000u
#define ONE		0x3f800000u

static struct {
	uint16_t block[BLOCK / 2];
	uint16_t queries[QUERIES][HEAD_DIM];
	uint32_t expected[CASES][ROWS];
} nmce;

static int put_queries(int slot, int count, const void *values)
{
	struct kvcpu_query q = { KVCPU_ABI, 0, slot, count, HEAD_DIM, 0, (uintptr_t)values };

	return ioctl(fd, KVCPU_QUERY, &q);
}

static struct kvcpu_score asked(int block, int slot, int flags, void *values, void *numerators)
{
	return (struct kvcpu_score){
		.version = KVCPU_ABI, .flags = flags, .request = 1, .token_pos = 32 * block, .slot = slot, .rows = ROWS,
		.scores = (uintptr_t)values, .numerators = (uintptr_t)numerators,
	};
}

/* Block `i` of so many tokens with the bytes of /nmce, by way of tier 3, which is memory of this guest. */
static void bring(int i, int tokens)
{
	unsigned char *tier3 = tier_memory(3);
	int index = load_key(i, 3, tokens);
	struct kvcpu_event e;

	CHECK(index >= 0);
	if (wrong)
		return;
	memcpy(tier3 + index * BLOCK, nmce.block, BLOCK);
	CHECK(range(KVCPU_PREFETCH, BASE + BLOCK * i, BLOCK, telemetry().current_step) == 0);
	e = event_of(fd);
	CHECK(e.type == KVCPU_EVENT_MOVE && e.index == (unsigned)index && e.to_tier == 1 && !e.error);
	munmap(tier3, ENTRIES * BLOCK);
}

static void prepare(void)
{
	int file = open("/nmce", O_RDONLY);

	CHECK(file >= 0 && read(file, &nmce, sizeof(nmce)) == sizeof(nmce));
	close(file);
	CHECK(number("block_tokens") == ROWS && number("head_dim") == HEAD_DIM);
	forget_events();
	CHECK(put_queries(KVCPU_SLOTS - QUERIES, QUERIES, nmce.queries) == 0);
	bring(0, ROWS);
	bring(1, SHORT);
}

/* What R32 and decision D33 say of a block whose largest score is infinite: every numerator follows from its score. */
static void check_numerators(const uint32_t *score, const uint32_t *exps, const struct kvcpu_score *s)
{
	int j;

	CHECK(s->max == PLUS_INFINITY && s->sum == NOT_A_NUMBER);
	for (j = 0; j < ROWS; j++) {
		uint32_t wanted = score[j] == NOT_A_NUMBER ? NOT_A_NUMBER : score[j] == PLUS_INFINITY ? ONE : 0;

		CHECK(exps[j] == wanted);
	}
}

void scores(void)
{
	uint32_t score[ROWS], exps[ROWS];
	uint16_t half[ROWS + 1];
	int i, j;

	prepare();
	for (i = 0; i < CASES && !wrong; i++) {
		struct kvcpu_score s = asked(i == QUERIES, KVCPU_SLOTS - QUERIES + i % QUERIES, KVCPU_NUMERATORS, score, exps);

		memset(score, 0xee, sizeof(score));
		CHECK(ioctl(fd, KVCPU_SCORE, &s) == 0);
		CHECK(s.index == (unsigned)(i == QUERIES) && s.tier == 1);
		CHECK(!memcmp(score, nmce.expected[i], sizeof(score)));
		check_numerators(score, exps, &s);
		s = asked(i == QUERIES, KVCPU_SLOTS - QUERIES + i % QUERIES, KVCPU_FP16, half, NULL);
		half[ROWS] = 0x1234;
		CHECK(ioctl(fd, KVCPU_SCORE, &s) == 0 && s.max == 0 && s.sum == 0);
		for (j = 0; j < ROWS; j++)	/* sign, infinity and NaN are those of the FP32 */
			CHECK(half[j] >> 15 == score[j] >> 31 && (score[j] != PLUS_INFINITY || half[j] == 0x7c00) &&
			      (score[j] != NOT_A_NUMBER || half[j] == 0x7e00));
		CHECK(half[ROWS] == 0x1234);
	}
	CHECK(unload_all() == 2);
}

void score_refusals(void)
{
	uint32_t score[ROWS];
	struct kvcpu_query q = { KVCPU_ABI, 0, 0, 1, 64, 0, (uintptr_t)nmce.queries };
	struct kvcpu_score s = asked(0, 64, 0, score, NULL);
	struct kvcpu_event e;

	forget_events();
	CHECK(load(0, 1) == 0 && load(1, 3) == 1);
	REFUSED(ioctl(fd, KVCPU_SCORE, &s), EINVAL);			/* no such slot */
	s = asked(0, 0, KVCPU_TOUCH, score, NULL);
	REFUSED(ioctl(fd, KVCPU_SCORE, &s), EINVAL);
	s = asked(0, 0, 0, score, score);				/* where should numerators come from? */
	REFUSED(ioctl(fd, KVCPU_SCORE, &s), EINVAL);
	s = asked(0, 0, 0, score, NULL);
	s.rows = 16;
	REFUSED(ioctl(fd, KVCPU_SCORE, &s), EINVAL);
	s = asked(0, 0, 0, nowhere, NULL);
	REFUSED(ioctl(fd, KVCPU_SCORE, &s), EFAULT);
	s = asked(7, 0, 0, score, NULL);
	REFUSED(ioctl(fd, KVCPU_SCORE, &s), ENOENT);
	s = asked(1, 0, 0, score, NULL);
	REFUSED(ioctl(fd, KVCPU_SCORE, &s), EAGAIN);			/* in tier 3: it is called … */
	e = event_of(fd);
	CHECK(e.type == KVCPU_EVENT_MOVE && e.index == 1 && e.from_tier == 3 && e.to_tier == 1);
	CHECK(ioctl(fd, KVCPU_SCORE, &s) == 0 && s.index == 1);		/* … and scored then */

	REFUSED(ioctl(fd, KVCPU_QUERY, &q), EINVAL);			/* 64 values are no query of this device */
	REFUSED(put_queries(60, 5, nmce.queries), EINVAL);
	REFUSED(put_queries(64, 1, nmce.queries), EINVAL);
	REFUSED(put_queries(1, ~0, nmce.queries), EINVAL);
	REFUSED(put_queries(0, 0, nmce.queries), EINVAL);
	REFUSED(put_queries(0, 1, nowhere), EFAULT);
	CHECK(unload_all() == 2);
}

/* Each has a slot of its own: the device has two result buffers, and the scores of one must never come to another. */
void scores_of_many_processes(void)
{
	int i, status, bad = 0;

	prepare();
	fflush(stdout);
	for (i = 0; i < QUERIES; i++) {
		if (fork() == 0) {
			uint32_t score[ROWS];
			int j, differ = 0;

			for (j = 0; j < 50; j++) {
				struct kvcpu_score s = asked(0, KVCPU_SLOTS - QUERIES + i, 0, score, NULL);

				differ |= ioctl(fd, KVCPU_SCORE, &s) || memcmp(score, nmce.expected[i], sizeof(score));
			}
			_exit(differ);
		}
	}
	for (i = 0; i < QUERIES; i++) {
		wait(&status);
		bad += status != 0;
	}
	CHECK(bad == 0);
	CHECK(unload_all() == 2);
}

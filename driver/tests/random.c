// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Commands of every kind, drawn by chance over few blocks, so that many are refused. What each of them has to do, the reference
 * model behind the device says; here, that each is answered, and by nothing but what the header has of refusals.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "test.h"

#define BLOCKS	40

static unsigned long long state, now;
static int answers, refused;

static unsigned pick(unsigned below)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (state >> 33) % below;
}

static unsigned long long some_va(void)
{
	return BASE + BLOCK * pick(BLOCKS);
}

/* Mostly whole blocks; 0 is refused. */
static unsigned long long some_length(void)
{
	static const unsigned long long lengths[] = { 0, 1, BLOCK, 3 * BLOCK, 20 * BLOCK };

	return lengths[pick(5)];
}

static void answered(int result)
{
	answers++;
	if (result == 0)
		return;
	refused++;
	CHECK(errno == EINVAL || errno == ENOENT || errno == EEXIST || errno == ENOSPC || errno == EAGAIN);
}

static void hint(void)
{
	static const unsigned long kinds[] = {
		KVCPU_MARK_HOT, KVCPU_EVICT, KVCPU_PREFETCH, KVCPU_SHARE_PREFIX, KVCPU_RELEASE,
	};

	answered(range(kinds[pick(5)], some_va(), some_length(), now + pick(40)));
}

static void some_step(void)
{
	now += pick(4);
	answered(step(pick(8) ? now : pick(now + 1)));
}

/* Blocks of three requests and two layers: most keys are of no block. */
static void some_load(void)
{
	unsigned n = pick(BLOCKS), hinted = pick(2) ? KVCPU_HINT : 0;
	struct kvcpu_load l = {
		.version = KVCPU_ABI, .flags = hinted, .request = n % 3, .layer = n % 2, .token_start = 32 * n,
		.token_end = 32 * n + 31, .tier = pick(4), .va = BASE + BLOCK * n, .cls = hinted ? n : 0, .order = hinted ? pick(256) : 0,
	};

	answered(ioctl(fd, KVCPU_LOAD, &l));
}

static void some_lookup(void)
{
	unsigned n = pick(BLOCKS);
	struct kvcpu_lookup l = {
		.version = KVCPU_ABI, .flags = pick(2) ? KVCPU_TOUCH : 0, .request = n % 3, .layer = n % 2, .token_pos = 32 * n + pick(32),
	};

	if (l.flags && pick(2)) {
		l.flags |= KVCPU_HINT;
		l.cls = n;
		l.order = pick(256);
	}
	answered(ioctl(fd, KVCPU_LOOKUP, &l));
}

static void some_unload(void)
{
	struct kvcpu_unload u = { .version = KVCPU_ABI, .va = some_va(), .len = pick(2) ? BLOCK : 3 * BLOCK };

	answered(ioctl(fd, KVCPU_UNLOAD, &u));
}

static void some_class(void)
{
	struct kvcpu_class c = {
		.version = KVCPU_ABI, .va = some_va(), .len = some_length(), .cls = pick(257), .base = pick(256), .shift = pick(17),
	};

	answered(ioctl(fd, KVCPU_CLASS, &c));
}

static void some_policy(void)
{
	static unsigned char codes[256 * KVCPU_BUCKETS];
	struct kvcpu_policy p = { KVCPU_ABI, 0, pick(2), pick(30) };
	struct kvcpu_ptable t = { KVCPU_ABI, 0, 256, 0, (uintptr_t)codes };
	unsigned i;

	answered(ioctl(fd, KVCPU_POLICY, &p));
	if (pick(8))
		return;
	for (i = 0; i < sizeof(codes); i++)
		codes[i] = pick(256);
	answered(ioctl(fd, KVCPU_PTABLE, &t));
}

static void some_weights(void)
{
	struct kvcpu_weights w = { pick(4), pick(4), pick(256), pick(257), pick(0x2000), 0xc000 + pick(0x4000) };

	answered(ioctl(fd, KVCPU_SET_WEIGHTS, &w));
}

static void some_score(void)
{
	unsigned n = pick(BLOCKS), values[32], numerators[32];
	struct kvcpu_score s = {
		.version = KVCPU_ABI, .flags = pick(2) ? KVCPU_NUMERATORS : 0, .request = n % 3, .layer = n % 2, .token_pos = 32 * n,
		.slot = KVCPU_SLOTS - 1, .rows = 32, .scores = (uintptr_t)values,
	};

	s.numerators = s.flags ? (uintptr_t)numerators : 0;
	answered(ioctl(fd, KVCPU_SCORE, &s));
}

/* Many at once, behind one another in the device's queue. */
static void some_posts(void)
{
	int count = 1 + pick(40), i;

	CHECK(post_steps(fd, count, now + 1) == count);
	now += count;
	for (i = 0; i < count && !wrong; i++) {
		struct kvcpu_event e = event_of(fd);

		if (e.type == KVCPU_EVENT_MOVE)
			i--;
		else
			CHECK(e.type == KVCPU_EVENT_RESULT && !e.error);
	}
	answers += count;
}

/* COMMANDS on the kernel's command line is how many. */
void random_commands(void)
{
	static void (*const kinds[])(void) = {
		some_step, some_step, hint, hint, hint, hint, some_load, some_load, some_load, some_lookup, some_lookup, some_unload,
		some_class, some_policy, some_weights, some_score, some_posts,
	};
	const int wanted = getenv("COMMANDS") ? atoi(getenv("COMMANDS")) : 2000;
	struct kvcpu_policy linear = { KVCPU_ABI, 0, KVCPU_LINEAR, 0 };

	state = 1;
	now = telemetry().current_step;
	for (answers = refused = 0; answers < wanted && !wrong;)
		kinds[pick(sizeof(kinds) / sizeof(kinds[0]))]();
	printf("  %d commands, %d of them refused\n", answers, refused);
	CHECK(refused > wanted / 100 && refused < wanted / 2);
	CHECK(telemetry().current_step == now);
	CHECK(ioctl(fd, KVCPU_POLICY, &linear) == 0);
	CHECK(unload_all() >= 0);
}

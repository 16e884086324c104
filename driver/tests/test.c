// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The driver's tests, in a guest that has nothing else: they load the module, remove the device and find it again. Each is a function;
 * CHECK says where one failed, and the last line is "N passed, N failed".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

int fd = -1, wrong;
void *volatile nowhere = (void *)8;
static int passed, failed;

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void insert(const char *parameters)
{
	int module = open("/kvcpu.ko", O_RDONLY);

	CHECK(module >= 0 && syscall(SYS_finit_module, module, parameters, 0) == 0);
	close(module);
}

static int take_out(void)
{
	return syscall(SYS_delete_module, "kvcpu", O_NONBLOCK);
}

static int put(const char *file, const char *text)
{
	int at = open(file, O_WRONLY), done;

	if (at < 0)
		return -1;
	done = write(at, text, strlen(text));
	close(at);
	return done < 0 ? -1 : 0;
}

static char *get(const char *file)
{
	static char text[4096];
	int at = open(file, O_RDONLY), n = at < 0 ? -1 : read(at, text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = 0;
	if (at >= 0)
		close(at);
	return text;
}

unsigned long long number(const char *attribute)
{
	char path[128];

	snprintf(path, sizeof(path), SYSFS "%s", attribute);
	return strtoull(get(path), NULL, 0);
}

struct kvcpu_telemetry telemetry(void)
{
	struct kvcpu_telemetry t;

	memset(&t, 0xee, sizeof(t));
	CHECK(ioctl(fd, KVCPU_GET_TELEMETRY, &t) == 0);
	return t;
}

int step(unsigned long long to)
{
	struct kvcpu_step s = { to };

	return ioctl(fd, KVCPU_STEP_ADVANCE, &s);
}

int range(unsigned long request, unsigned long long va, unsigned long long len, unsigned long long target)
{
	struct kvcpu_range r = { va, len, target };

	return ioctl(fd, request, &r);
}

/* LOAD of the block `i` of request 1, layer 0, head 0, which has so many tokens; its index, or -1. */
int load_key(int i, int tier, int tokens)
{
	struct kvcpu_load l = {
		.version = KVCPU_ABI, .request = 1, .token_start = 32 * i, .token_end = 32 * i + tokens - 1, .tier = tier,
		.va = BASE + BLOCK * i,
	};

	return ioctl(fd, KVCPU_LOAD, &l) ? -1 : (int)l.index;
}

int load(int i, int tier)
{
	return load_key(i, tier, 32);
}

int unload_all(void)
{
	struct kvcpu_unload u = { .version = KVCPU_ABI, .va = 0, .len = ~0ull };

	return ioctl(fd, KVCPU_UNLOAD, &u) ? -1 : (int)u.matched;
}

static struct kvcpu_lookup lookup(int i, int flags)
{
	struct kvcpu_lookup l = { .version = KVCPU_ABI, .flags = flags, .request = 1, .token_pos = 32 * i + 5 };

	CHECK(ioctl(fd, KVCPU_LOOKUP, &l) == 0);
	return l;
}

/* The next event; a device that never sends it is a failure, and no standstill. */
struct kvcpu_event event_of(int file)
{
	struct kvcpu_event e = {};
	struct pollfd p = { file, POLLIN, 0 };

	CHECK(poll(&p, 1, 20000) == 1 && read(file, &e, sizeof(e)) == sizeof(e));
	return e;
}

/* Moves that were told before, of which nobody wants to know. */
void forget_events(void)
{
	struct kvcpu_event e;
	struct pollfd p = { fd, POLLIN, 0 };

	CHECK(ioctl(fd, KVCPU_IDLE) == 0);
	while (poll(&p, 1, 0) == 1 && read(fd, &e, sizeof(e)) == sizeof(e))
		;
}

/* The memory of this guest that the device has for a tier. */
unsigned char *tier_memory(int tier)
{
	unsigned long long at = tier == 2 ? KVCPU_MAP_TIER2 : KVCPU_MAP_TIER3;
	unsigned char *memory = mmap(NULL, ENTRIES * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);

	CHECK(memory != MAP_FAILED);
	return memory;
}

static volatile const unsigned int *directory(void)
{
	return mmap(NULL, 1 << 22, PROT_READ, MAP_SHARED, fd, 0);
}

/* ---- the seven ioctls of contract section 7 ----------------------------------------------------------------------- */

static void numbers(void)
{
	CHECK(KVCPU_STEP_ADVANCE == 0x40084b01);
	CHECK(KVCPU_MARK_HOT == 0x40184b02);
	CHECK(KVCPU_SHARE_PREFIX == 0x40184b05);
	CHECK(KVCPU_SET_WEIGHTS == 0x40184b06);
	CHECK(KVCPU_GET_TELEMETRY == 0x80604b07);
}

static void reset_values(void)
{
	struct kvcpu_telemetry t = telemetry();

	CHECK(t.current_step == 0 && t.step_count == 0 && t.hot_count == 0);
	CHECK(t.weights.w_r == 1 && t.weights.w_f == 1 && t.weights.w_s == 2 && t.weights.w_d == 200);
	CHECK(t.weights.evict_thresh == 0x1000 && t.weights.prefetch_thresh == 0xe000);
}

static void steps(void)
{
	struct kvcpu_telemetry t;

	CHECK(step(5) == 0);
	CHECK(step(5) == 0);
	t = telemetry();
	CHECK(t.current_step == 5 && t.step_count == 2 && t.last_target_step == 5);
	REFUSED(step(4), EINVAL);
	REFUSED(step(1ull << 32), EINVAL);
	REFUSED(step(~0ull), EINVAL);
	t = telemetry();
	CHECK(t.current_step == 5 && t.step_count == 2);
}

static void hints(void)
{
	struct kvcpu_telemetry t, before = telemetry();

	CHECK(range(KVCPU_MARK_HOT, 0x1000, 4096, 77) == 0);
	t = telemetry();
	CHECK(t.hot_count == before.hot_count + 1 && t.last_va == 0x1000 && t.last_len == 4096 && t.last_target_step == 77);
	CHECK(range(KVCPU_EVICT, 0xfffffffff0000000ull, 0x10000000ull, 0) == 0);
	CHECK(range(KVCPU_PREFETCH, 0x3000, 1, before.current_step + 9) == 0);
	t = telemetry();
	CHECK(t.evict_count == before.evict_count + 1 && t.prefetch_count == before.prefetch_count + 1);
	CHECK(t.last_va == 0x3000 && t.last_len == 1 && t.last_target_step == before.current_step + 9);
	CHECK(range(KVCPU_SHARE_PREFIX, 0x4000, 4096, 0) == 0);
	CHECK(telemetry().share_count == before.share_count + 1);
	CHECK(range(KVCPU_RELEASE, 0x4000, 4096, 0) == 0);
}

static void refusals(void)
{
	struct kvcpu_telemetry before = telemetry(), after;
	unsigned long all[] = { KVCPU_MARK_HOT, KVCPU_EVICT, KVCPU_PREFETCH, KVCPU_SHARE_PREFIX, KVCPU_RELEASE };
	unsigned i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		REFUSED(range(all[i], 0x1000, 0, before.current_step), EINVAL);
		REFUSED(range(all[i], ~0ull, 4096, before.current_step), EINVAL);
		REFUSED(ioctl(fd, all[i], nowhere), EFAULT);
	}
	REFUSED(range(KVCPU_PREFETCH, 0x1000, 4096, before.current_step - 1), EINVAL);
	REFUSED(ioctl(fd, KVCPU_GET_TELEMETRY, nowhere), EFAULT);
	REFUSED(ioctl(fd, _IOW('K', 99, int), &before), ENOTTY);
	REFUSED(ioctl(fd, _IOW('K', 1, int), &before), ENOTTY);
	REFUSED(ioctl(fd, _IOW('L', 1, struct kvcpu_step), &before), ENOTTY);
	after = telemetry();
	CHECK(!memcmp(&before, &after, sizeof(before)));
}

static void weights(void)
{
	struct kvcpu_weights w = { 3, 4, 5, 6, 0x700, 0x8000 }, bad = { 1, 1, 256, 1, 1, 1 }, far = { 9, 9, 9, 9, 9, 0x10000 };
	struct kvcpu_telemetry t;

	CHECK(ioctl(fd, KVCPU_SET_WEIGHTS, &w) == 0);
	t = telemetry();
	CHECK(!memcmp(&t.weights, &w, sizeof(w)));
	REFUSED(ioctl(fd, KVCPU_SET_WEIGHTS, &bad), EINVAL);
	REFUSED(ioctl(fd, KVCPU_SET_WEIGHTS, &far), EINVAL);
	t = telemetry();
	CHECK(!memcmp(&t.weights, &w, sizeof(w)));
}

/* ---- those from 8 up ---------------------------------------------------------------------------------------------- */

static void versions(void)
{
	struct kvcpu_load l = { .version = 2, .request = 1, .token_end = 31, .tier = 1 };
	struct kvcpu_unload u = { .version = 0, .len = 1 };

	REFUSED(ioctl(fd, KVCPU_LOAD, &l), EINVAL);
	l.version = KVCPU_ABI;
	l.reserved = 1;
	REFUSED(ioctl(fd, KVCPU_LOAD, &l), EINVAL);
	l.reserved = 0;
	l.flags = KVCPU_TOUCH;
	REFUSED(ioctl(fd, KVCPU_LOAD, &l), EINVAL);
	REFUSED(ioctl(fd, KVCPU_UNLOAD, &u), EINVAL);
}

static void blocks(void)
{
	struct kvcpu_load misplaced = { .version = KVCPU_ABI, .request = 1, .token_start = 7, .token_end = 31, .tier = 1 };
	struct kvcpu_lookup l;

	CHECK(load(0, 1) == 0);
	CHECK(load(1, 1) == 1);
	REFUSED(load(1, 1), EEXIST);
	REFUSED(load(2, 4), EINVAL);
	REFUSED(ioctl(fd, KVCPU_LOAD, &misplaced), EINVAL);
	l = lookup(1, 0);
	CHECK(l.index == 1 && l.tier == 1);
	CHECK(lookup(1, KVCPU_TOUCH).index == 1);
	CHECK(lookup(7, 0).index == KVCPU_NO_INDEX);
	CHECK(unload_all() == 2);
	CHECK(lookup(1, 0).index == KVCPU_NO_INDEX);
}

static void full_directory(void)
{
	int i;

	for (i = 0; i < 256; i++)
		if (load(i, 1) != i)
			break;
	CHECK(i == 256);
	REFUSED(load(256, 1), ENOSPC);
	CHECK(unload_all() == 256);
}

static void unload_of_a_request(void)
{
	struct kvcpu_unload u = { .version = KVCPU_ABI, .flags = KVCPU_REQUEST, .request = 2 };

	CHECK(load(0, 1) == 0);
	CHECK(ioctl(fd, KVCPU_UNLOAD, &u) == 0 && u.matched == 0);
	u.request = 1;
	CHECK(ioctl(fd, KVCPU_UNLOAD, &u) == 0 && u.matched == 1);
	u.request = 0x10000;
	REFUSED(ioctl(fd, KVCPU_UNLOAD, &u), EINVAL);
}

/* Under the ranked policy a STEP stores 256 * PTABLE[class][bucket] + order: table, class and order show in the priority (R44). */
static void ranked_policy(void)
{
	static unsigned char codes[256 * KVCPU_BUCKETS];
	struct kvcpu_policy p = { KVCPU_ABI, 0, KVCPU_RANKED, 2 };
	struct kvcpu_ptable t = { KVCPU_ABI, 0, 256, 0, (unsigned long)codes };
	struct kvcpu_class c = { .version = KVCPU_ABI, .va = BASE, .len = BLOCK, .cls = 7, .base = 5, .shift = 0 };
	volatile const unsigned int *entry = directory();
	unsigned priority;

	CHECK((void *)entry != MAP_FAILED);
	memset(codes, 0x5a, sizeof(codes));
	CHECK(load(0, 1) == 0);
	CHECK(ioctl(fd, KVCPU_PTABLE, &t) == 0);
	CHECK(ioctl(fd, KVCPU_POLICY, &p) == 0);
	CHECK(ioctl(fd, KVCPU_CLASS, &c) == 0 && c.matched == 1);
	CHECK(step(telemetry().current_step + 1) == 0);
	priority = entry[5] >> 2 & 0xffff;
	CHECK(priority == 0x5a * 256 + 250);
	t.classes = 16;
	REFUSED(ioctl(fd, KVCPU_PTABLE, &t), EINVAL);
	c.shift = 1 << 16;
	REFUSED(ioctl(fd, KVCPU_CLASS, &c), EINVAL);
	p.policy = 2;
	REFUSED(ioctl(fd, KVCPU_POLICY, &p), EINVAL);
	p.policy = KVCPU_LINEAR;
	CHECK(ioctl(fd, KVCPU_POLICY, &p) == 0);
	CHECK(unload_all() == 1);
	munmap((void *)entry, 1 << 22);
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static void directory_in_memory(void)
{
	volatile const unsigned int *entry = directory();

	CHECK((void *)entry != MAP_FAILED);
	CHECK(load(3, 1) == 0);
	CHECK((entry[0] & 0xffff) == 1 && entry[1] == 96 && entry[2] == 127 && (entry[3] & 3) == 1);
	CHECK(entry[0x200000 / 4] == (unsigned)(BASE + 3 * BLOCK));
	CHECK(unload_all() == 1);
	CHECK(entry[0] == 0 && entry[7] == 0);
	CHECK(mprotect((void *)entry, 4096, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
	munmap((void *)entry, 1 << 22);
	REFUSED((long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
	REFUSED((long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0), EACCES);
	REFUSED((long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 1 << 22), EINVAL);
}

/* A block that this program wrote into tier 3 goes to tier 1 and from there to tier 2, both in this guest's memory. */
static void moves_through_guest_memory(void)
{
	unsigned char *tier2 = tier_memory(2), *tier3 = tier_memory(3);
	struct kvcpu_event e;
	unsigned long i, differ = 0;
	int index;

	if (wrong)
		return;
	forget_events();
	CHECK(load(0, 1) == 0);		/* so that the block is not the first, and both buffers' offsets count */
	index = load(1, 3);
	CHECK(index == 1);
	memset(tier2, 0xee, 4 * BLOCK);
	for (i = 0; i < BLOCK; i++)
		tier3[index * BLOCK + i] = i * 7 + (i >> 8) + 1;
	CHECK(range(KVCPU_PREFETCH, BASE + BLOCK, BLOCK, telemetry().current_step) == 0);
	e = event_of(fd);
	CHECK(e.type == KVCPU_EVENT_MOVE && e.index == 1 && e.from_tier == 3 && e.to_tier == 1 && e.prefetch && !e.error && !e.lost);
	CHECK(range(KVCPU_EVICT, BASE + BLOCK, BLOCK, 0) == 0);
	e = event_of(fd);
	CHECK(e.type == KVCPU_EVENT_MOVE && e.index == 1 && e.from_tier == 1 && e.to_tier == 2 && !e.prefetch && !e.error);
	for (i = 0; i < BLOCK; i++)
		differ += tier2[index * BLOCK + i] != (unsigned char)(i * 7 + (i >> 8) + 1);
	printf("  %lu of %lu bytes differ in guest memory\n", differ, BLOCK);
	CHECK(differ == 0);
	CHECK(tier2[index * BLOCK - 1] == 0xee && tier2[(index + 1) * BLOCK] == 0xee);
	CHECK(unload_all() == 2);
	munmap(tier2, ENTRIES * BLOCK);
	munmap(tier3, ENTRIES * BLOCK);
}

/* ---- the doorbell of user space ----------------------------------------------------------------------------------- */

static int becomes(const char *attribute, unsigned long long value)
{
	int i;

	for (i = 0; i < 6000 && number(attribute) != value; i++)
		usleep(10000);
	return number(attribute) == value;
}

/* STEP without a system call, beside commands of the driver, which notices nothing. */
static void doorbell(void)
{
	volatile unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, KVCPU_MAP_DOORBELL);
	struct kvcpu_telemetry before = telemetry();
	unsigned long long now = before.current_step, rung = number("rung_steps"), refused = number("rung_refused");
	int reader = open(NODE, O_RDONLY), i, zero = 0;

	CHECK(page != MAP_FAILED);
	if (wrong)
		return;
	for (i = 0; i < 4096; i += 4)
		zero += *(volatile unsigned int *)(page + i) == 0;
	CHECK(zero == 1024);
	*(volatile unsigned long long *)(page + KVCPU_RING_STEP) = now + 3;
	CHECK(becomes("rung_steps", rung + 1) && telemetry().current_step == now + 3);
	*(volatile unsigned int *)(page + KVCPU_RING_STEP_FAST) = now + 4;
	CHECK(becomes("rung_steps", rung + 2) && telemetry().current_step == now + 4);
	CHECK(telemetry().step_count == before.step_count + 2 && telemetry().last_target_step == now + 4);
	*(volatile unsigned int *)(page + KVCPU_RING_STEP_FAST) = now + 1;	/* behind the current step: refused */
	CHECK(becomes("rung_refused", refused + 1) && number("rung_steps") == rung + 2);
	CHECK(telemetry().current_step == now + 4);
	for (i = 0; i < ENTRIES && load(i, 3) == i; i++)	/* so that a STEP takes longer than a ring */
		;
	CHECK(i == ENTRIES);
	for (i = 0; i < 240; i++) {		/* some find no room: none may cost a command of the driver */
		*(volatile unsigned long long *)(page + KVCPU_RING_STEP) = now + 5 + i;
		if (i % 40 == 39)
			CHECK(range(KVCPU_MARK_HOT, 0x1000, 1, 0) == 0);
	}
	CHECK(step(now + 300) == 0 && telemetry().current_step == now + 300);
	CHECK(telemetry().hot_count == before.hot_count + 6);
	CHECK(telemetry().step_count == before.step_count + 1 + number("rung_steps") - rung);
	printf("  %llu of 242 rings ran\n", number("rung_steps") - rung);
	CHECK(unload_all() == ENTRIES);
	CHECK(reader >= 0);
	REFUSED((long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader, KVCPU_MAP_DOORBELL), EACCES);
	REFUSED((long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, KVCPU_MAP_DOORBELL), EACCES);
	REFUSED((long)mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, KVCPU_MAP_DOORBELL), EINVAL);
	close(reader);
	munmap((void *)page, 4096);
}

/* ---- posts and events --------------------------------------------------------------------------------------------- */

int post_steps(int file, int count, unsigned long long first)
{
	static struct kvcpu_post posts[256];
	int i, n;

	for (i = 0; i < count; i++)
		posts[i] = (struct kvcpu_post){ KVCPU_ABI, _IOC_NR(KVCPU_STEP_ADVANCE), first + i, 0, 0, first + i };
	n = write(file, posts, count * sizeof(posts[0]));
	return n < 0 ? -1 : (int)(n / sizeof(posts[0]));
}

/* More than the device's queue takes, always: the driver waits, and every command leaves its result, in order. */
static void back_pressure(void)
{
	static struct kvcpu_event events[256];
	const int posts = getenv("POSTS") ? atoi(getenv("POSTS")) : 10000;	/* from the kernel's command line */
	struct kvcpu_telemetry before = telemetry(), after;
	unsigned long long next = before.current_step + 1, seen = next;
	int done = 0, read_, i, in_order = 1;
	double start = seconds();

	while (done < posts) {
		int count = posts - done < 256 ? posts - done : 256, sent = post_steps(fd, count, next + done);

		CHECK(sent == count);
		if (sent <= 0)
			return;
		done += sent;
		for (; sent > 0; sent -= read_) {
			read_ = read(fd, events, sent * sizeof(events[0])) / (int)sizeof(events[0]);
			if (read_ <= 0) {
				CHECK(read_ > 0);
				return;
			}
			for (i = 0; i < read_; i++)
				in_order &= events[i].type == KVCPU_EVENT_RESULT && events[i].cookie == seen++ && !events[i].error;
		}
	}
	after = telemetry();
	printf("  %d commands, %.0f us each, lost %lld\n", done, (seconds() - start) / done * 1e6,
	       (long long)(before.step_count + done - after.step_count));
	CHECK(in_order);
	CHECK(after.step_count == before.step_count + posts && after.current_step == before.current_step + posts);
}

static void posts_without_waiting(void)
{
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	unsigned long long next = telemetry().current_step + 1;
	int total = 0, sent, i;

	forget_events();
	CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLOUT);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (i = 0; i < 60000 && total < 256; i++) {
		sent = post_steps(fd, 256 - total, next + total);
		if (sent < 0 && errno == EAGAIN) {
			usleep(1000);		/* the device may have to wait for its turn on a busy machine */
			continue;
		}
		if (sent < 0)
			break;
		total += sent;
	}
	CHECK(total == 256);
	REFUSED(post_steps(fd, 1, next + 256), EAGAIN);		/* no place for a result that nobody has read */
	p.revents = 0;
	CHECK(poll(&p, 1, 5000) == 1 && p.revents == POLLIN);
	fcntl(fd, F_SETFL, 0);
	for (i = 0; i < 256; i++)
		if (event_of(fd).cookie != next + i)
			break;
	CHECK(i == 256);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	REFUSED(read(fd, &i, 4), EINVAL);
	REFUSED(read(fd, (char[64]){}, 64), EAGAIN);
	fcntl(fd, F_SETFL, 0);
}

static void refused_posts(void)
{
	struct kvcpu_post p = { KVCPU_ABI, _IOC_NR(KVCPU_MARK_HOT), 42, 0x1000, 0, 0 };
	struct kvcpu_event e;

	CHECK(write(fd, &p, sizeof(p)) == sizeof(p));
	e = event_of(fd);
	CHECK(e.type == KVCPU_EVENT_RESULT && e.cookie == 42 && e.error == -EINVAL);
	REFUSED(write(fd, &p, sizeof(p) - 1), EINVAL);
	p.version = 9;
	REFUSED(write(fd, &p, sizeof(p)), EINVAL);
	p.version = KVCPU_ABI;
	p.number = _IOC_NR(KVCPU_SET_WEIGHTS);
	REFUSED(write(fd, &p, sizeof(p)), EINVAL);
	REFUSED(write(fd, nowhere, sizeof(p)), EFAULT);
}

/* A file is closed with commands under way: they are run. */
static void close_with_posts(void)
{
	int other = open(NODE, O_RDWR);
	struct kvcpu_telemetry before = telemetry();

	CHECK(other >= 0 && post_steps(other, 100, before.current_step + 1) == 100);
	CHECK(close(other) == 0);
	CHECK(telemetry().step_count == before.step_count + 100);
}

static void took(const char *what, double since, int count)
{
	printf("  %-44s %9.0f ns each\n", what, (seconds() - since) / count * 1e9);
}

static void read_batch(struct kvcpu_event *events)
{
	int done, i;

	for (done = 0; done < KVCPU_BATCH; done += i) {
		i = read(fd, events + done, (KVCPU_BATCH - done) * sizeof(*events)) / (int)sizeof(*events);
		if (i <= 0) {
			CHECK(i > 0);
			return;
		}
	}
}

/* How long calls take, as this guest sees it: printed, and not judged. */
static void times(void)
{
	static struct kvcpu_event events[KVCPU_BATCH];
	unsigned long long now = telemetry().current_step;
	struct kvcpu_telemetry t;
	double start;
	int i;

	forget_events();
	start = seconds();
	for (i = 0; i < 10000; i++)
		REFUSED(ioctl(fd, _IO('K', 99)), ENOTTY);
	took("a system call that does nothing", start, 10000);
	start = seconds();
	for (i = 0; i < 100; i++)
		CHECK(ioctl(fd, KVCPU_GET_TELEMETRY, &t) == 0);
	took("ioctl GET_TELEMETRY (24 registers)", start, 100);
	start = seconds();
	for (i = 0; i < 500; i++)
		CHECK(step(++now) == 0);
	took("ioctl STEP_ADVANCE, to its result", start, 500);
	start = seconds();
	CHECK(post_steps(fd, KVCPU_BATCH, now + 1) == KVCPU_BATCH);
	took("write of 256 STEPs, to its return", start, KVCPU_BATCH);
	read_batch(events);
	took("write of 256 STEPs, to the last result", start, KVCPU_BATCH);
	CHECK(post_steps(fd, KVCPU_BATCH, now + KVCPU_BATCH + 1) == KVCPU_BATCH);
	while (telemetry().step_count != t.step_count + 500 + 2 * KVCPU_BATCH)
		usleep(1000);
	usleep(100000);		/* for the last interrupt */
	start = seconds();
	read_batch(events);
	took("read of 256 results that are there", start, KVCPU_BATCH);
}

static void nothing(int number)
{
	(void)number;
}

static void signals(void)
{
	struct sigaction action = { .sa_handler = nothing };
	struct kvcpu_telemetry before;
	struct kvcpu_event e;
	int i;

	forget_events();
	sigaction(SIGALRM, &action, NULL);
	alarm(1);
	REFUSED(read(fd, &e, sizeof(e)), EINTR);
	before = telemetry();
	CHECK(post_steps(fd, 256, before.current_step + 1) == 256);
	alarm(1);
	REFUSED(post_steps(fd, 1, before.current_step + 257), EINTR);	/* waits for a place */
	for (i = 0; i < 256; i++)
		event_of(fd);
	CHECK(telemetry().step_count == before.step_count + 256);
}

static void many_processes(void)
{
	struct kvcpu_telemetry before = telemetry(), after;
	int i, status, bad = 0;

	fflush(stdout);
	for (i = 0; i < 8; i++) {
		if (fork() == 0) {
			int j;

			fd = open(NODE, O_RDWR);
			for (j = 0; j < 100; j++) {
				struct kvcpu_range r = { 0x1000ull * (i + 1), 1 + j, 0 };

				if (ioctl(fd, i % 2 ? KVCPU_MARK_HOT : KVCPU_SHARE_PREFIX, &r))
					_exit(1);
			}
			_exit(0);
		}
	}
	for (i = 0; i < 8; i++) {
		wait(&status);
		bad += status != 0;
	}
	after = telemetry();
	CHECK(bad == 0);
	CHECK(after.hot_count == before.hot_count + 400 && after.share_count == before.share_count + 400);
}

/* ---- sysfs --------------------------------------------------------------------------------------------------------- */

static void attributes(void)
{
	char line[64];
	unsigned long long now = telemetry().current_step;

	CHECK(number("current_step") == now);
	snprintf(line, sizeof(line), "%llu\n", now + 3);
	CHECK(put(SYSFS "current_step", line) == 0 && telemetry().current_step == now + 3);
	REFUSED(put(SYSFS "current_step", "1"), EINVAL);
	REFUSED(put(SYSFS "current_step", "many"), EINVAL);
	CHECK(put(SYSFS "w_r", "0x11") == 0 && number("w_r") == 0x11 && telemetry().weights.w_r == 0x11);
	REFUSED(put(SYSFS "w_r", "300"), EINVAL);
	CHECK(number("w_r") == 0x11);
	CHECK(put(SYSFS "prefetch_thresh", "65535") == 0 && number("prefetch_thresh") == 65535);
	CHECK(access(SYSFS "w_f", F_OK) == 0 && access(SYSFS "w_s", F_OK) == 0 && access(SYSFS "w_d", F_OK) == 0);
	CHECK(access(SYSFS "evict_thresh", F_OK) == 0);
	snprintf(line, sizeof(line), "current_step=%llu\nstep_count=", now + 3);
	CHECK(!strncmp(get(SYSFS "telemetry"), line, strlen(line)));
	CHECK(strstr(get(SYSFS "telemetry"), "\nw_r=17\n") != NULL);
}

/* Results come by interrupt: none had to be looked for. */
static void interrupts(void)
{
	unsigned long long before = number("interrupts"), late = number("late_results");
	int i;

	for (i = 0; i < 50; i++)
		CHECK(range(KVCPU_MARK_HOT, 0x1000, 1, 0) == 0);
	printf("  50 commands: %llu interrupts, %llu results without one\n", number("interrupts") - before, number("late_results") - late);
	CHECK(number("interrupts") > before);
	CHECK(number("late_results") == late);
}

/* A command by its registers is noted as its ioctl is: the driver's memory of a target step ends with a STEP, however that came. */
static void step_by_its_register(void)
{
	unsigned long long now = telemetry().current_step;
	struct kvcpu_register doorbell = { 0x100, 8, now + 1 };		/* STEP_ADVANCE */
	struct kvcpu_run run = { .version = KVCPU_ABI, .count = 1, .writes = (unsigned long)&doorbell };

	CHECK(range(KVCPU_MARK_HOT, 0x1000, 1, now + 77) == 0 && telemetry().last_target_step == now + 77);
	CHECK(ioctl(fd, KVCPU_RUN, &run) == 0 && run.code == 0 && telemetry().current_step == now + 1);
	CHECK(telemetry().last_target_step == now + 1);
	CHECK(range(KVCPU_MARK_HOT, 0x1000, 1, now + 78) == 0 && telemetry().last_target_step == now + 78);
	doorbell.value = now;						/* behind the current step: no error of the ioctl */
	CHECK(ioctl(fd, KVCPU_RUN, &run) == 0 && run.code == 6);
	CHECK(telemetry().last_target_step == now + 78);
}

/* ---- coming and going ---------------------------------------------------------------------------------------------- */

static void reload(void)
{
	struct kvcpu_telemetry before, after;
	unsigned char *tier2;

	REFUSED(take_out(), EWOULDBLOCK);		/* while the node is open */
	close(fd);
	CHECK(take_out() == 0);
	CHECK(access(NODE, F_OK) == -1);
	insert("");
	fd = open(NODE, O_RDWR);
	CHECK(fd >= 0 && telemetry().step_count == 0);	/* it was reset, as its tiers were in memory of the driver's */
	CHECK(step(9) == 0);
	close(fd);
	CHECK(take_out() == 0);
	insert("lend=0");				/* nothing of the driver's: the device stays as it is */
	fd = open(NODE, O_RDWR);
	CHECK(fd >= 0 && step(10) == 0);
	before = telemetry();
	CHECK(before.step_count == 1);
	tier2 = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fd, KVCPU_MAP_TIER2);
	CHECK(tier2 == MAP_FAILED && errno == EINVAL);
	close(fd);
	CHECK(take_out() == 0);
	insert("lend=0");
	fd = open(NODE, O_RDWR);
	CHECK(fd >= 0);
	after = telemetry();
	CHECK(!memcmp(&before, &after, sizeof(before)));
	close(fd);
	CHECK(take_out() == 0);
	insert("");
	fd = open(NODE, O_RDWR);
	CHECK(fd >= 0);
}

static sigjmp_buf back;

static void to_back(int number)
{
	siglongjmp(back, number);
}

static int is_there(volatile const unsigned int *at)
{
	struct sigaction action = { .sa_handler = to_back };

	sigaction(SIGBUS, &action, NULL);
	if (sigsetjmp(back, 1))
		return 0;
	(void)*at;
	return 1;
}

/* The device goes while the node is open, mapped, and somebody waits in read(). */
static void removal_with_the_node_open(void)
{
	char device[256] = "", path[300];
	volatile const unsigned int *map = directory();
	struct pollfd p = { fd, POLLIN, 0 };
	struct kvcpu_event e;
	ssize_t n = readlink(SYSFS "device", device, sizeof(device) - 1);
	int status, child, i;

	CHECK(n > 0 && (void *)map != MAP_FAILED && is_there(map));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", n > 0 ? strrchr(device, '/') + 1 : "");
	forget_events();
	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(read(fd, &e, sizeof(e)) == -1 && errno == ENODEV ? 0 : 1);
	usleep(200000);
	CHECK(put(path, "1") == 0);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	REFUSED(step(100), ENODEV);
	REFUSED(post_steps(fd, 1, 100), ENODEV);
	REFUSED(read(fd, &e, sizeof(e)), ENODEV);
	CHECK(poll(&p, 1, 0) == 1 && p.revents & POLLHUP);
	CHECK(!is_there(map));
	REFUSED((long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), ENODEV);
	CHECK(access(NODE, F_OK) == -1);
	munmap((void *)map, 1 << 22);
	CHECK(close(fd) == 0);
	CHECK(put("/sys/bus/pci/rescan", "1") == 0);
	for (i = 0; i < 600 && access(NODE, F_OK); i++)
		usleep(100000);
	fd = open(NODE, O_RDWR);
	CHECK(fd >= 0 && step(1) == 0);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------- */

#define TEST(name)	{ #name, name }
static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	TEST(numbers), TEST(reset_values), TEST(steps), TEST(hints), TEST(refusals), TEST(weights), TEST(versions), TEST(blocks),
	TEST(full_directory), TEST(unload_of_a_request), TEST(ranked_policy), TEST(directory_in_memory),
	TEST(moves_through_guest_memory), TEST(scores), TEST(score_refusals), TEST(scores_of_many_processes),
	TEST(back_pressure), TEST(posts_without_waiting), TEST(refused_posts), TEST(close_with_posts),
	TEST(uring_at_a_full_queue), TEST(uring_in_order), TEST(uring_refusals), TEST(uring_left_alone), TEST(times), TEST(signals),
	TEST(many_processes), TEST(attributes), TEST(interrupts), TEST(step_by_its_register), TEST(doorbell),
	TEST(random_commands), TEST(reload), TEST(removal_with_the_node_open),
};

/* Is the test among those that the kernel's command line has as TESTS? Without any, all are. */
static int is_wanted(const char *name)
{
	const char *at = getenv("TESTS");
	size_t length = strlen(name);

	if (!at)
		return 1;
	for (; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, name, length) && (!at[length] || at[length] == ','))
			return 1;
	}
	return 0;
}

/* How many TESTS names, and -1 without it. */
static int wanted(void)
{
	const char *at = getenv("TESTS");
	int names = at ? 1 : -1;

	while (at && (at = strchr(at, ',')) != NULL) {
		at++;
		names++;
	}
	return names;
}

int main(void)
{
	unsigned i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	insert("");
	fd = open(NODE, O_RDWR);
	CHECK(fd >= 0);
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		double start = seconds();

		if (!is_wanted(tests[i].name))
			continue;
		wrong = 0;
		tests[i].run();
		*(wrong ? &failed : &passed) += 1;
		printf("%s %s (%.1f s)\n", wrong ? "FAILED" : "ok    ", tests[i].name, seconds() - start);
	}
	if (wanted() >= 0 && passed + failed != wanted()) {
		printf("  TESTS=%s has names that no test has\n", getenv("TESTS"));
		failed++;
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}

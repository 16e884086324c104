// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Commands by io_uring, over its system calls: one ring at a time, which nobody else touches.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/io_uring.h>

#include "test.h"

#define SLOTS	64

static struct {
	int fd;
	unsigned *tail, *mask, *array;
	unsigned *head_done, *tail_done, *mask_done;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	void *rings;
	size_t bytes;
} ring;

static void open_ring(void)
{
	struct io_uring_params p = {};

	ring.fd = syscall(SYS_io_uring_setup, SLOTS, &p);
	CHECK(ring.fd >= 0 && p.features & IORING_FEAT_SINGLE_MMAP);
	if (wrong)
		return;
	ring.bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	ring.rings = mmap(NULL, ring.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	ring.sqes = mmap(NULL, SLOTS * sizeof(*ring.sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
	CHECK(ring.rings != MAP_FAILED && ring.sqes != MAP_FAILED);
	ring.tail = ring.rings + p.sq_off.tail;
	ring.mask = ring.rings + p.sq_off.ring_mask;
	ring.array = ring.rings + p.sq_off.array;
	ring.head_done = ring.rings + p.cq_off.head;
	ring.tail_done = ring.rings + p.cq_off.tail;
	ring.mask_done = ring.rings + p.cq_off.ring_mask;
	ring.cqes = ring.rings + p.cq_off.cqes;
}

static void close_ring(void)
{
	munmap(ring.rings, ring.bytes);
	munmap(ring.sqes, SLOTS * sizeof(*ring.sqes));
	close(ring.fd);
}

static void put(int number, struct kvcpu_uring asked, unsigned long long cookie, int flags)
{
	unsigned tail = *ring.tail, slot = tail & *ring.mask;
	struct io_uring_sqe *sqe = &ring.sqes[slot];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = flags;
	sqe->fd = fd;
	sqe->cmd_op = number;
	sqe->user_data = cookie;
	memcpy(sqe->cmd, &asked, sizeof(asked));
	ring.array[slot] = slot;
	__atomic_store_n(ring.tail, tail + 1, __ATOMIC_RELEASE);
}

/* Hand in what was put, and wait for so many answers. */
static void enter(int count)
{
	CHECK(syscall(SYS_io_uring_enter, ring.fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0) == count);
}

/* The next answer; -1 where there is none. */
static int taken(unsigned long long *cookie)
{
	unsigned head = *ring.head_done;
	int res;

	if (head == __atomic_load_n(ring.tail_done, __ATOMIC_ACQUIRE))
		return -1;
	res = ring.cqes[head & *ring.mask_done].res;
	*cookie = ring.cqes[head & *ring.mask_done].user_data;
	__atomic_store_n(ring.head_done, head + 1, __ATOMIC_RELEASE);
	return res;
}

static int one(int number, struct kvcpu_uring asked)
{
	unsigned long long cookie = 0;
	int res;

	put(number, asked, 77, 0);
	enter(1);
	res = taken(&cookie);
	CHECK(cookie == 77);
	return res;
}

/* More at once than the device's queue holds: each is run, and answered once. */
void uring_at_a_full_queue(void)
{
	struct kvcpu_telemetry before = telemetry();
	unsigned long long seen = 0, cookie;
	int round, i;

	open_ring();
	CHECK(load(0, 1) == 0 && load(1, 1) == 1);
	for (round = 0; round < 10 && !wrong; round++) {
		for (i = 0; i < SLOTS; i++)
			put(_IOC_NR(KVCPU_MARK_HOT), (struct kvcpu_uring){ BASE, (1 + i % 2) * BLOCK, 0 }, i, 0);
		enter(SLOTS);
		for (seen = 0, i = 0; i < SLOTS; i++) {
			int res = taken(&cookie);

			CHECK(res == (int)(1 + cookie % 2));	/* blocks in the range */
			seen |= 1ull << cookie;
		}
		CHECK(seen == ~0ull);
	}
	CHECK(telemetry().hot_count == before.hot_count + 10 * SLOTS);
	CHECK(unload_all() == 2);
	close_ring();
}

void uring_in_order(void)
{
	struct kvcpu_telemetry before = telemetry(), after;
	unsigned long long cookie, next = 0;
	int i;

	open_ring();
	for (i = 0; i < 40; i++)
		put(_IOC_NR(KVCPU_STEP_ADVANCE), (struct kvcpu_uring){ .step = before.current_step + 1 + i }, i, i < 39 ? IOSQE_IO_LINK : 0);
	enter(40);
	for (i = 0; i < 40; i++)
		CHECK(taken(&cookie) == 0 && cookie == next++);
	after = telemetry();
	CHECK(after.step_count == before.step_count + 40 && after.current_step == before.current_step + 40);
	CHECK(after.last_target_step == after.current_step);
	close_ring();
}

void uring_refusals(void)
{
	struct kvcpu_telemetry before, after;
	unsigned now = telemetry().current_step;

	open_ring();
	CHECK(one(_IOC_NR(KVCPU_PREFETCH), (struct kvcpu_uring){ 0x1000, 4096, now + 3 }) == 0);
	before = telemetry();
	CHECK(before.last_va == 0x1000 && before.last_len == 4096 && before.last_target_step == now + 3);
	CHECK(one(_IOC_NR(KVCPU_PREFETCH), (struct kvcpu_uring){ 0x1000, 4096, now - 1 }) == -EINVAL);
	CHECK(one(_IOC_NR(KVCPU_STEP_ADVANCE), (struct kvcpu_uring){ .step = now - 1 }) == -EINVAL);
	CHECK(one(_IOC_NR(KVCPU_EVICT), (struct kvcpu_uring){ 0x1000, 0, 0 }) == -EINVAL);
	CHECK(one(_IOC_NR(KVCPU_SET_WEIGHTS), (struct kvcpu_uring){ 1, 1, 1 }) == -EINVAL);
	CHECK(one(0, (struct kvcpu_uring){ 1, 1, 1 }) == -EINVAL);
	CHECK(one(1 << 16, (struct kvcpu_uring){ 1, 1, 1 }) == -EINVAL);
	after = telemetry();
	CHECK(!memcmp(&before, &after, sizeof(before)));
	close_ring();
}

/* A program that ends with commands under way leaves none half done: its ring goes when they are answered. */
void uring_left_alone(void)
{
	struct kvcpu_telemetry before = telemetry();
	int i;

	open_ring();
	for (i = 0; i < 8; i++)
		put(_IOC_NR(KVCPU_MARK_HOT), (struct kvcpu_uring){ BASE, BLOCK, 0 }, i, 0);
	CHECK(syscall(SYS_io_uring_enter, ring.fd, 8, 0, 0, NULL, 0) == 8);
	close_ring();
	for (i = 0; i < 6000 && telemetry().hot_count != before.hot_count + 8; i++)
		usleep(10000);
	CHECK(telemetry().hot_count == before.hot_count + 8);
}

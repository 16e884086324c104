/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the driver's tests share. A test is a function without arguments that CHECKs; test.c has the table of them all, and most.
 */
#ifndef TEST_H
#define TEST_H

#include <errno.h>
#include <stdio.h>

#include <linux/kvcpu.h>

#define NODE		"/dev/kvcpu0"
#define SYSFS		"/sys/class/kv_cpu/kvcpu0/"
#define BLOCK		16384ul
#define ENTRIES		256
#define KVCPU_BATCH	256		/* results of a file that may be unread */
#define BASE		0x7f0000000000ull

extern int fd, wrong;			/* the open node; 1 once a CHECK of this test has failed */
extern void *volatile nowhere;		/* where nothing is mapped */

#define CHECK(what) do {										\
	if (!(what)) {											\
		printf("  %s:%d: not so: %s (errno %d)\n", __FILE_NAME__, __LINE__, #what, errno);	\
		wrong = 1;										\
	}												\
} while (0)
#define REFUSED(call, error)	CHECK((errno = 0, (call) == -1 && errno == (error)))

double seconds(void);
unsigned long long number(const char *attribute);
struct kvcpu_telemetry telemetry(void);
int step(unsigned long long to);
int range(unsigned long request, unsigned long long va, unsigned long long len, unsigned long long target);
int load(int i, int tier);
int load_key(int i, int tier, int tokens);
int unload_all(void);
struct kvcpu_event event_of(int file);
void forget_events(void);
unsigned char *tier_memory(int tier);
int post_steps(int file, int count, unsigned long long first);

/* random.c */
void random_commands(void);

/* scores.c */
void scores(void);
void score_refusals(void);
void scores_of_many_processes(void);

/* uring.c */
void uring_at_a_full_queue(void);
void uring_in_order(void);
void uring_refusals(void);
void uring_left_alone(void);

#endif

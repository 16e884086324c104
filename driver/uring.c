// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Commands by io_uring: like those of write(), but each answers for itself, when the device has run
 * it. An attempt that must not wait and finds the device's queue full is left to one of io_uring's
 * threads, which may.
 */
#include <linux/slab.h>
#include <linux/version.h>

#include "kvcpu.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
#include <linux/io_uring/cmd.h>
#else
#include <linux/io_uring.h>
#endif

/* ---- what differs between kernels ------------------------------------------------------------ */

static const struct kvcpu_uring *asked_of(struct io_uring_cmd *request)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return (const struct kvcpu_uring *)request->sqe->cmd;
#else
	return request->cmd;
#endif
}

static s32 *answer_to(struct io_uring_cmd *request)
{
	return (s32 *)request->pdu;
}

static void answer(struct io_uring_cmd *request, unsigned int issue_flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	io_uring_cmd_done(request, *answer_to(request), issue_flags);
#else
	io_uring_cmd_done(request, *answer_to(request), 0, issue_flags);
#endif
}

#ifdef IO_URING_CMD_TASK_WORK_ISSUE_FLAGS
static void answer_in_task(struct io_tw_req work, io_tw_token_t token)
{
	answer(io_uring_cmd_from_tw(work), IO_URING_CMD_TASK_WORK_ISSUE_FLAGS);
}
#else
static void answer_in_task(struct io_uring_cmd *request, unsigned int issue_flags)
{
	answer(request, issue_flags);
}
#endif

/* ---- requests -------------------------------------------------------------------------------- */

/* The command is done: its asker is told, in his own time. */
void kvcpu_answer_uring(struct kvcpu_command *command)
{
	struct io_uring_cmd *request = command->uring;

	*answer_to(request) = command->error ? command->error : command->result.matched;
	io_uring_cmd_complete_in_task(request, answer_in_task);
}

static int queue(struct kvcpu *kv, struct io_uring_cmd *request, const struct kvcpu_range *range,
		 bool wait)
{
	struct kvcpu_command *command = kmalloc(sizeof(*command), GFP_KERNEL);
	int error;

	if (!command)
		return -ENOMEM;
	error = kvcpu_make_range(command, request->cmd_op, range);
	command->uring = request;
	if (!error)
		error = kvcpu_post(kv, command, wait);
	if (error)
		kfree(command);
	return error == -ERESTARTSYS ? -EINTR : error;
}

/*
 * The asker shares the SQE with us, so each word is read once. Behind -EIOCBQUEUED the request may
 * be answered already.
 */
int kvcpu_uring_cmd(struct io_uring_cmd *request, unsigned int issue_flags)
{
	struct kvcpu *kv = ((struct kvcpu_file *)request->file->private_data)->kv;
	const struct kvcpu_uring *asked = asked_of(request);
	struct kvcpu_range range = { READ_ONCE(asked->va), READ_ONCE(asked->len),
				     READ_ONCE(asked->step) };
	int error = kvcpu_enter(kv);

	if (error)
		return error;
	error = queue(kv, request, &range, !(issue_flags & IO_URING_F_NONBLOCK));
	up_read(&kv->here);
	return error ? error : -EIOCBQUEUED;
}

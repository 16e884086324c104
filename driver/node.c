// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * /dev/kvcpuN: ioctls that run a command and wait for it, write() that queues commands, read() and
 * poll() for their results and for the moves between tiers, mmap() of the directory, of memory for
 * tiers, and of the page with STEP's doorbell. include/uapi/linux/kvcpu.h is the manual.
 *
 * The device may go while the node is open: `here` is held while it is used, the mapping is taken
 * back, and whoever waits is woken.
 */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "kvcpu.h"

/* ---- open and close -------------------------------------------------------------------------- */

static int kvcpu_open(struct inode *inode, struct file *file)
{
	/* Held by its cdev while the file is open. */
	struct kvcpu *kv = container_of(inode->i_cdev, struct kvcpu, cdev);
	struct kvcpu_file *open = kzalloc(sizeof(*open), GFP_KERNEL);
	int error;

	if (!open)
		return -ENOMEM;
	open->kv = kv;
	open->file = file;
	mutex_init(&open->reading);
	mutex_init(&open->writing);
	init_waitqueue_head(&open->wait);
	INIT_KFIFO(open->results);
	INIT_KFIFO(open->moves);
	error = kvcpu_enter(kv);
	if (error) {
		kfree(open);
		return error;
	}
	spin_lock(&kv->list);
	list_add_tail(&open->files, &kv->files);
	spin_unlock(&kv->list);
	up_read(&kv->here);
	file->private_data = open;
	return stream_open(inode, file);
}

/*
 * Commands that were posted are still run, and their results are waited for: until then they know
 * the file.
 */
static int kvcpu_release(struct inode *inode, struct file *file)
{
	struct kvcpu_file *open = file->private_data;
	struct kvcpu *kv = open->kv;

	wait_event(open->wait, !READ_ONCE(open->outstanding));
	mutex_lock(&kv->drain);		/* who told the last result may still be waking us */
	spin_lock(&kv->list);
	list_del(&open->files);
	spin_unlock(&kv->list);
	mutex_unlock(&kv->drain);
	kfree(open);
	return 0;
}

/* ---- ioctl ----------------------------------------------------------------------------------- */

static long do_load(struct kvcpu *kv, struct kvcpu_load *load)
{
	struct kvcpu_command command;
	int error;

	if (load->flags & ~KVCPU_HINT || load->reserved)
		return -EINVAL;
	kvcpu_begin(&command, KVCPU_OP_LOAD);
	kvcpu_add(&command, REG(TOUCH_HINT), 4,
		  kvcpu_touch_hint(load->flags, load->cls, load->order));
	kvcpu_add(&command, REG(LOAD_ID), 4, kvcpu_key(load->request, load->layer, load->head));
	kvcpu_add(&command, REG(LOAD_TOKEN_START), 4, load->token_start);
	kvcpu_add(&command, REG(LOAD_VA), 8, load->va);
	kvcpu_add(&command, REG(LOAD_TOKEN_END), 4, load->token_end);
	kvcpu_add(&command, REG(LOAD_TIER), 4, load->tier);
	error = kvcpu_run(kv, &command, 1);
	if (!error)
		load->index = command.result.index;
	return error;
}

static long do_unload(struct kvcpu *kv, struct kvcpu_unload *unload)
{
	struct kvcpu_command command;
	int error;

	if (unload->flags & ~KVCPU_REQUEST)
		return -EINVAL;
	if (unload->flags & KVCPU_REQUEST) {
		kvcpu_begin(&command, KVCPU_OP_UNLOAD_REQUEST);
		kvcpu_add(&command, REG(UNLOAD_ID), 4, unload->request);
	} else {
		kvcpu_begin(&command, KVCPU_OP_UNLOAD);
		kvcpu_add(&command, REG(UNLOAD_ADDR), 8, unload->va);
		kvcpu_add(&command, REG(UNLOAD_LEN), 8, unload->len);
	}
	error = kvcpu_run(kv, &command, 1);
	if (!error)
		unload->matched = command.result.matched;
	return error;
}

static long do_lookup(struct kvcpu *kv, struct kvcpu_lookup *lookup)
{
	bool touch = lookup->flags & KVCPU_TOUCH;
	struct kvcpu_command command;
	int error;

	if (lookup->flags & ~(KVCPU_HINT | KVCPU_TOUCH) || lookup->reserved || lookup->reserved2)
		return -EINVAL;
	if (lookup->flags & KVCPU_HINT && !touch)
		return -EINVAL;
	kvcpu_begin(&command, touch ? KVCPU_OP_TOUCH : KVCPU_OP_LOOKUP);
	if (touch)
		kvcpu_add(&command, REG(TOUCH_HINT), 4,
			  kvcpu_touch_hint(lookup->flags, lookup->cls, lookup->order));
	kvcpu_add(&command, REG(LOOKUP_ID), 4,
		  kvcpu_key(lookup->request, lookup->layer, lookup->head));
	kvcpu_add(&command, touch ? REG(TOUCH_POS) : REG(LOOKUP_POS), 4, lookup->token_pos);
	error = kvcpu_run(kv, &command, 1);
	if (error)
		return error;
	lookup->index = command.result.matched ? command.result.index : KVCPU_NO_INDEX;
	lookup->tier = command.result.matched ? command.result.tier : 0;
	lookup->phys_addr = command.result.matched ? command.result.phys_addr : 0;
	return 0;
}

/*
 * A value for half a word: what does not fit becomes what the device refuses as well, so that it is
 * not cut (R6).
 */
static u32 half(u32 value)
{
	return min(value, 0xffffu);
}

static long do_class(struct kvcpu *kv, struct kvcpu_class *cls)
{
	struct kvcpu_command command;
	int error;

	if (cls->flags)
		return -EINVAL;
	kvcpu_begin(&command, KVCPU_OP_CLASS);
	kvcpu_add(&command, REG(CLASS_ADDR), 8, cls->va);
	kvcpu_add(&command, REG(CLASS_LEN), 8, cls->len);
	kvcpu_add(&command, REG(CLASS_ID), 4, cls->cls);
	kvcpu_add(&command, REG(CLASS_ORDER), 4,
		  half(cls->base) | half(cls->shift) << KVCPU__CLASS_ORDER__SHIFT_bp);
	error = kvcpu_run(kv, &command, 1);
	if (!error)
		cls->matched = command.result.matched;
	return error;
}

static long do_policy(struct kvcpu *kv, const struct kvcpu_policy *policy)
{
	struct kvcpu_command *commands;
	int error;

	if (policy->flags || policy->policy > KVCPU_RANKED || policy->fill_age > 0xff)
		return -EINVAL;
	commands = kcalloc(2, sizeof(*commands), GFP_KERNEL);
	if (!commands)
		return -ENOMEM;
	kvcpu_begin(&commands[0], KVCPU_OP_SET);
	kvcpu_add(&commands[0], REG(FILL_AGE), 4, policy->fill_age);
	kvcpu_begin(&commands[1], KVCPU_OP_SET);
	kvcpu_add(&commands[1], REG(POLICY), 4, policy->policy);
	error = kvcpu_run(kv, commands, 2);
	kfree(commands);
	return error;
}

/*
 * The idle bank is filled while nobody else may commit it; the commit is in order with the commands
 * (R45).
 */
static long do_ptable(struct kvcpu *kv, const struct kvcpu_ptable *ptable)
{
	struct kvcpu_command command;
	u32 words = kv->classes * KVCPU_BUCKETS / sizeof(u32), i;
	__le32 *codes;
	int error;

	if (ptable->flags || ptable->reserved || ptable->classes != kv->classes)
		return -EINVAL;
	codes = memdup_user(u64_to_user_ptr(ptable->codes), words * sizeof(u32));
	if (IS_ERR(codes))
		return PTR_ERR(codes);
	error = mutex_lock_interruptible(&kv->windows) ? -ERESTARTSYS : 0;
	if (!error) {
		for (i = 0; i < words; i++)
			writel(le32_to_cpu(codes[i]),
			       kv->bar0 + offsetof(kvcpu_space_t, PTABLE) + i * sizeof(u32));
		kvcpu_begin(&command, KVCPU_OP_SET);
		kvcpu_add(&command, REG(PTABLE_COMMIT), 4, 1);
		error = kvcpu_run(kv, &command, 1);
		mutex_unlock(&kv->windows);
	}
	kfree(codes);
	return error;
}

union argument {
	u32 version;			/* of those from 8 up */
	struct kvcpu_step step;
	struct kvcpu_range range;
	struct kvcpu_weights weights;
	struct kvcpu_telemetry telemetry;
	struct kvcpu_load load;
	struct kvcpu_unload unload;
	struct kvcpu_lookup lookup;
	struct kvcpu_class cls;
	struct kvcpu_policy policy;
	struct kvcpu_ptable ptable;
	struct kvcpu_query query;
	struct kvcpu_score score;
	struct kvcpu_run run;
	struct kvcpu_access access;
};

static long dispatch(struct kvcpu *kv, unsigned int request, union argument *argument)
{
	struct kvcpu_range step = {};

	switch (request) {
	case KVCPU_STEP_ADVANCE:
		step.target_step = argument->step.step;
		return kvcpu_hint(kv, _IOC_NR(request), &step);
	case KVCPU_MARK_HOT:
	case KVCPU_EVICT:
	case KVCPU_PREFETCH:
	case KVCPU_SHARE_PREFIX:
	case KVCPU_RELEASE:
		return kvcpu_hint(kv, _IOC_NR(request), &argument->range);
	case KVCPU_SET_WEIGHTS:
		return kvcpu_set_weights(kv, &argument->weights.w_r, 0, KVCPU_SETTINGS);
	case KVCPU_GET_TELEMETRY:
		kvcpu_telemetry(kv, &argument->telemetry);
		return 0;
	case KVCPU_IDLE:
		return kvcpu_do_idle(kv);
	case KVCPU_RESET:
		return kvcpu_do_reset(kv);
	}
	if (argument->version != KVCPU_ABI)
		return -EINVAL;
	switch (request) {
	case KVCPU_LOAD:
		return do_load(kv, &argument->load);
	case KVCPU_UNLOAD:
		return do_unload(kv, &argument->unload);
	case KVCPU_LOOKUP:
		return do_lookup(kv, &argument->lookup);
	case KVCPU_CLASS:
		return do_class(kv, &argument->cls);
	case KVCPU_POLICY:
		return do_policy(kv, &argument->policy);
	case KVCPU_PTABLE:
		return do_ptable(kv, &argument->ptable);
	case KVCPU_QUERY:
		return kvcpu_query(kv, &argument->query);
	case KVCPU_SCORE:
		return kvcpu_score(kv, &argument->score);
	case KVCPU_RUN:
		return kvcpu_do_run(kv, &argument->run);
	case KVCPU_ACCESS:
		return kvcpu_do_access(kv, &argument->access);
	}
	return -ENOTTY;
}

static bool is_known(unsigned int request)
{
	switch (request) {
	case KVCPU_STEP_ADVANCE:
	case KVCPU_MARK_HOT:
	case KVCPU_EVICT:
	case KVCPU_PREFETCH:
	case KVCPU_SHARE_PREFIX:
	case KVCPU_SET_WEIGHTS:
	case KVCPU_GET_TELEMETRY:
	case KVCPU_LOAD:
	case KVCPU_UNLOAD:
	case KVCPU_LOOKUP:
	case KVCPU_CLASS:
	case KVCPU_POLICY:
	case KVCPU_PTABLE:
	case KVCPU_RELEASE:
	case KVCPU_QUERY:
	case KVCPU_SCORE:
	case KVCPU_RUN:
	case KVCPU_ACCESS:
	case KVCPU_IDLE:
	case KVCPU_RESET:
		return true;
	}
	return false;
}

static long kvcpu_ioctl(struct file *file, unsigned int request, unsigned long address)
{
	struct kvcpu *kv = ((struct kvcpu_file *)file->private_data)->kv;
	void __user *user = (void __user *)address;
	union argument argument = {};
	long error;

	if (!is_known(request))
		return -ENOTTY;
	if (_IOC_NR(request) >= _IOC_NR(KVCPU_RUN) && !(file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (_IOC_DIR(request) & _IOC_WRITE && copy_from_user(&argument, user, _IOC_SIZE(request)))
		return -EFAULT;
	error = kvcpu_enter(kv);
	if (error)
		return error;
	error = dispatch(kv, request, &argument);
	up_read(&kv->here);
	if (!error && _IOC_DIR(request) & _IOC_READ &&
	    copy_to_user(user, &argument, _IOC_SIZE(request)))
		return -EFAULT;
	return error;
}

/* ---- posts and events ------------------------------------------------------------------------ */

/*
 * The result of a posted command goes to its file, which has a place for it. Called under `drain`.
 */
void kvcpu_tell_result(struct kvcpu_command *command)
{
	struct kvcpu_file *open = command->file;
	struct kvcpu_event event = {
		.type = KVCPU_EVENT_RESULT, .cookie = command->cookie, .error = command->error,
		.matched = command->result.matched, .cycles = command->result.cycles,
	};

	spin_lock(&open->kv->list);
	kfifo_put(&open->results, event);
	open->outstanding--;
	spin_unlock(&open->kv->list);
	wake_up_all(&open->wait);
}

/* A completion record goes to every open file. Called under `drain`. */
void kvcpu_tell_move(struct kvcpu *kv, u64 record)
{
	struct kvcpu_event event = {
		.type = KVCPU_EVENT_MOVE,
		.error = record & KVCPU__COMPLETION__ERROR_bm ? -EIO : 0,
		.index = record & KVCPU__COMPLETION__INDEX_bm,
		.from_tier = (record & KVCPU__COMPLETION__FROM_TIER_bm) >>
			     KVCPU__COMPLETION__FROM_TIER_bp,
		.to_tier = (record & KVCPU__COMPLETION__TO_TIER_bm) >>
			   KVCPU__COMPLETION__TO_TIER_bp,
		.prefetch = !!(record & KVCPU__COMPLETION__CHANNEL_bm),
		.step = record >> KVCPU__COMPLETION__STEP_bp,
	};
	struct kvcpu_file *open;

	spin_lock(&kv->list);
	list_for_each_entry(open, &kv->files, files) {
		if (!kfifo_put(&open->moves, event))
			open->lost++;
		wake_up_all(&open->wait);
	}
	spin_unlock(&kv->list);
}

static bool may_post(struct kvcpu_file *open)
{
	return READ_ONCE(open->promised) < KVCPU_EVENTS || kvcpu_usable(open->kv);
}

static bool has_event(struct kvcpu_file *open)
{
	return !kfifo_is_empty(&open->results) || !kfifo_is_empty(&open->moves);
}

static bool may_read(struct kvcpu_file *open)
{
	return has_event(open) || kvcpu_usable(open->kv);
}

static void promise(struct kvcpu_file *open, int results, int outstanding)
{
	spin_lock(&open->kv->list);
	open->promised += results;
	open->outstanding += outstanding;
	spin_unlock(&open->kv->list);
}

/*
 * Queue one command: waits for room in the device's queue, and for a place for its result where the
 * file has KVCPU_EVENTS of them.
 */
static int post(struct kvcpu_file *open, const struct kvcpu_post *post, bool wait)
{
	struct kvcpu_range range = { post->va, post->len, post->step };
	struct kvcpu_command *command;
	int error;

	if (post->version != KVCPU_ABI)
		return -EINVAL;
	if (!may_post(open)) {
		if (!wait)
			return -EAGAIN;
		error = wait_event_interruptible(open->wait, may_post(open));
		if (error)
			return error;
	}
	command = kmalloc(sizeof(*command), GFP_KERNEL);
	if (!command)
		return -ENOMEM;
	error = kvcpu_make_range(command, post->number, &range);
	command->file = open;
	command->cookie = post->cookie;
	if (!error) {
		promise(open, 1, 1);
		error = kvcpu_post(open->kv, command, wait);
		if (error)
			promise(open, -1, -1);
	}
	if (error)
		kfree(command);
	return error;
}

static ssize_t kvcpu_write(struct file *file, const char __user *user, size_t bytes,
			   loff_t *position)
{
	struct kvcpu_file *open = file->private_data;
	bool wait = !(file->f_flags & O_NONBLOCK);
	struct kvcpu_post next;
	size_t done = 0;
	int error = 0;

	if (!bytes || bytes % sizeof(next))
		return -EINVAL;
	if (mutex_lock_interruptible(&open->writing))
		return -ERESTARTSYS;
	while (done < bytes && !error) {
		if (copy_from_user(&next, user + done, sizeof(next))) {
			error = -EFAULT;
			break;
		}
		error = kvcpu_enter(open->kv);
		if (error)
			break;
		error = post(open, &next, wait);
		up_read(&open->kv->here);
		if (!error)
			done += sizeof(next);
		if (!error && signal_pending(current))
			break;
	}
	mutex_unlock(&open->writing);
	return done ? done : error;
}

static bool take_event(struct kvcpu_file *open, struct kvcpu_event *event)
{
	bool taken;

	spin_lock(&open->kv->list);
	if (kfifo_get(&open->results, event)) {
		open->promised--;
		taken = true;
	} else {
		taken = kfifo_get(&open->moves, event);
	}
	if (taken) {
		event->lost = open->lost;
		open->lost = 0;
	}
	spin_unlock(&open->kv->list);
	if (taken)
		wake_up_all(&open->wait);	/* a writer may have waited for the place */
	return taken;
}

static ssize_t kvcpu_read(struct file *file, char __user *user, size_t bytes, loff_t *position)
{
	struct kvcpu_file *open = file->private_data;
	struct kvcpu_event event;
	size_t done = 0;
	int error = 0;

	if (bytes < sizeof(event))
		return -EINVAL;
	if (mutex_lock_interruptible(&open->reading))
		return -ERESTARTSYS;
	while (bytes - done >= sizeof(event)) {
		if (take_event(open, &event)) {
			if (copy_to_user(user + done, &event, sizeof(event))) {
				error = -EFAULT;
				break;
			}
			done += sizeof(event);
			continue;
		}
		error = kvcpu_usable(open->kv);
		if (done || error)
			break;
		error = -EAGAIN;
		if (!(file->f_flags & O_NONBLOCK))
			error = wait_event_interruptible(open->wait, may_read(open));
		if (error)
			break;
	}
	mutex_unlock(&open->reading);
	return done ? done : error;
}

static __poll_t kvcpu_poll(struct file *file, poll_table *table)
{
	struct kvcpu_file *open = file->private_data;
	__poll_t mask = 0;

	poll_wait(file, &open->wait, table);
	if (has_event(open))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (kvcpu_usable(open->kv))
		mask |= EPOLLHUP | EPOLLERR;
	else if (may_post(open))
		mask |= EPOLLOUT | EPOLLWRNORM;
	return mask;
}

/* ---- mmap ------------------------------------------------------------------------------------ */

static vm_fault_t kvcpu_fault(struct vm_fault *vmf)
{
	struct kvcpu *kv = ((struct kvcpu_file *)vmf->vma->vm_file->private_data)->kv;
	vm_fault_t result = VM_FAULT_SIGBUS;

	/* It is going; and an ioctl may copy from user memory while it holds `here`. */
	if (!down_read_trylock(&kv->here))
		return VM_FAULT_SIGBUS;
	if (!kvcpu_usable(kv) && vmf->pgoff < kv->directory_bytes >> PAGE_SHIFT)
		result = vmf_insert_pfn(vmf->vma, vmf->address,
					(kv->directory >> PAGE_SHIFT) + vmf->pgoff);
	up_read(&kv->here);
	return result;
}

static const struct vm_operations_struct kvcpu_vm_ops = { .fault = kvcpu_fault };

static vm_fault_t no_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct tier_vm_ops = { .fault = no_fault };

static void set_flags(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYWRITE);
#else
	vma->vm_flags = (vma->vm_flags | VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP) &
			~VM_MAYWRITE;
#endif
}

/*
 * Memory of this host that the device has for a tier: mapped at once, and not again when the
 * mapping was taken back.
 */
static int map_tier(struct kvcpu *kv, struct vm_area_struct *vma)
{
	u32 tier = vma->vm_pgoff == KVCPU_MAP_TIER3 >> PAGE_SHIFT;

	if (!kv->lends || !kv->lent[tier] ||
	    vma->vm_pgoff != (tier ? KVCPU_MAP_TIER3 : KVCPU_MAP_TIER2) >> PAGE_SHIFT)
		return -EINVAL;
	vma->vm_ops = &tier_vm_ops;
	vma->vm_pgoff = 0;		/* within the buffer, as dma_mmap_coherent() wants it */
	return dma_mmap_coherent(&kv->pdev->dev, vma, kv->lent[tier], kv->lent_bus[tier],
				 kv->lent_bytes);
}

static vm_fault_t doorbell_fault(struct vm_fault *vmf)
{
	struct kvcpu *kv = ((struct kvcpu_file *)vmf->vma->vm_file->private_data)->kv;
	vm_fault_t result = VM_FAULT_SIGBUS;
	resource_size_t page;

	if (!down_read_trylock(&kv->here))
		return VM_FAULT_SIGBUS;
	if (!kvcpu_usable(kv)) {
		page = pci_resource_start(kv->pdev, 0) + kv->doorbells;
		result = vmf_insert_pfn(vmf->vma, vmf->address, page >> PAGE_SHIFT);
	}
	up_read(&kv->here);
	return result;
}

static const struct vm_operations_struct doorbell_vm_ops = { .fault = doorbell_fault };

/*
 * Whoever may write to the node may ring STEP, which the device lets have half of its queue: the
 * other half is ours from now on.
 */
static int map_doorbell(struct kvcpu *kv, struct vm_area_struct *vma)
{
	if (!kv->doorbells || PAGE_SIZE != KVCPU_PAGE || vma_pages(vma) != 1)
		return -EINVAL;
	if (!(vma->vm_flags & VM_WRITE))
		return -EACCES;
	WRITE_ONCE(kv->depth, kvcpu_read32(kv, REG(CAP_FIFO_DEPTH)) / 2);
	set_flags(vma);
	vma->vm_ops = &doorbell_vm_ops;
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	return 0;
}

static int kvcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct kvcpu *kv = ((struct kvcpu_file *)file->private_data)->kv;
	unsigned long pages = kv->directory_bytes >> PAGE_SHIFT, at = vma->vm_pgoff;
	int error = 0;

	if (!(vma->vm_flags & VM_SHARED))
		return -EACCES;
	if (!down_read_trylock(&kv->here))
		return -ENODEV;
	error = kvcpu_usable(kv);
	if (error)
		goto out;
	if (at == KVCPU_MAP_DOORBELL >> PAGE_SHIFT) {
		error = map_doorbell(kv, vma);
	} else if (at >= KVCPU_MAP_TIER2 >> PAGE_SHIFT) {
		error = map_tier(kv, vma);
	} else if (vma->vm_flags & VM_WRITE) {
		error = -EACCES;
	} else if (at >= pages || vma_pages(vma) > pages - at) {
		error = -EINVAL;
	} else {
		set_flags(vma);
		vma->vm_ops = &kvcpu_vm_ops;
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	}
out:
	up_read(&kv->here);
	return error;
}

/* The device is not to be used any more: whoever waits may see it. */
void kvcpu_wake_files(struct kvcpu *kv)
{
	struct kvcpu_file *open;

	spin_lock(&kv->list);
	list_for_each_entry(open, &kv->files, files)
		wake_up_all(&open->wait);
	spin_unlock(&kv->list);
}

/* Take the mappings back and wake everybody, as the device goes. */
void kvcpu_unmap(struct kvcpu *kv)
{
	struct kvcpu_file *open;

	mutex_lock(&kv->drain);		/* no file is closed meanwhile */
	list_for_each_entry(open, &kv->files, files) {
		unmap_mapping_range(open->file->f_mapping, 0, 0, 1);
		wake_up_all(&open->wait);
	}
	mutex_unlock(&kv->drain);
}

const struct file_operations kvcpu_fops = {
	.owner = THIS_MODULE,
	.open = kvcpu_open,
	.release = kvcpu_release,
	.unlocked_ioctl = kvcpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = kvcpu_read,
	.write = kvcpu_write,
	.poll = kvcpu_poll,
	.uring_cmd = kvcpu_uring_cmd,
	.mmap = kvcpu_mmap,
};

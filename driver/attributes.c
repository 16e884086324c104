// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * /sys/class/kv_cpu/kvcpuN: current_step and the six weights and thresholds, which can be written,
 * telemetry as name=value lines, sizes of the device, and counters of the driver's own.
 */
#include <linux/kstrtox.h>
#include <linux/sysfs.h>

#include "kvcpu.h"

static struct kvcpu *of(struct device *dev)
{
	return container_of(dev, struct kvcpu, dev);
}

static int telemetry_of(struct device *dev, struct kvcpu_telemetry *telemetry)
{
	struct kvcpu *kv = of(dev);
	int error = kvcpu_enter(kv);

	if (error)
		return error;
	kvcpu_telemetry(kv, telemetry);
	up_read(&kv->here);
	return 0;
}

static ssize_t telemetry_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct kvcpu_telemetry t;
	int error = telemetry_of(dev, &t);

	if (error)
		return error;
	return sysfs_emit(buf,
			  "current_step=%llu\nstep_count=%llu\nhot_count=%llu\nevict_count=%llu\n"
			  "prefetch_count=%llu\nshare_count=%llu\nlast_va=0x%llx\nlast_len=%llu\n"
			  "last_target_step=%llu\n"
			  "w_r=%u\nw_f=%u\nw_s=%u\nw_d=%u\nevict_thresh=%u\nprefetch_thresh=%u\n",
			  t.current_step, t.step_count, t.hot_count, t.evict_count,
			  t.prefetch_count, t.share_count, t.last_va, t.last_len,
			  t.last_target_step, t.weights.w_r, t.weights.w_f, t.weights.w_s,
			  t.weights.w_d, t.weights.evict_thresh, t.weights.prefetch_thresh);
}
static DEVICE_ATTR_RO(telemetry);

static ssize_t current_step_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct kvcpu_telemetry t;
	int error = telemetry_of(dev, &t);

	return error ? error : sysfs_emit(buf, "%llu\n", t.current_step);
}

static ssize_t current_step_store(struct device *dev, struct device_attribute *attr,
				  const char *buf, size_t count)
{
	struct kvcpu_range step = {};
	int error = kstrtou64(buf, 0, &step.target_step);

	if (!error)
		error = kvcpu_enter(of(dev));
	if (error)
		return error;
	error = kvcpu_hint(of(dev), _IOC_NR(KVCPU_STEP_ADVANCE), &step);
	up_read(&of(dev)->here);
	return error ? error : count;
}
static DEVICE_ATTR_RW(current_step);

/* One of the six, by its place in struct kvcpu_weights. */
static ssize_t show_weight(struct device *dev, u32 place, char *buf)
{
	struct kvcpu_telemetry t;
	int error = telemetry_of(dev, &t);

	return error ? error : sysfs_emit(buf, "%u\n", (&t.weights.w_r)[place]);
}

static ssize_t store_weight(struct device *dev, u32 place, const char *buf, size_t count)
{
	u32 value;
	int error = kstrtou32(buf, 0, &value);

	if (!error)
		error = kvcpu_enter(of(dev));
	if (error)
		return error;
	error = kvcpu_set_weights(of(dev), &value, place, 1);
	up_read(&of(dev)->here);
	return error ? error : count;
}

#define WEIGHT(name)										\
static ssize_t name##_show(struct device *dev, struct device_attribute *attr, char *buf)	\
{												\
	return show_weight(dev, offsetof(struct kvcpu_weights, name) / sizeof(u32), buf);	\
}												\
static ssize_t name##_store(struct device *dev, struct device_attribute *attr,			\
			    const char *buf, size_t count)					\
{												\
	return store_weight(dev, offsetof(struct kvcpu_weights, name) / sizeof(u32), buf, count); \
}												\
static DEVICE_ATTR_RW(name)

WEIGHT(w_r);
WEIGHT(w_f);
WEIGHT(w_s);
WEIGHT(w_d);
WEIGHT(evict_thresh);
WEIGHT(prefetch_thresh);

/*
 * What sizes a program has to know: rows of a block and values of a query, for SCORE; classes, for
 * PTABLE.
 */
#define CAPABILITY(name)									\
static ssize_t name##_show(struct device *dev, struct device_attribute *attr, char *buf)	\
{												\
	return sysfs_emit(buf, "%u\n", of(dev)->name);						\
}												\
static DEVICE_ATTR_RO(name)

CAPABILITY(entries);
CAPABILITY(classes);
CAPABILITY(block_bytes);
CAPABILITY(block_tokens);
CAPABILITY(head_dim);

/*
 * The driver's own: how often the device called, and how often a result was there without a call,
 * and what user space rang.
 */
static ssize_t interrupts_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", READ_ONCE(of(dev)->interrupts));
}
static DEVICE_ATTR_RO(interrupts);

static ssize_t late_results_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", READ_ONCE(of(dev)->late_results));
}
static DEVICE_ATTR_RO(late_results);

static ssize_t rung_steps_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", READ_ONCE(of(dev)->rung_steps));
}
static DEVICE_ATTR_RO(rung_steps);

static ssize_t rung_refused_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", READ_ONCE(of(dev)->rung_refused));
}
static DEVICE_ATTR_RO(rung_refused);

static struct attribute *kvcpu_attrs[] = {
	&dev_attr_telemetry.attr,
	&dev_attr_current_step.attr,
	&dev_attr_w_r.attr,
	&dev_attr_w_f.attr,
	&dev_attr_w_s.attr,
	&dev_attr_w_d.attr,
	&dev_attr_evict_thresh.attr,
	&dev_attr_prefetch_thresh.attr,
	&dev_attr_entries.attr,
	&dev_attr_classes.attr,
	&dev_attr_block_bytes.attr,
	&dev_attr_block_tokens.attr,
	&dev_attr_head_dim.attr,
	&dev_attr_interrupts.attr,
	&dev_attr_late_results.attr,
	&dev_attr_rung_steps.attr,
	&dev_attr_rung_refused.attr,
	NULL
};

static const struct attribute_group kvcpu_group = { .attrs = kvcpu_attrs };

const struct attribute_group *kvcpu_groups[] = { &kvcpu_group, NULL };

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The PCI function: who it is, memory of this host for its lower tiers, its interrupt; how it comes
 * and how it goes.
 *
 * Tiers 2 and 3 lie in this host's DRAM where that can be had: a DMA buffer each, which the device
 * reaches at host_window + bus address. A directory that holds blocks keeps the tiers that it has
 * (their places are fixed then); and as a directory would point to memory that is gone, the device
 * is reset when the driver leaves it. With lend=0 it is left as it is.
 */
#include <linux/dma-mapping.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/iopoll.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "kvcpu.h"

#define KVCPU_VENDOR	0x1de5
#define KVCPU_DEVICE	0x0a10

#define KVCPU_ID	KVCPU__DEVICE_ID__VALUE_reset
#define KVCPU_MAJOR	KVCPU__VERSION__MAJOR_reset
#define BAR0		0
#define BAR2		2

static bool lend = true;
module_param(lend, bool, 0444);
MODULE_PARM_DESC(lend, "tiers 2 and 3 lie in this host's memory (default: yes)");

static ulong host_window = 1UL << 40;
module_param(host_window, ulong, 0444);
MODULE_PARM_DESC(host_window,
		 "where the device's memory space has this host's bus addresses (default: 2^40)");

static dev_t kvcpu_numbers;
static DEFINE_IDA(kvcpu_ids);
static struct class kvcpu_class = { .name = "kv_cpu" };

#define MAX_DEVICES	16

/* ---- identity -------------------------------------------------------------------------------- */

static int identify(struct kvcpu *kv)
{
	u32 id = kvcpu_read32(kv, REG(DEVICE_ID)), version = kvcpu_read32(kv, REG(VERSION));
	struct device *dev = &kv->pdev->dev;

	if (id != KVCPU_ID)
		return dev_err_probe(dev, -ENODEV, "DEVICE_ID is %#x, not %#x\n", id, KVCPU_ID);
	if (version >> KVCPU__VERSION__MAJOR_bp != KVCPU_MAJOR)
		return dev_err_probe(dev, -ENODEV,
				     "the device has version %u, this driver is for %u\n",
				     version >> KVCPU__VERSION__MAJOR_bp, KVCPU_MAJOR);
	kv->entries = kvcpu_read32(kv, REG(CAP_ENTRIES));
	kv->classes = kvcpu_read32(kv, REG(CAP_CLASSES));
	kv->block_bytes = kvcpu_read32(kv, REG(CAP_BLOCK_BYTES));
	kv->block_tokens = kvcpu_read32(kv, REG(CAP_BLOCK_TOKENS));
	kv->head_dim = kvcpu_read32(kv, REG(CAP_HEAD_DIM));
	kv->nmce = kvcpu_read32(kv, REG(CAP_NMCE));
	kv->depth = kvcpu_read32(kv, REG(CAP_FIFO_DEPTH));
	kv->doorbells = kvcpu_read32(kv, REG(CAP_DOORBELLS));
	if (kv->doorbells % KVCPU_PAGE ||
	    kv->doorbells + KVCPU_PAGE > pci_resource_len(kv->pdev, BAR0))
		kv->doorbells = 0;
	if (!kv->entries || kv->entries > 65536 || !kv->block_bytes || !kv->depth ||
	    kv->classes > 256)
		return dev_err_probe(dev, -ENODEV,
				     "no such device: %u entries of %u bytes, a queue of %u, %u classes\n",
				     kv->entries, kv->block_bytes, kv->depth, kv->classes);
	/* These are lengths of arrays here and of windows there, so no device is believed beyond. */
	if (kv->nmce && (!kv->block_tokens || kv->block_tokens > KVCPU_ROWS || !kv->head_dim ||
			 kv->head_dim > KVCPU_VALUES || kv->head_dim % 2))
		return dev_err_probe(dev, -ENODEV, "no such engine: %u rows of %u values\n",
				     kv->block_tokens, kv->head_dim);
	return 0;
}

/* After power-up, or whatever the driver before this one left: idle, and nothing in its queues. */
static int settle(struct kvcpu *kv)
{
	u32 busy = KVCPU__STATUS__BUSY_bm | KVCPU__STATUS__RESETTING_bm |
		   KVCPU__STATUS__FIFO_LEVEL_bm;
	u32 status;
	int error;

	writel(0, kv->bar0 + REG(IRQ_ENABLE));
	error = readl_poll_timeout(kv->bar0 + REG(STATUS), status, !(status & busy), 1000,
				   10 * USEC_PER_SEC);
	if (error)
		return dev_err_probe(&kv->pdev->dev, error,
				     "the device stays busy: STATUS is %#x\n", status);
	while (kvcpu_read32(kv, REG(STATUS)) & KVCPU__STATUS__RESULT_READY_bm)
		kvcpu_read32(kv, REG(RESULT_CYCLES));
	while (kvcpu_read32(kv, REG(STATUS)) & KVCPU__STATUS__COMPLETION_READY_bm)
		kvcpu_read64(kv, REG(COMPLETION));
	writel(KVCPU__ERROR__BUS_bm | KVCPU__ERROR__DMA_bm, kv->bar0 + REG(ERROR));
	return 0;
}

/* ---- memory of this host --------------------------------------------------------------------- */

static int set_tier_base(struct kvcpu *kv, u32 offset, u64 address)
{
	struct kvcpu_command command;

	kvcpu_begin(&command, KVCPU_OP_SET);
	kvcpu_add(&command, offset, 8, address);
	return kvcpu_run(kv, &command, 1);
}

static void take_back(struct kvcpu *kv)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(kv->lent); i++) {
		if (kv->lent[i])
			dma_free_coherent(&kv->pdev->dev, kv->lent_bytes, kv->lent[i],
					  kv->lent_bus[i]);
		kv->lent[i] = NULL;
	}
}

/* Not having it is no failure: the device then has its tiers where it had them. */
static void lend_memory(struct kvcpu *kv)
{
	static const u32 bases[] = { REG(TIER_BASE2), REG(TIER_BASE3) };
	u32 i;

	kv->lent_bytes = (size_t)kv->entries * kv->block_bytes;
	kv->lends = true;
	for (i = 0; i < ARRAY_SIZE(bases) && lend; i++) {
		int error = -ENOMEM;

		kv->lent[i] = dma_alloc_coherent(&kv->pdev->dev, kv->lent_bytes, &kv->lent_bus[i],
						 GFP_KERNEL | __GFP_NOWARN);
		if (kv->lent[i])
			error = set_tier_base(kv, bases[i], host_window + kv->lent_bus[i]);
		if (!error) {
			dev_info(&kv->dev, "tier %u: %zu bytes of this host at bus address %pad\n",
				 2 + i, kv->lent_bytes, &kv->lent_bus[i]);
			continue;
		}
		dev_info(&kv->dev, "tier %u stays in the device's own memory (%d)\n", 2 + i, error);
		if (kv->lent[i])
			dma_free_coherent(&kv->pdev->dev, kv->lent_bytes, kv->lent[i],
					  kv->lent_bus[i]);
		kv->lent[i] = NULL;
	}
}

/* ---- interrupt ------------------------------------------------------------------------------- */

static irqreturn_t interrupt_thread(int irq, void *data)
{
	struct kvcpu *kv = data;

	kv->interrupts++;
	kvcpu_drain(kv);
	return IRQ_HANDLED;
}

/* ---- coming and going ------------------------------------------------------------------------ */

static void kvcpu_free(struct device *dev)
{
	struct kvcpu *kv = container_of(dev, struct kvcpu, dev);

	ida_free(&kvcpu_ids, kv->number);
	kfree(kv);
}

static struct kvcpu *kvcpu_alloc(struct pci_dev *pdev)
{
	struct kvcpu *kv = kzalloc(sizeof(*kv), GFP_KERNEL);

	if (!kv)
		return NULL;
	kv->number = ida_alloc_max(&kvcpu_ids, MAX_DEVICES - 1, GFP_KERNEL);
	if (kv->number < 0) {
		kfree(kv);
		return NULL;
	}
	kv->pdev = pdev;
	init_rwsem(&kv->here);
	mutex_init(&kv->issue);
	mutex_init(&kv->drain);
	mutex_init(&kv->windows);
	spin_lock_init(&kv->list);
	INIT_LIST_HEAD(&kv->sent);
	INIT_LIST_HEAD(&kv->files);
	init_waitqueue_head(&kv->room);
	INIT_DELAYED_WORK(&kv->watch, kvcpu_watch);
	device_initialize(&kv->dev);
	kv->dev.parent = &pdev->dev;
	kv->dev.class = &kvcpu_class;
	kv->dev.devt = MKDEV(MAJOR(kvcpu_numbers), kv->number);
	kv->dev.groups = kvcpu_groups;
	kv->dev.release = kvcpu_free;
	cdev_init(&kv->cdev, &kvcpu_fops);
	kv->cdev.owner = THIS_MODULE;
	return kv;
}

/* Nobody uses the device after this, and it uses no memory of ours. */
static void stop_device(struct kvcpu *kv)
{
	bool lent = kv->lent[0] || kv->lent[1];
	u32 status;

	WRITE_ONCE(kv->gone, true);
	kvcpu_abandon(kv, -ENODEV);
	kvcpu_unmap(kv);
	/* Until everybody is out; the watch ends what was sent by somebody on his way in. */
	down_write(&kv->here);
	up_write(&kv->here);
	cancel_delayed_work_sync(&kv->watch);
	kvcpu_abandon(kv, -ENODEV);
	kvcpu_unmap(kv);
	if (kvcpu_read32(kv, REG(DEVICE_ID)) == KVCPU_ID) {
		writel(0, kv->bar0 + REG(IRQ_ENABLE));
		if (lent)
			writel(KVCPU__CTRL__SOFT_RESET_bm, kv->bar0 + REG(CTRL));
		readl_poll_timeout(kv->bar0 + REG(STATUS), status,
				   !(status & (KVCPU__STATUS__BUSY_bm | KVCPU__STATUS__DMA_BUSY_bm |
					       KVCPU__STATUS__RESETTING_bm)),
				   1000, USEC_PER_SEC);
	}
	pci_clear_master(kv->pdev);
	take_back(kv);
}

static int kvcpu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct kvcpu *kv;
	int error;

	error = pcim_enable_device(pdev);
	if (!error)
		error = pcim_iomap_regions(pdev, BIT(BAR0) | BIT(BAR2), "kvcpu");
	if (!error)
		/* What lies between host_window and 2^41. */
		error = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(40));
	if (error)
		return dev_err_probe(&pdev->dev, error, "BARs or DMA\n");
	kv = kvcpu_alloc(pdev);
	if (!kv)
		return -ENOMEM;
	kv->bar0 = pcim_iomap_table(pdev)[BAR0];
	kv->directory = pci_resource_start(pdev, BAR2);
	kv->directory_bytes = pci_resource_len(pdev, BAR2);
	error = pci_resource_len(pdev, BAR0) < sizeof(kvcpu_t) ? -ENODEV : identify(kv);
	if (!error)
		error = dev_set_name(&kv->dev, "kvcpu%d", kv->number);
	if (!error)
		error = settle(kv);
	if (error)
		goto put;

	pci_set_master(pdev);
	error = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI | PCI_IRQ_MSIX);
	if (error < 0)
		goto put;
	pci_set_drvdata(pdev, kv);
	error = request_threaded_irq(pci_irq_vector(pdev, 0), NULL, interrupt_thread, IRQF_ONESHOT,
				     "kvcpu", kv);
	if (error)
		goto vectors;
	writel(KVCPU_INTERRUPTS, kv->bar0 + REG(IRQ_ENABLE));
	lend_memory(kv);
	error = cdev_device_add(&kv->cdev, &kv->dev);
	if (error)
		goto stop;
	dev_info(&kv->dev, "version %u.%u, build %#llx, %u entries, a queue of %u\n",
		 kvcpu_read32(kv, REG(VERSION)) >> KVCPU__VERSION__MAJOR_bp,
		 kvcpu_read32(kv, REG(VERSION)) & KVCPU__VERSION__MINOR_bm,
		 kvcpu_read64(kv, REG(BUILD_ID)), kv->entries, kv->depth);
	return 0;

stop:
	stop_device(kv);
	free_irq(pci_irq_vector(pdev, 0), kv);
vectors:
	pci_free_irq_vectors(pdev);
put:
	put_device(&kv->dev);
	return error;
}

static void kvcpu_remove(struct pci_dev *pdev)
{
	struct kvcpu *kv = pci_get_drvdata(pdev);

	WRITE_ONCE(kv->gone, true);
	kvcpu_abandon(kv, -ENODEV);	/* who waits in an attribute would hold up the next line */
	cdev_device_del(&kv->cdev, &kv->dev);
	stop_device(kv);
	free_irq(pci_irq_vector(pdev, 0), kv);
	pci_free_irq_vectors(pdev);
	put_device(&kv->dev);		/* open files hold it further */
}

static const struct pci_device_id kvcpu_ids_table[] = {
	{ PCI_DEVICE(KVCPU_VENDOR, KVCPU_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, kvcpu_ids_table);

static struct pci_driver kvcpu_driver = {
	.name = "kvcpu",
	.id_table = kvcpu_ids_table,
	.probe = kvcpu_probe,
	.remove = kvcpu_remove,
};

static int __init kvcpu_init(void)
{
	int error = class_register(&kvcpu_class);

	if (error)
		return error;
	error = alloc_chrdev_region(&kvcpu_numbers, 0, MAX_DEVICES, "kvcpu");
	if (!error) {
		error = pci_register_driver(&kvcpu_driver);
		if (error)
			unregister_chrdev_region(kvcpu_numbers, MAX_DEVICES);
	}
	if (error)
		class_unregister(&kvcpu_class);
	return error;
}

static void __exit kvcpu_exit(void)
{
	pci_unregister_driver(&kvcpu_driver);
	unregister_chrdev_region(kvcpu_numbers, MAX_DEVICES);
	class_unregister(&kvcpu_class);
	ida_destroy(&kvcpu_ids);
}

module_init(kvcpu_init);
module_exit(kvcpu_exit);

MODULE_DESCRIPTION("KV-CPU: placement of KV-cache blocks in memory tiers");
MODULE_AUTHOR("The kvfpga authors");
MODULE_LICENSE("GPL");

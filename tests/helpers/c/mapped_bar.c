/* A mapping of the virtual XDMA board's user node, which no FUSE file has, for a program that preloads this
 * (tests/helpers/mapped_bar.py): each load and each store is one access to the node, as on PCIe it is one on the bus.
 *
 * The pages are closed. An access faults; the handler fetches the word of a load from the node, opens the page, and lets the
 * processor go on for one instruction; then a stored word goes to the node, and the page is closed again. x86-64, one thread.
 *
 *   MAPPED_BAR=PATH     of the node
 *   MAPPED_BAR_LOG=FILE gets a line for each access: load or store, offset, bytes
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096
#define STORE 2    /* of a page fault's error code */
#define TRAP 0x100 /* of the flags: stop behind the next instruction */

static int node = -1, log_file;
static size_t size;
static char *closed, *open_beside; /* the same memory */
static size_t at;                  /* of the access under way */
static int is_store;

static void give_up(const char *why)
{
    dprintf(2, "mapped_bar: %s\n", why);
    _exit(97);
}

/* Bytes that the instruction moves: what MOV does, and 0 for anything else. */
static int width(const uint8_t *code)
{
    int half = 0, wide = 0;
    for (; *code == 0x66; code++)
        half = 1;
    if ((*code & 0xf0) == 0x40)
        wide = *code++ & 8;
    switch (*code) {
    case 0x8a: case 0x88: case 0xc6: return 1;
    case 0x8b: case 0x89: case 0xc7: return wide ? 8 : half ? 2 : 4;
    case 0x63: return 4;
    case 0x0f: return code[1] == 0xb6 || code[1] == 0xbe ? 1 : code[1] == 0xb7 || code[1] == 0xbf ? 2 : 0;
    default: return 0;
    }
}

static void protect(int how)
{
    if (mprotect(closed + at / PAGE * PAGE, PAGE, how))
        give_up("mprotect failed");
}

static void faulted(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    char *address = info->si_addr;
    if (!closed || address < closed || address >= closed + size) {
        signal(number, SIG_DFL); /* a fault of the program's own, which comes again */
        return;
    }
    at = address - closed;
    is_store = !!(registers[REG_ERR] & STORE);
    dprintf(log_file, "%s %zu %d\n", is_store ? "store" : "load", at, width((const uint8_t *)registers[REG_RIP]));
    if (!is_store && pread(node, open_beside + at / 4 * 4, 4, at / 4 * 4) != 4)
        give_up("the node gives no word");
    protect(PROT_READ | PROT_WRITE);
    registers[REG_EFL] |= TRAP;
}

static void trapped(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
    protect(PROT_NONE);
    if (is_store && pwrite(node, open_beside + at / 4 * 4, 4, at / 4 * 4) != 4)
        give_up("the node takes no word");
}

static void *plain(void *address, size_t length, int access, int flags, int fd, off_t offset)
{
    return (void *)syscall(SYS_mmap, address, length, access, flags, fd, offset);
}

static int is_the_node(int fd)
{
    char link[40], found[PATH_MAX], *wanted = getenv("MAPPED_BAR");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = fd < 0 || !wanted ? -1 : readlink(link, found, sizeof found);
    return length > 0 && (size_t)length == strlen(wanted) && !memcmp(found, wanted, length);
}

void *mmap(void *address, size_t length, int access, int flags, int fd, off_t offset)
{
    struct sigaction on_fault = {.sa_sigaction = faulted, .sa_flags = SA_SIGINFO};
    struct sigaction on_trap = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    if (!is_the_node(fd))
        return plain(address, length, access, flags, fd, offset);
    int memory = memfd_create("mapped_bar", MFD_CLOEXEC);
    node = open(getenv("MAPPED_BAR"), O_RDWR | O_CLOEXEC); /* not that one, on which a lock may be */
    log_file = open(getenv("MAPPED_BAR_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    size = length;
    if (node < 0 || log_file < 0 || memory < 0 || ftruncate(memory, size))
        give_up("cannot open what it needs");
    open_beside = plain(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    closed = plain(NULL, size, PROT_NONE, MAP_SHARED, memory, 0);
    if (open_beside == MAP_FAILED || closed == MAP_FAILED || sigaction(SIGSEGV, &on_fault, NULL) || sigaction(SIGTRAP, &on_trap, NULL))
        give_up("cannot map");
    return closed;
}

void *mmap64(void *address, size_t length, int access, int flags, int fd, off_t offset)
{
    return mmap(address, length, access, flags, fd, offset);
}

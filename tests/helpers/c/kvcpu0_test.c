/* A program for /dev/kvcpu0 as one writes it for the kernel driver; it knows nothing of kvfpga. C and C++ alike.
 *
 *   kvcpu0_test PATH numbers                    the seven request numbers and sizes, one a line
 *   kvcpu0_test PATH step N | hot VA LEN | evict VA LEN | prefetch VA LEN STEP | share VA LEN | telemetry
 *   kvcpu0_test PATH smoke                      every ioctl and every errno, whatever state the device is in
 *   kvcpu0_test PATH hammer N STEP [THREADS]    N ioctls (in each thread): STEP_ADVANCE STEP, MARK_HOT, EVICT, PREFETCH, SHARE_PREFIX
 *                                               in turn, the telemetry looked at now and then
 *
 * Exit code 0, 1 where an ioctl failed (errno is printed), 2 for usage, 3 where the smoke test or the hammer saw something wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvcpu0.h"

#define VA UINT64_C(0x7f0000000000)
#define BLOCK UINT64_C(16384)

static int fd;
static int wrong;

static void expect(const char *what, int result, int error, int wanted)
{
    int found = result == 0 ? 0 : result == -1 ? error : -1;
    if (found != wanted) {
        printf("WRONG %s: %s, expected %s\n", what, strerror(found), strerror(wanted));
        wrong = 1;
    }
}

static void same(const char *what, uint64_t found, uint64_t wanted)
{
    if (found != wanted) {
        printf("WRONG %s: %" PRIu64 ", expected %" PRIu64 "\n", what, found, wanted);
        wrong = 1;
    }
}

#define EXPECT(wanted, call) do { int result_ = (call); expect(#call, result_, errno, wanted); } while (0)
#define SAME(found, wanted) same(#found, found, wanted)

static int step(uint64_t n)
{
    struct kvcpu_step argument;
    argument.step = n;
    return ioctl(fd, KVCPU_STEP_ADVANCE, &argument);
}

static int range(unsigned long request, uint64_t va, uint64_t len, uint64_t target)
{
    struct kvcpu_range argument;
    argument.va = va;
    argument.len = len;
    argument.target_step = target;
    return ioctl(fd, request, &argument);
}

static int weights(uint32_t w_r, uint32_t w_f, uint32_t w_s, uint32_t w_d, uint32_t evict, uint32_t prefetch)
{
    struct kvcpu_weights argument;
    argument.w_r = w_r;
    argument.w_f = w_f;
    argument.w_s = w_s;
    argument.w_d = w_d;
    argument.evict_thresh = evict;
    argument.prefetch_thresh = prefetch;
    return ioctl(fd, KVCPU_SET_WEIGHTS, &argument);
}

static struct kvcpu_telemetry telemetry(void)
{
    struct kvcpu_telemetry found;
    memset(&found, 0xA5, sizeof found);
    EXPECT(0, ioctl(fd, KVCPU_GET_TELEMETRY, &found));
    return found;
}

static int smoke(void)
{
    struct kvcpu_telemetry before = telemetry(), after;
    struct kvcpu_weights old;
    uint64_t t = before.current_step + 1;
    char byte = 0, large[256];

    SAME(sizeof(struct kvcpu_telemetry), 96);
    EXPECT(0, step(t - 1));
    EXPECT(0, step(t));
    EXPECT(0, range(KVCPU_MARK_HOT, VA, BLOCK, 0));
    EXPECT(0, range(KVCPU_EVICT, VA, BLOCK, 0));
    EXPECT(0, range(KVCPU_SHARE_PREFIX, VA, BLOCK, 0));
    EXPECT(0, range(KVCPU_PREFETCH, VA + 1, 3 * BLOCK, t + 10));
    after = telemetry();
    SAME(after.current_step, t);
    SAME(after.step_count, before.step_count + 2);
    SAME(after.hot_count, before.hot_count + 1);
    SAME(after.evict_count, before.evict_count + 1);
    SAME(after.prefetch_count, before.prefetch_count + 1);
    SAME(after.share_count, before.share_count + 1);
    SAME(after.last_va, VA + 1);
    SAME(after.last_len, 3 * BLOCK);
    SAME(after.last_target_step, t + 10);
    EXPECT(0, step(t + 1));
    SAME(telemetry().last_target_step, t + 1);

    EXPECT(0, range(KVCPU_MARK_HOT, UINT64_MAX, 1, 0)); /* the last byte of the address space */

    /* what is refused leaves everything as it was */
    before = telemetry();
    EXPECT(EINVAL, range(KVCPU_MARK_HOT, VA, 0, 0));
    EXPECT(EINVAL, range(KVCPU_EVICT, VA, 0, 0));
    EXPECT(EINVAL, range(KVCPU_PREFETCH, VA, 0, t + 10));
    EXPECT(EINVAL, range(KVCPU_SHARE_PREFIX, VA, 0, 0));
    EXPECT(EINVAL, range(KVCPU_MARK_HOT, UINT64_MAX, 2, 0));
    EXPECT(EINVAL, range(KVCPU_PREFETCH, VA, BLOCK, t));
    EXPECT(EINVAL, range(KVCPU_PREFETCH, VA, BLOCK, UINT64_C(1) << 32));
    EXPECT(EINVAL, step(t));
    EXPECT(EINVAL, step(UINT64_C(1) << 32));
    EXPECT(EINVAL, weights(1, 2, 3, 256, 5, 6));
    EXPECT(EINVAL, weights(1, 2, 3, 4, 5, 65536));
    EXPECT(EINVAL, weights(1, UINT32_MAX, 3, 4, 5, 6));
    EXPECT(ENOTTY, ioctl(fd, _IO('K', 0), 0));
    EXPECT(ENOTTY, ioctl(fd, _IO('K', 1), 0));
    EXPECT(ENOTTY, ioctl(fd, _IO('K', 8), 0));
    EXPECT(ENOTTY, ioctl(fd, _IOW('K', 8, struct kvcpu_range), large));
    EXPECT(ENOTTY, ioctl(fd, _IOW('K', 2, struct kvcpu_step), large)); /* the size of another */
    EXPECT(ENOTTY, ioctl(fd, _IOR('K', 1, struct kvcpu_step), large));    /* the other direction */
    EXPECT(ENOTTY, ioctl(fd, _IOWR('K', 7, struct kvcpu_telemetry), large));
    EXPECT(ENOTTY, ioctl(fd, _IOW('L', 1, struct kvcpu_step), large));
    EXPECT(EFAULT, ioctl(fd, KVCPU_MARK_HOT, (struct kvcpu_range *)16));
    EXPECT(EFAULT, ioctl(fd, KVCPU_GET_TELEMETRY, (struct kvcpu_telemetry *)16));
    EXPECT(EINVAL, (int)read(fd, &byte, 1));
    EXPECT(EINVAL, (int)write(fd, &byte, 1));
    after = telemetry();
    SAME(memcmp(&before, &after, sizeof after), 0);

    EXPECT(0, weights(1, 2, 3, 4, 0x1234, 0xfedc));
    after = telemetry();
    SAME(after.w_r, 1);
    SAME(after.w_f, 2);
    SAME(after.w_s, 3);
    SAME(after.w_d, 4);
    SAME(after.evict_thresh, 0x1234);
    SAME(after.prefetch_thresh, 0xfedc);
    memcpy(&old, &before.w_r, sizeof old);
    EXPECT(0, weights(old.w_r, old.w_f, old.w_s, old.w_d, old.evict_thresh, old.prefetch_thresh));

    puts(wrong ? "smoke: FAIL" : "smoke: PASS");
    return wrong ? 3 : 0;
}

static uint64_t hammer_count, hammer_step;

static void *hammer(void *unused)
{
    static const unsigned long requests[] = {KVCPU_MARK_HOT, KVCPU_EVICT, KVCPU_PREFETCH, KVCPU_SHARE_PREFIX};
    struct kvcpu_telemetry last = telemetry(), now;
    uint64_t i;

    for (i = 0; i < hammer_count; i++) {
        int result = i % 5 == 0 ? step(hammer_step) : range(requests[i % 5 - 1], VA + i % 97 * BLOCK, BLOCK, hammer_step);
        if (result != 0) {
            perror("hammer");
            wrong = 1;
            return unused;
        }
        if (i % 64 == 63) {
            now = telemetry();
            if (now.hot_count < last.hot_count || now.step_count < last.step_count || now.share_count < last.share_count) {
                puts("WRONG a counter went back");
                wrong = 1;
            }
            last = now;
        }
    }
    return unused;
}

static uint64_t number(int argc, char **argv, int at)
{
    char *end;
    uint64_t value;
    if (at >= argc) {
        fprintf(stderr, "a number is missing\n");
        exit(2);
    }
    value = strtoull(argv[at], &end, 0);
    if (*argv[at] == '\0' || *end != '\0') {
        fprintf(stderr, "%s is not a number\n", argv[at]);
        exit(2);
    }
    return value;
}

#define NUMBER(at) number(argc, argv, at)
#define SHOW(name) printf(#name "=%" PRIu64 "\n", (uint64_t)found.name)

int main(int argc, char **argv)
{
    const char *command = argc > 2 ? argv[2] : "";
    int result;

    if (strcmp(command, "numbers") == 0) {
        printf("%lu\n%lu\n%lu\n%lu\n%lu\n%lu\n%lu\n", (unsigned long)KVCPU_STEP_ADVANCE, (unsigned long)KVCPU_MARK_HOT,
               (unsigned long)KVCPU_EVICT, (unsigned long)KVCPU_PREFETCH, (unsigned long)KVCPU_SHARE_PREFIX,
               (unsigned long)KVCPU_SET_WEIGHTS, (unsigned long)KVCPU_GET_TELEMETRY);
        return 0;
    }
    if (argc < 3 || (fd = open(argv[1], O_RDWR)) < 0) {
        perror(argc < 3 ? "usage: kvcpu0_test PATH COMMAND" : argv[1]);
        return argc < 3 ? 2 : 1;
    }
    if (strcmp(command, "smoke") == 0)
        return smoke();
    if (strcmp(command, "hammer") == 0) {
        pthread_t threads[64];
        uint64_t i, count = argc > 5 ? NUMBER(5) : 1;
        hammer_count = NUMBER(3);
        hammer_step = NUMBER(4);
        if (count > 64)
            return 2;
        for (i = 0; i < count; i++)
            if (pthread_create(&threads[i], NULL, hammer, NULL) != 0)
                return 2;
        for (i = 0; i < count; i++)
            pthread_join(threads[i], NULL);
        return wrong ? 3 : 0;
    }
    if (strcmp(command, "telemetry") == 0) {
        struct kvcpu_telemetry found = telemetry();
        SHOW(current_step), SHOW(step_count), SHOW(hot_count), SHOW(evict_count), SHOW(prefetch_count), SHOW(share_count);
        SHOW(last_va), SHOW(last_len), SHOW(last_target_step);
        SHOW(w_r), SHOW(w_f), SHOW(w_s), SHOW(w_d), SHOW(evict_thresh), SHOW(prefetch_thresh);
        return wrong;
    }
    if (strcmp(command, "step") == 0)
        result = step(NUMBER(3));
    else if (strcmp(command, "hot") == 0)
        result = range(KVCPU_MARK_HOT, NUMBER(3), NUMBER(4), 0);
    else if (strcmp(command, "evict") == 0)
        result = range(KVCPU_EVICT, NUMBER(3), NUMBER(4), 0);
    else if (strcmp(command, "prefetch") == 0)
        result = range(KVCPU_PREFETCH, NUMBER(3), NUMBER(4), NUMBER(5));
    else if (strcmp(command, "share") == 0)
        result = range(KVCPU_SHARE_PREFIX, NUMBER(3), NUMBER(4), 0);
    else
        return 2;
    if (result != 0)
        perror(command);
    return result != 0;
}

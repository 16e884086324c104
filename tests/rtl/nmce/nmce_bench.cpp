// nmce_bench - drives the pins of kvcpu_nmce: an AXI memory with random pauses, jobs, and a host that reads results (see nmce_bench.py).
//
// Words of 32 bits on stdin: seed, most cycles of latency, percent of cycles in which each channel pauses, percent of cycles in which the
// host touches the query buffer, whether results are read, cycles the host waits before it gives a buffer back, one in so many cycles a
// reset (0: never), words of the query buffer, keys of all blocks (their number first), jobs (their number first): block, rows, slot,
// numerators, beat that is an error or all ones.
// On stdout for each job: 1 where it ended with an error, cycle (64 bits) in which it was accepted and in which it ended, and the 1,024
// words of the window where results are read; then 64 bits each: cycles, beats. What breaks the rules ends with exit code 1.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "Vkvcpu_nmce.h"
#include "verilated.h"

static constexpr uint32_t kBeatBytes = DATA_BITS / 8, kBlockBytes = 4 * BLOCK_TOKENS * HEAD_DIM, kKeyBytes = kBlockBytes / 2;
static constexpr uint32_t kQueryWords = 32 * HEAD_DIM, kNever = ~0u;
static constexpr uint64_t kBase = 0x12'3456'0000'0000;
static uint64_t now = 0;

[[noreturn]] static void fail(const char *what) {
    std::fprintf(stderr, "cycle %llu: %s\n", static_cast<unsigned long long>(now), what);
    std::exit(1);
}
static uint32_t word() {
    uint32_t value;
    if (std::fread(&value, 4, 1, stdin) != 1) fail("the script ends too early");
    return value;
}
template <class T> static void put(T value) { std::fwrite(&value, sizeof value, 1, stdout); }

struct Job {
    uint32_t block, rows, slot, numerators, bad_beat;
    uint64_t accepted = 0, done = 0;
    uint32_t error = 0;
    std::vector<uint32_t> shown;
};
struct Burst {
    uint64_t addr, due;
    uint32_t beats, first;  // first: its number among the beats of its block
    size_t job;
};

int main() {
    std::mt19937_64 random(word());
    const uint32_t latency = word(), pause = word(), touches = word(), reads = word(), wait = word(), resets = word();
    auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    auto percent = [&](uint32_t p) { return p && below(100) < p; };
    std::vector<uint32_t> query(kQueryWords);
    for (auto &value : query) value = word();
    std::vector<uint8_t> keys(size_t{word()} * kKeyBytes);
    if (std::fread(keys.data(), 1, keys.size(), stdin) != keys.size()) fail("the script ends too early");
    std::vector<Job> jobs(word());
    for (auto &job : jobs) job.block = word(), job.rows = word(), job.slot = word(), job.numerators = word(), job.bad_beat = word();

    auto top = std::make_unique<Vkvcpu_nmce>();
    auto *data = reinterpret_cast<uint8_t *>(&top->r_data);
    std::deque<Burst> bursts;
    size_t next = 0, asking = 0, asked = 0, ended = 0, taken = 0;  // jobs: to be offered, whose bursts are asked for (and how many beats
                                                                   // were), to end, to be given back
    uint64_t beats = 0, waited = 0;
    uint32_t beat = 0, at_word = 0;
    bool held = false, draining = false;
    uint64_t held_addr = 0, since_shown = 0;
    auto edge = [&] {
        top->eval();
        top->clk = 1;
        top->eval();
        top->clk = 0;
        ++now;
    };
    top->rst = 1;
    edge(), edge();
    top->rst = 0;
    for (uint32_t i = 0; i < kQueryWords; ++i) top->query_write = 1, top->query_waddr = i, top->query_wdata = query[i], edge();
    top->query_write = 0;
    top->eval();

    while (taken < jobs.size()) {
        if (++waited > 200000) fail("nothing happens any more");
        // inputs of this cycle
        if (resets && !draining && below(resets) == 0) draining = true;
        top->flush = draining;
        const bool offered = next < jobs.size() && !draining && !percent(pause);
        top->job_valid = offered;
        if (offered) {
            const Job &job = jobs[next];
            top->job_addr = kBase + uint64_t{job.block} * kBlockBytes;
            top->job_rows = job.rows, top->job_slot = job.slot, top->job_numerators = job.numerators;
        } else {
            top->job_addr = random(), top->job_rows = 1, top->job_slot = below(64);
        }
        top->ar_ready = !percent(pause);
        const bool comes = !bursts.empty() && bursts.front().due <= now && !percent(pause);
        top->r_valid = comes;
        for (uint32_t i = 0; i < kBeatBytes; ++i) data[i] = below(256);
        top->r_error = below(2);
        if (comes) {
            const Burst &burst = bursts.front();
            top->r_error = burst.first + beat == jobs[burst.job].bad_beat;
            if (!top->r_error) std::memcpy(data, &keys[burst.addr - kBase - uint64_t{jobs[burst.job].block} * (kBlockBytes - kKeyBytes)] + beat * kBeatBytes, kBeatBytes);
        }
        top->query_write = top->query_read = 0;
        if (percent(touches)) {
            const uint32_t at = below(kQueryWords);
            if (below(2)) top->query_write = 1, top->query_waddr = at, top->query_wdata = query[at];
            else top->query_read = 1, top->query_raddr = at;
        }
        const bool shown = taken < ended;  // as of the last edge
        top->take = 0;
        top->scores_read = 0;
        if (shown && !jobs[taken].error) {
            Job &job = jobs[taken];
            if (reads && job.shown.size() < 1024) {
                if (!percent(pause)) top->scores_read = 1, top->scores_raddr = at_word;
            } else if (since_shown++ >= wait) {
                top->take = 1;
            }
        } else if (reads && percent(touches) && taken == ended && !draining) {
            top->scores_read = 1, top->scores_raddr = below(1024);  // nobody's: zero
        }
        top->eval();

        // what happens at the edge
        if (held && (!top->ar_valid || top->ar_addr != held_addr)) fail("a read address is gone before it was granted");
        held = top->ar_valid && !top->ar_ready;
        held_addr = top->ar_addr;
        if (top->ar_valid && top->ar_ready) {
            if (asking >= next) fail("keys are asked for without a job");
            const uint32_t size = (top->ar_len + 1u) * kBeatBytes;
            if (top->ar_addr != kBase + uint64_t{jobs[asking].block} * kBlockBytes + asked * kBeatBytes) fail("wrong address");
            if (top->ar_addr / 4096 != (top->ar_addr + size - 1) / 4096) fail("a burst crosses 4 KiB");
            bursts.push_back({top->ar_addr, now + 1 + (latency ? (pause ? below(latency + 1) : latency) : 0), top->ar_len + 1u, static_cast<uint32_t>(asked), asking});
            if (bursts.size() > 1) bursts.back().due = std::max(bursts.back().due, bursts[bursts.size() - 2].due);
            asked += top->ar_len + 1u;
            if (asked > kKeyBytes / kBeatBytes) fail("more is asked for than the keys");
            if (asked == kKeyBytes / kBeatBytes) asked = 0, ++asking;
        }
        if (comes) {
            ++beats;
            if (++beat == bursts.front().beats) bursts.pop_front(), beat = 0;
        }
        if (offered && top->job_ready) {
            uint32_t buffers = 1;
            for (size_t i = taken; i < next; ++i) buffers += !jobs[i].error;
            if (buffers > 2) fail("a third buffer is promised");
            jobs[next++].accepted = now, waited = 0;
        }
        const bool reading = top->scores_read, nobodys = reading && !(shown && !jobs[taken].error);
        const uint32_t query_read = top->query_read ? top->query_raddr : kNever;
        if (top->take) ++taken, since_shown = 0, at_word = 0, waited = 0;
        edge();
        top->eval();

        // outputs behind it
        if (reading && nobodys) {
            if (top->scores_rdata) fail("a word of the window that nobody wrote is not zero");
        } else if (reading) {
            jobs[taken].shown.push_back(top->scores_rdata), ++at_word, waited = 0;
        }
        if (query_read != kNever && top->query_rdata != query[query_read]) fail("the query buffer reads wrong");
        if (top->done_valid && !draining) {
            if (ended >= next) fail("an end without a job");
            if (ended >= asking) fail("a job ends before its keys are asked for");
            jobs[ended].done = now, jobs[ended].error = top->done_error;
            ++ended, waited = 0;
        }
        while (taken < ended && jobs[taken].error) ++taken;  // no buffer
        if (top->idle && !draining && ended != next) fail("idle with a job under way");
        if (draining && top->idle) {
            if (!bursts.empty() || top->ar_valid) fail("idle with something on the bus");
            top->rst = 1, top->flush = 0, top->job_valid = top->r_valid = top->take = top->scores_read = top->query_write = top->query_read = 0;
            edge();
            top->rst = 0;
            top->eval();
            next = asking = ended = taken, asked = 0, beat = 0, since_shown = at_word = 0, held = draining = false, waited = 0;
            for (size_t i = taken; i < jobs.size(); ++i) jobs[i].shown.clear(), jobs[i].error = 0;
        }
    }
    for (const Job &job : jobs) {
        put(job.error), put(job.accepted), put(job.done);
        if (reads && !job.error) std::fwrite(job.shown.data(), 4, 1024, stdout);
    }
    put(now), put(beats);
    top->final();
    return 0;
}

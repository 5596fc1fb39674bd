// Runs the phases of a job on several threads: the items of one phase in any order, phases one after the other.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace mdenoise {

struct Phase {
    ptrdiff_t items;
    std::function<void(int worker, ptrdiff_t item)> run;  // must not throw
};

inline void run_phases(const std::vector<Phase>& phases, int threads) {
    struct Count {
        std::atomic<ptrdiff_t> next{0}, done{0};
    };
    constexpr int patience = 64;  // looks before a thread sleeps, so that it takes no processor from one that works
    const std::unique_ptr<Count[]> counts(new Count[phases.size()]);
    std::mutex mutex;
    std::condition_variable ended;
    // A phase ends when its items are done, however many threads there are: one that could not start is not missed.
    auto work = [&](int worker) {
        for (size_t p = 0; p < phases.size(); ++p) {
            for (ptrdiff_t item; (item = counts[p].next.fetch_add(1)) < phases[p].items;) {
                phases[p].run(worker, item);
                if (counts[p].done.fetch_add(1) + 1 < phases[p].items) continue;
                { const std::lock_guard<std::mutex> lock(mutex); }  // who looked before has fallen asleep by now
                ended.notify_all();
            }
            auto over = [&] { return counts[p].done.load() >= phases[p].items; };
            for (int look = 0; look < patience && !over(); ++look) std::this_thread::yield();
            if (over()) continue;
            std::unique_lock<std::mutex> lock(mutex);
            ended.wait(lock, over);
        }
    };
    std::vector<std::thread> helpers;
    helpers.reserve(size_t(threads));
    for (int worker = 1; worker < threads; ++worker) {
        try {
            helpers.emplace_back(work, worker);
        } catch (const std::system_error&) {
            break;
        }
    }
    work(0);
    for (std::thread& helper : helpers) helper.join();
}

}  // namespace mdenoise

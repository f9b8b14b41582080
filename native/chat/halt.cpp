// Ends, as far as it can be ended, a thread in which a chat template loops: foreign code that the engine runs without a way
// out. The thread is halted where it stands, for good: it computes nothing more and takes no more memory.
//
// Only within the engine's own code, where it holds no lock of the C library's: one that is halted in malloc would halt others.
#include "chat_abi.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

#include <link.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>

namespace {

constexpr int TRIES = 2000;  // a millisecond each

std::atomic<uintptr_t> code_begins, code_ends;  // the engine's
std::atomic<pid_t> to_halt, halted;

uintptr_t stands_at(const void * context) {
    const mcontext_t & registers = static_cast<const ucontext_t *>(context)->uc_mcontext;
#if defined(__x86_64__)
    return static_cast<uintptr_t>(registers.gregs[REG_RIP]);
#else
    return static_cast<uintptr_t>(registers.pc);
#endif
}

void halt_here(int, siginfo_t *, void * context) {
    const pid_t self = static_cast<pid_t>(syscall(SYS_gettid));
    const uintptr_t at = stands_at(context);
    if (to_halt != self || at < code_begins || at >= code_ends) return;
    halted = self;
    sigset_t all;
    sigfillset(&all);
    for (;;) sigsuspend(&all);
}

int note_code(dl_phdr_info * info, size_t, void * function) {
    const auto address = reinterpret_cast<uintptr_t>(function);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) & part = info->dlpi_phdr[i];
        const uintptr_t begins = info->dlpi_addr + part.p_vaddr;
        if (part.p_type == PT_LOAD && (part.p_flags & PF_X) && address >= begins && address < begins + part.p_memsz) {
            code_begins = begins;
            code_ends = begins + part.p_memsz;
            return 1;
        }
    }
    return 0;
}

}  // namespace

// True once the thread, by the system's number, stands still or has ended. One caller at a time.
extern "C" __attribute__((visibility("default"))) bool sixgig_chat_halt(int thread) {
    if (dl_iterate_phdr(note_code, reinterpret_cast<void *>(&common_chat_templates_free)) == 0) return false;
    const int signal = SIGRTMAX - 2;
    struct sigaction action = {};
    action.sa_sigaction = halt_here;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    if (sigaction(signal, &action, nullptr) != 0) return false;
    to_halt = thread;
    halted = 0;
    const timespec pause = {0, 1000000};
    for (int i = 0; i < TRIES && halted != thread; i++) {
        if (syscall(SYS_tgkill, getpid(), thread, signal) != 0) return true;
        nanosleep(&pause, nullptr);
    }
    return halted == thread;
}

#else

extern "C" __attribute__((visibility("default"))) bool sixgig_chat_halt(int) { return false; }

#endif

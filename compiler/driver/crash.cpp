// The report holds the version, the command line, what went wrong and a backtrace; not the program's text, which its
// author may not want to hand out. Everything in the handler is async-signal-safe: text is prepared beforehand and
// written with write().
#include "compiler/driver/crash.h"

#include <execinfo.h>
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace nnlc::driver {

namespace {

char report_head[4096];
char report_path[64];
alignas(16) char signal_stack[64 * 1024];

void put(int fd, const char* text) {
  size_t n = strlen(text);
  while (n > 0) {
    const ssize_t written = write(fd, text, n);
    if (written <= 0) return;
    text += written;
    n -= static_cast<size_t>(written);
  }
}

void report(const char* what) {
  put(STDERR_FILENO, "nnlc: internal error: ");
  put(STDERR_FILENO, what);
  put(STDERR_FILENO, "\n  this is a bug of nnlc, not of your program");
  const int fd = open(report_path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (fd >= 0) {
    put(fd, report_head);
    put(fd, "what: ");
    put(fd, what);
    put(fd, "\nbacktrace:\n");
    void* frames[64];
    backtrace_symbols_fd(frames, backtrace(frames, 64), fd);
    close(fd);
    put(STDERR_FILENO, "; what is needed to report it, besides the program, is in ");
    put(STDERR_FILENO, report_path);
  }
  put(STDERR_FILENO, "\n");
}

// A sanitizer reports crashes better.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

void on_signal(int number) {
  const char* what = "signal";
  switch (number) {
    case SIGSEGV:
      what = "segmentation fault";
      break;
    case SIGBUS:
      what = "bus error";
      break;
    case SIGFPE:
      what = "arithmetic fault";
      break;
    case SIGILL:
      what = "illegal instruction";
      break;
    case SIGABRT:
      what = "abort";
      break;
    default:
      break;
  }
  report(what);
  _exit(4);
}

}  // namespace

void install_crash_handler(int argc, char** argv) {
  int at = std::snprintf(report_head, sizeof report_head, "nnlc %s\ncommand:", NNLC_VERSION);
  for (int i = 0; i < argc && at < static_cast<int>(sizeof report_head) - 1; ++i)
    at += std::snprintf(report_head + at, sizeof report_head - static_cast<size_t>(at), " %s", argv[i]);
  if (at < static_cast<int>(sizeof report_head) - 1)
    std::snprintf(report_head + at, sizeof report_head - static_cast<size_t>(at), "\n");
  std::snprintf(report_path, sizeof report_path, "nnlc-crash-%d.txt", static_cast<int>(getpid()));
  void* warm_up[1];
  backtrace(warm_up, 1);  // the first call loads a library, which a handler mustn't
  stack_t stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof signal_stack;
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK | SA_RESETHAND;
  if (!kSanitized)
    for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(number, &action, nullptr);
  std::signal(SIGPIPE, SIG_DFL);
}

void die_of_bug(const std::string& what) {
  report(what.c_str());
  std::_Exit(4);
}

}  // namespace nnlc::driver

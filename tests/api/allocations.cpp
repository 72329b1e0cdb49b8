// The operators of the whole process, the library's too. In a file of their own: seen together with their callers, GCC
// 12 takes them for mismatched.
#include "allocations.h"

#include <cstdlib>
#include <new>

static thread_local int64_t count = 0;
int64_t allocations() { return count; }

void* operator new(size_t n) {
  ++count;
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
// The standard library's sorting asks in this way, and gives back by the plain delete.
void* operator new(size_t n, const std::nothrow_t&) noexcept {
  ++count;
  return std::malloc(n ? n : 1);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

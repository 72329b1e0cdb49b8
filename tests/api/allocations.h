// How often this thread has called operator new, be it the test or the library.
#pragma once
#include <cstdint>

int64_t allocations();

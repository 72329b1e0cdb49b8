/* Where compiled code and the runtime meet: plain C, the same for the JIT and for models built ahead of time. */
#ifndef NNL_RUNTIME_ABI_H
#define NNL_RUNTIME_ABI_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Element types; sizes 1 1 1 2 4 8 2 2 4 8 bytes. A bool is one byte, 0 or 1. */
enum {
  NNL_BOOL = 0,
  NNL_U8 = 1,
  NNL_I8 = 2,
  NNL_I16 = 3,
  NNL_I32 = 4,
  NNL_I64 = 5,
  NNL_F16 = 6,
  NNL_BF16 = 7,
  NNL_F32 = 8,
  NNL_F64 = 9
};

/* The threads that run a step together. Every thread runs the whole step and takes its static share of each kernel. */
typedef struct nnl_team nnl_team;
/* Waits until all threads of the team have come; full memory barrier. */
typedef void (*nnl_barrier_fn)(nnl_team*);
struct nnl_team {
  int32_t size; /* number of threads, >= 1 */
  int32_t reserved;
  nnl_barrier_fn barrier; /* not called when size is 1 */
};

/* A compiled step. buffers: inputs in order, then outputs in order (an output that updates an input has the same
   pointer), all 64-byte aligned, dense row-major. arena: the step's temporaries, 64-byte aligned, size known from
   compiling; scratch of thread t is part of it. thread: 0 .. team->size - 1. */
typedef void (*nnl_step_fn)(void* const* buffers, uint8_t* arena, nnl_team* team, int32_t thread);

#ifdef __cplusplus
}
#endif
#endif

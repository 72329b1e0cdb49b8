/* nnlc as a library, in C99. docs/embedding.md is the reference; nnlc.hpp is the same in C++.

   Handles are opaque, made by a function that stores one through `out`, and given back to the function that ends in
   _free (which takes NULL). Functions that can fail give a status; with `error` not NULL, a failure stores an object
   there that says what happened, for nnlc_error_free. Strings that a function gives belong to the object they were
   asked of, and live as long as it does. Text is UTF-8 and ends in 0. Nothing is printed, nothing is thrown, nothing
   exits.

   A structure of options begins with its size, which the NNLC_…_INIT macro fills in: programs built against this header
   go on working with later libraries. Different handles may be used from different threads at once; calls on one model
   and its trainers wait for one another. */
#ifndef NNLC_H
#define NNLC_H
#include <stddef.h>
#include <stdint.h>

#include "nnlc_dlpack.h"

#if defined(__GNUC__)
#define NNLC_C_API __attribute__((visibility("default")))
#else
#define NNLC_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. nnlc_abi_version() gives the library's: equal numbers work together. */
#define NNLC_ABI_VERSION 0
NNLC_C_API int nnlc_abi_version(void);
NNLC_C_API const char* nnlc_version(void);

/* ------------------------------------------------------------ errors */

typedef int32_t nnlc_status;
enum {
  NNLC_OK = 0,
  NNLC_INVALID_ARGUMENT = 1, /* of a function here */
  NNLC_PROGRAM_ERROR = 2,    /* the NNL text, or what was asked of it, is wrong: see the diagnostics */
  NNLC_UNSUPPORTED = 3,      /* right, but this version can't do it */
  NNLC_DATA_ERROR = 4,       /* a file is missing or malformed */
  NNLC_RUN_FAILED = 5,       /* it stopped while running */
  NNLC_CANCELLED = 6,
  NNLC_COPY_NEEDED = 7, /* a tensor would have to be copied, and that wasn't allowed: the message says why */
  NNLC_OUT_OF_MEMORY = 8,
  NNLC_INTERNAL = 9 /* a bug of nnlc */
};
NNLC_C_API const char* nnlc_status_name(nnlc_status status);

typedef struct nnlc_error nnlc_error;
typedef struct nnlc_diagnostic nnlc_diagnostic;

/* A range of a source text. Lines and columns count from 1, columns in code points; begin and end are bytes; ends are
   exclusive. file is "" where there is no place. */
typedef struct nnlc_place {
  const char* file;
  uint32_t line, column, end_line, end_column, begin, end;
} nnlc_place;

typedef int32_t nnlc_severity;
enum {
  NNLC_SEVERITY_ERROR = 0,
  NNLC_SEVERITY_UNSUPPORTED = 1,
  NNLC_SEVERITY_DATA = 2,
  NNLC_SEVERITY_INTERNAL = 3,
  NNLC_SEVERITY_WARNING = 4,
  NNLC_SEVERITY_NOTE = 5
};

NNLC_C_API void nnlc_error_free(nnlc_error* error);
NNLC_C_API nnlc_status nnlc_error_status(const nnlc_error* error);
NNLC_C_API const char* nnlc_error_message(const nnlc_error* error);
NNLC_C_API size_t nnlc_error_diagnostic_count(const nnlc_error* error);
NNLC_C_API const nnlc_diagnostic* nnlc_error_diagnostic(const nnlc_error* error, size_t i);

NNLC_C_API nnlc_severity nnlc_diagnostic_severity(const nnlc_diagnostic* d);
NNLC_C_API const char* nnlc_diagnostic_code(const nnlc_diagnostic* d); /* "N0203" */
NNLC_C_API const char* nnlc_diagnostic_message(const nnlc_diagnostic* d);
NNLC_C_API nnlc_place nnlc_diagnostic_place(const nnlc_diagnostic* d, const char** label);
NNLC_C_API size_t nnlc_diagnostic_label_count(const nnlc_diagnostic* d);
NNLC_C_API nnlc_place nnlc_diagnostic_label(const nnlc_diagnostic* d, size_t i, const char** text);
NNLC_C_API size_t nnlc_diagnostic_note_count(const nnlc_diagnostic* d);
NNLC_C_API const char* nnlc_diagnostic_note(const nnlc_diagnostic* d, size_t i);
NNLC_C_API size_t nnlc_diagnostic_help_count(const nnlc_diagnostic* d);
NNLC_C_API const char* nnlc_diagnostic_help(const nnlc_diagnostic* d, size_t i);
NNLC_C_API size_t nnlc_diagnostic_fix_count(const nnlc_diagnostic* d);
NNLC_C_API nnlc_place nnlc_diagnostic_fix(const nnlc_diagnostic* d, size_t i, const char** replacement);
NNLC_C_API const char* nnlc_diagnostic_text(const nnlc_diagnostic* d); /* as `nnlc check` prints it */
NNLC_C_API const char* nnlc_diagnostic_json(const nnlc_diagnostic* d); /* as `--message-format json` does */

/* ------------------------------------------------------------ tensors */

typedef int32_t nnlc_dtype;
enum {
  NNLC_BOOL = 0, /* one byte, 0 or 1 */
  NNLC_U8 = 1,
  NNLC_I8 = 2,
  NNLC_I16 = 3,
  NNLC_I32 = 4,
  NNLC_I64 = 5,
  NNLC_F16 = 6,
  NNLC_BF16 = 7,
  NNLC_F32 = 8,
  NNLC_F64 = 9
};
NNLC_C_API const char* nnlc_dtype_name(nnlc_dtype t);
NNLC_C_API size_t nnlc_dtype_size(nnlc_dtype t);

/* Memory seen as a tensor. */
typedef struct nnlc_tensor nnlc_tensor;

/* A new one; its elements are 0. */
NNLC_C_API nnlc_status nnlc_tensor_new(nnlc_dtype dtype, size_t rank, const int64_t* shape, nnlc_tensor** out,
                                       nnlc_error** error);
/* Over your memory, which must outlive every use. strides: in elements, NULL for dense row-major. device: NULL or
   "cpu". shape and strides are copied. */
NNLC_C_API nnlc_status nnlc_tensor_over(void* data, nnlc_dtype dtype, size_t rank, const int64_t* shape,
                                        const int64_t* strides, const char* device, nnlc_tensor** out,
                                        nnlc_error** error);
/* The same, but nothing will ever write there. */
NNLC_C_API nnlc_status nnlc_tensor_over_const(const void* data, nnlc_dtype dtype, size_t rank, const int64_t* shape,
                                              const int64_t* strides, const char* device, nnlc_tensor** out,
                                              nnlc_error** error);
/* Takes the structure over if it succeeds: its deleter is called when the memory isn't needed any more. */
NNLC_C_API nnlc_status nnlc_tensor_from_dlpack(DLManagedTensor* managed, nnlc_tensor** out, nnlc_error** error);
/* A structure that keeps the memory alive until its deleter is called. */
NNLC_C_API nnlc_status nnlc_tensor_to_dlpack(const nnlc_tensor* t, DLManagedTensor** out, nnlc_error** error);
/* The view; the memory only if it is the library's and nothing else uses it. */
NNLC_C_API void nnlc_tensor_free(nnlc_tensor* t);
NNLC_C_API nnlc_dtype nnlc_tensor_dtype(const nnlc_tensor* t);
NNLC_C_API size_t nnlc_tensor_rank(const nnlc_tensor* t);
NNLC_C_API const int64_t* nnlc_tensor_shape(const nnlc_tensor* t);
NNLC_C_API const int64_t* nnlc_tensor_strides(const nnlc_tensor* t); /* in elements */
NNLC_C_API int64_t nnlc_tensor_count(const nnlc_tensor* t);
NNLC_C_API void* nnlc_tensor_data(nnlc_tensor* t); /* NULL if it is read-only */
NNLC_C_API const void* nnlc_tensor_const_data(const nnlc_tensor* t);
/* Why a call couldn't use this memory as it is; "": it can. */
NNLC_C_API const char* nnlc_tensor_why_copied(const nnlc_tensor* t);

/* ------------------------------------------------------------ cancelling */

typedef struct nnlc_cancel nnlc_cancel;
NNLC_C_API nnlc_cancel* nnlc_cancel_new(void); /* NULL: no memory */
NNLC_C_API void nnlc_cancel_free(nnlc_cancel* c);
NNLC_C_API void nnlc_cancel_set(nnlc_cancel* c); /* from any thread, also a signal handler */
NNLC_C_API void nnlc_cancel_reset(nnlc_cancel* c);

/* ------------------------------------------------------------ programs */

typedef struct nnlc_program nnlc_program;

typedef struct nnlc_compile_options {
  size_t size;
  const char* const* config_names; /* configs instead of their defaults, n_configs each, as text */
  const char* const* config_values;
  size_t n_configs;
  int32_t has_seed; /* then `seed` instead of the program's */
  uint64_t seed;
  int32_t declarations_only; /* other statements, and the data they read, aren't looked at */
  const char* directory;     /* of a program given as text: where imports and data are looked for */
  int32_t threads;           /* 0: as many as the process may use */
  const char* device;        /* NULL or "cpu", "cuda", or "auto": a GPU if one can be used */
  int32_t no_cache;          /* compiled kernels aren't kept on disk */
  const char* cache_directory;
  void (*log)(void* user, const char* text); /* what isn't output of the program */
  void* log_user;
} nnlc_compile_options;
#define NNLC_COMPILE_OPTIONS_INIT \
  { sizeof(nnlc_compile_options), NULL, NULL, 0, 0, 0, 0, NULL, 0, NULL, 0, NULL, NULL, NULL }

typedef struct nnlc_scalar {
  const char* name;
  double value;
} nnlc_scalar;

typedef struct nnlc_run_options {
  size_t size;
  void* user; /* given to the callbacks, which are called from the thread that called nnlc_program_run */
  void (*print)(void* user, const char* text);
  void (*progress)(void* user, const char* label, int64_t done, int64_t total);
  void (*record)(void* user, int64_t step, const nnlc_scalar* values, size_t n_values);
  const char* runs_directory;
  nnlc_cancel* cancel;
} nnlc_run_options;
#define NNLC_RUN_OPTIONS_INIT \
  { sizeof(nnlc_run_options), NULL, NULL, NULL, NULL, NULL, NULL }

/* options may be NULL in every function. A wrong program is NNLC_PROGRAM_ERROR with what `nnlc check` would say. */
NNLC_C_API nnlc_status nnlc_program_from_text(const char* text, const char* name, const nnlc_compile_options* options,
                                              nnlc_program** out, nnlc_error** error);
NNLC_C_API nnlc_status nnlc_program_from_file(const char* path, const nnlc_compile_options* options, nnlc_program** out,
                                              nnlc_error** error);
NNLC_C_API void nnlc_program_free(nnlc_program* p);
NNLC_C_API size_t nnlc_program_diagnostic_count(const nnlc_program* p); /* warnings and notes */
NNLC_C_API const nnlc_diagnostic* nnlc_program_diagnostic(const nnlc_program* p, size_t i);
NNLC_C_API nnlc_status nnlc_program_run(const nnlc_program* p, const nnlc_run_options* options, nnlc_error** error);

typedef struct nnlc_layer nnlc_layer;
typedef struct nnlc_function nnlc_function;
typedef struct nnlc_optimizer nnlc_optimizer;
/* Types and defaults as written in the program; "" where there is none. */
typedef struct nnlc_parameter {
  const char* name;
  const char* type;
  const char* default_value;
  const char* doc;
} nnlc_parameter;
NNLC_C_API size_t nnlc_program_layer_count(const nnlc_program* p);
NNLC_C_API const nnlc_layer* nnlc_program_layer(const nnlc_program* p, size_t i);
NNLC_C_API const char* nnlc_layer_name(const nnlc_layer* l);
NNLC_C_API const char* nnlc_layer_doc(const nnlc_layer* l);
NNLC_C_API nnlc_place nnlc_layer_place(const nnlc_layer* l);
NNLC_C_API size_t nnlc_layer_parameter_count(const nnlc_layer* l);
NNLC_C_API nnlc_parameter nnlc_layer_parameter(const nnlc_layer* l, size_t i);
NNLC_C_API size_t nnlc_layer_method_count(const nnlc_layer* l);
NNLC_C_API const nnlc_function* nnlc_layer_method(const nnlc_layer* l, size_t i);
NNLC_C_API size_t nnlc_program_function_count(const nnlc_program* p);
NNLC_C_API const nnlc_function* nnlc_program_function(const nnlc_program* p, size_t i);
NNLC_C_API const char* nnlc_function_name(const nnlc_function* f);
NNLC_C_API const char* nnlc_function_doc(const nnlc_function* f);
NNLC_C_API const char* nnlc_function_result(const nnlc_function* f);
NNLC_C_API nnlc_place nnlc_function_place(const nnlc_function* f);
NNLC_C_API size_t nnlc_function_parameter_count(const nnlc_function* f);
NNLC_C_API nnlc_parameter nnlc_function_parameter(const nnlc_function* f, size_t i);
NNLC_C_API size_t nnlc_program_optimizer_count(const nnlc_program* p);
NNLC_C_API const nnlc_optimizer* nnlc_program_optimizer(const nnlc_program* p, size_t i);
NNLC_C_API const char* nnlc_optimizer_name(const nnlc_optimizer* o);
NNLC_C_API const char* nnlc_optimizer_doc(const nnlc_optimizer* o);
NNLC_C_API nnlc_place nnlc_optimizer_place(const nnlc_optimizer* o);
NNLC_C_API size_t nnlc_optimizer_parameter_count(const nnlc_optimizer* o);
NNLC_C_API nnlc_parameter nnlc_optimizer_parameter(const nnlc_optimizer* o, size_t i);
NNLC_C_API size_t nnlc_optimizer_state_count(const nnlc_optimizer* o);
NNLC_C_API const char* nnlc_optimizer_state(const nnlc_optimizer* o, size_t i);
NNLC_C_API size_t nnlc_program_config_count(const nnlc_program* p);
NNLC_C_API nnlc_parameter nnlc_program_config(const nnlc_program* p, size_t i);

/* ------------------------------------------------------------ layers */

typedef int32_t nnlc_argument_kind;
enum {
  NNLC_ARGUMENT_INT = 0,
  NNLC_ARGUMENT_FLOAT = 1,
  NNLC_ARGUMENT_BOOL = 2, /* in `integer` */
  NNLC_ARGUMENT_TEXT = 3,
  NNLC_ARGUMENT_EXPRESSION = 4 /* NNL in `text`: "relu", "[3, 3]" */
};
typedef struct nnlc_argument {
  const char* name; /* NULL: by position */
  nnlc_argument_kind kind;
  int64_t integer;
  double number;
  const char* text;
} nnlc_argument;

typedef struct nnlc_model nnlc_model;

typedef struct nnlc_tensor_info {
  const char* name;
  nnlc_dtype dtype;
  size_t rank;
  const int64_t* shape;
  int32_t learned; /* 0: state, such as running statistics */
} nnlc_tensor_info;

typedef struct nnlc_call_options {
  size_t size;
  const char* method; /* NULL: forward */
  int32_t training;   /* the mode of the layer */
  int32_t allow_copies;
  nnlc_cancel* cancel;
} nnlc_call_options;
#define NNLC_CALL_OPTIONS_INIT \
  { sizeof(nnlc_call_options), NULL, 0, 0, NULL }

/* A layer of the program or of the standard library, with new parameters. */
NNLC_C_API nnlc_status nnlc_model_new(const nnlc_program* p, const char* layer, const nnlc_argument* arguments,
                                      size_t n_arguments, nnlc_model** out, nnlc_error** error);
/* From any expression: "Sequential(Linear(4, 8), ReLU(), Linear(8, 3))". */
NNLC_C_API nnlc_status nnlc_model_from_expression(const nnlc_program* p, const char* expression, nnlc_model** out,
                                                  nnlc_error** error);
NNLC_C_API void nnlc_model_free(nnlc_model* m);
NNLC_C_API size_t nnlc_model_parameter_count(const nnlc_model* m);
NNLC_C_API nnlc_tensor_info nnlc_model_parameter_info(const nnlc_model* m, size_t i);
/* A view of the parameter's own memory, which never moves. */
NNLC_C_API nnlc_status nnlc_model_parameter(const nnlc_model* m, const char* name, nnlc_tensor** out,
                                            nnlc_error** error);
NNLC_C_API nnlc_status nnlc_model_set_parameter(nnlc_model* m, const char* name, const nnlc_tensor* value,
                                                nnlc_error** error);
NNLC_C_API nnlc_status nnlc_model_save(const nnlc_model* m, const char* path, nnlc_error** error);
NNLC_C_API nnlc_status nnlc_model_load(nnlc_model* m, const char* path, int32_t strict, nnlc_error** error);
/* outputs: n_outputs handles. Where one is NULL a new tensor is stored, the others are written. */
NNLC_C_API nnlc_status nnlc_model_call(nnlc_model* m, const nnlc_call_options* options,
                                       const nnlc_tensor* const* inputs, size_t n_inputs, nnlc_tensor** outputs,
                                       size_t n_outputs, nnlc_error** error);

/* ------------------------------------------------------------ training */

typedef struct nnlc_trainer nnlc_trainer;

typedef struct nnlc_trainer_options {
  size_t size;
  const char* loss; /* loss(model(inputs...), targets...) */
  const nnlc_argument* loss_arguments;
  size_t n_loss_arguments;
  const char* objective; /* or a function of the program: objective(model, tensors...) */
  size_t n_inputs;       /* with `loss`: how many of a step's tensors go to the layer */
  const char* optimizer; /* NULL: Adam */
  const nnlc_argument* optimizer_arguments;
  size_t n_optimizer_arguments;
  const nnlc_argument* step_arguments; /* of `minimize`: clip_norm, clip_value, accumulate, check */
  size_t n_step_arguments;
  const char* const* freeze; /* layers or parameters by path, such as "backbone" or "blocks.0": not trained */
  size_t n_freeze;
} nnlc_trainer_options;
#define NNLC_TRAINER_OPTIONS_INIT \
  { sizeof(nnlc_trainer_options), NULL, NULL, 0, NULL, 1, NULL, NULL, 0, NULL, 0, NULL, 0 }

typedef struct nnlc_step_options {
  size_t size;
  int32_t allow_copies;
  nnlc_cancel* cancel;
} nnlc_step_options;
#define NNLC_STEP_OPTIONS_INIT \
  { sizeof(nnlc_step_options), 0, NULL }

/* The trainer keeps what it needs of the model. */
NNLC_C_API nnlc_status nnlc_trainer_new(nnlc_model* m, const nnlc_trainer_options* options, nnlc_trainer** out,
                                        nnlc_error** error);
NNLC_C_API void nnlc_trainer_free(nnlc_trainer* t);
/* One step of training; the loss goes to *loss if that isn't NULL. */
NNLC_C_API nnlc_status nnlc_trainer_step(nnlc_trainer* t, const nnlc_step_options* options,
                                         const nnlc_tensor* const* tensors, size_t n_tensors, double* loss,
                                         nnlc_error** error);
/* What the last step gave, the loss first. They keep their values. */
NNLC_C_API size_t nnlc_trainer_result_count(const nnlc_trainer* t);
NNLC_C_API nnlc_status nnlc_trainer_result(const nnlc_trainer* t, size_t i, nnlc_tensor** out, nnlc_error** error);
NNLC_C_API int64_t nnlc_trainer_updates(const nnlc_trainer* t);
NNLC_C_API double nnlc_trainer_learning_rate(const nnlc_trainer* t);
NNLC_C_API nnlc_status nnlc_trainer_set_learning_rate(nnlc_trainer* t, double rate, nnlc_error** error);
/* The optimizer's state. The infos live until the next call of nnlc_trainer_state_count. */
NNLC_C_API size_t nnlc_trainer_state_count(nnlc_trainer* t);
NNLC_C_API nnlc_tensor_info nnlc_trainer_state_info(const nnlc_trainer* t, size_t i);
NNLC_C_API nnlc_status nnlc_trainer_state(const nnlc_trainer* t, const char* name, nnlc_tensor** out,
                                          nnlc_error** error);
/* Parameters, optimizer state and counters: training that goes on from there gives the same bits. */
NNLC_C_API nnlc_status nnlc_trainer_save(const nnlc_trainer* t, const char* path, nnlc_error** error);
NNLC_C_API nnlc_status nnlc_trainer_load(nnlc_trainer* t, const char* path, nnlc_error** error);

#ifdef __cplusplus
}
#endif
#endif

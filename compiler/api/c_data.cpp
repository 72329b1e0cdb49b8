// nnlc.h over nnlc.hpp: errors, diagnostics, tensors.
#include <algorithm>

#include "compiler/api/c_handles.h"

nnlc_status report(nnlc_error** error, nnlc_status status, const char* message,
                   const std::vector<api::Diagnostic>* diagnostics) noexcept {
  if (!error) return status;
  try {
    *error = new nnlc_error{status, message, diagnostics ? *diagnostics : std::vector<api::Diagnostic>()};
  } catch (...) {
    *error = nullptr;
  }
  return status;
}

nnlc_tensor* new_tensor(api::Tensor t) {
  std::string why = t.why_copied();
  return new nnlc_tensor{std::move(t), std::move(why)};
}

static void check_shape(nnlc_dtype dtype, size_t rank, const int64_t* shape, nnlc_tensor** out) {
  require(out, "`out` is NULL");
  *out = nullptr;
  require(dtype >= 0 && dtype <= NNLC_F64, "there is no such element type");
  require(shape || rank == 0, "`shape` is NULL");
}

template <class Data>
static nnlc_status tensor_over(Data* data, nnlc_dtype dtype, size_t rank, const int64_t* shape, const int64_t* strides,
                               const char* device, nnlc_tensor** out, nnlc_error** error) {
  return protect(error, [&] {
    check_shape(dtype, rank, shape, out);
    std::vector<int64_t> steps;
    if (strides) steps.assign(strides, strides + rank);
    *out = new_tensor(api::Tensor::over(data, static_cast<api::DType>(dtype), std::vector<int64_t>(shape, shape + rank),
                                        std::move(steps), nullptr, device ? device : "cpu"));
  });
}

extern "C" {

int nnlc_abi_version(void) { return NNLC_ABI_VERSION; }
const char* nnlc_version(void) { return NNLC_VERSION; }
const char* nnlc_status_name(nnlc_status status) {
  return status < 0 || status > NNLC_INTERNAL ? "unknown status" : api::status_name(static_cast<api::Status>(status));
}

void nnlc_error_free(nnlc_error* error) { delete error; }
nnlc_status nnlc_error_status(const nnlc_error* error) { return error ? error->status : NNLC_OK; }
const char* nnlc_error_message(const nnlc_error* error) { return error ? error->message.c_str() : ""; }
size_t nnlc_error_diagnostic_count(const nnlc_error* error) { return error ? error->diagnostics.size() : 0; }
const nnlc_diagnostic* nnlc_error_diagnostic(const nnlc_error* error, size_t i) {
  return i < nnlc_error_diagnostic_count(error) ? handle(&error->diagnostics[i]) : nullptr;
}

nnlc_severity nnlc_diagnostic_severity(const nnlc_diagnostic* d) { return static_cast<nnlc_severity>(of(d).severity); }
const char* nnlc_diagnostic_code(const nnlc_diagnostic* d) { return of(d).code.c_str(); }
const char* nnlc_diagnostic_message(const nnlc_diagnostic* d) { return of(d).message.c_str(); }
nnlc_place nnlc_diagnostic_place(const nnlc_diagnostic* d, const char** label) {
  if (label) *label = of(d).label.c_str();
  return to_c(of(d).place);
}
size_t nnlc_diagnostic_label_count(const nnlc_diagnostic* d) { return of(d).labels.size(); }
nnlc_place nnlc_diagnostic_label(const nnlc_diagnostic* d, size_t i, const char** text) {
  const api::Label& l = of(d).labels[i];
  if (text) *text = l.text.c_str();
  return to_c(l.place);
}
size_t nnlc_diagnostic_note_count(const nnlc_diagnostic* d) { return of(d).notes.size(); }
const char* nnlc_diagnostic_note(const nnlc_diagnostic* d, size_t i) { return of(d).notes[i].c_str(); }
size_t nnlc_diagnostic_help_count(const nnlc_diagnostic* d) { return of(d).helps.size(); }
const char* nnlc_diagnostic_help(const nnlc_diagnostic* d, size_t i) { return of(d).helps[i].c_str(); }
size_t nnlc_diagnostic_fix_count(const nnlc_diagnostic* d) { return of(d).fixes.size(); }
nnlc_place nnlc_diagnostic_fix(const nnlc_diagnostic* d, size_t i, const char** replacement) {
  const api::Fix& f = of(d).fixes[i];
  if (replacement) *replacement = f.replacement.c_str();
  return to_c(f.place);
}
const char* nnlc_diagnostic_text(const nnlc_diagnostic* d) { return of(d).text.c_str(); }
const char* nnlc_diagnostic_json(const nnlc_diagnostic* d) { return of(d).json.c_str(); }

// ---------------------------------------------------------------- tensors

const char* nnlc_dtype_name(nnlc_dtype t) {
  return t < 0 || t > NNLC_F64 ? "unknown type" : api::dtype_name(static_cast<api::DType>(t));
}
size_t nnlc_dtype_size(nnlc_dtype t) { return t < 0 || t > NNLC_F64 ? 0 : api::dtype_size(static_cast<api::DType>(t)); }

nnlc_status nnlc_tensor_new(nnlc_dtype dtype, size_t rank, const int64_t* shape, nnlc_tensor** out,
                            nnlc_error** error) {
  return protect(error, [&] {
    check_shape(dtype, rank, shape, out);
    *out = new_tensor(api::Tensor(static_cast<api::DType>(dtype), std::vector<int64_t>(shape, shape + rank)));
  });
}

nnlc_status nnlc_tensor_over(void* data, nnlc_dtype dtype, size_t rank, const int64_t* shape, const int64_t* strides,
                             const char* device, nnlc_tensor** out, nnlc_error** error) {
  return tensor_over(data, dtype, rank, shape, strides, device, out, error);
}
nnlc_status nnlc_tensor_over_const(const void* data, nnlc_dtype dtype, size_t rank, const int64_t* shape,
                                   const int64_t* strides, const char* device, nnlc_tensor** out, nnlc_error** error) {
  return tensor_over(data, dtype, rank, shape, strides, device, out, error);
}
nnlc_status nnlc_tensor_from_dlpack(DLManagedTensor* managed, nnlc_tensor** out, nnlc_error** error) {
  return protect(error, [&] {
    require(out, "`out` is NULL");
    // Made first, so that nothing can fail once the structure is taken over.
    auto t = std::make_unique<nnlc_tensor>();
    t->tensor = api::Tensor::from_dlpack(managed);
    t->why_copied = t->tensor.why_copied();
    *out = t.release();
  });
}
nnlc_status nnlc_tensor_to_dlpack(const nnlc_tensor* t, DLManagedTensor** out, nnlc_error** error) {
  return protect(error, [&] {
    require(t && out, "a tensor and `out` are wanted");
    *out = t->tensor.to_dlpack();
  });
}
void nnlc_tensor_free(nnlc_tensor* t) { delete t; }
nnlc_dtype nnlc_tensor_dtype(const nnlc_tensor* t) { return static_cast<nnlc_dtype>(t->tensor.dtype()); }
size_t nnlc_tensor_rank(const nnlc_tensor* t) { return t->tensor.rank(); }
const int64_t* nnlc_tensor_shape(const nnlc_tensor* t) { return t->tensor.shape().data(); }
const int64_t* nnlc_tensor_strides(const nnlc_tensor* t) { return t->tensor.strides().data(); }
int64_t nnlc_tensor_count(const nnlc_tensor* t) { return t->tensor.count(); }
void* nnlc_tensor_data(nnlc_tensor* t) { return t->tensor.data(); }
const void* nnlc_tensor_const_data(const nnlc_tensor* t) { return t->tensor.data(); }
const char* nnlc_tensor_why_copied(const nnlc_tensor* t) { return t->why_copied.c_str(); }

// ---------------------------------------------------------------- cancelling

nnlc_cancel* nnlc_cancel_new(void) {
  try {
    return new nnlc_cancel;
  } catch (...) {
    return nullptr;
  }
}
void nnlc_cancel_free(nnlc_cancel* c) { delete c; }
void nnlc_cancel_set(nnlc_cancel* c) { c->token.cancel(); }
void nnlc_cancel_reset(nnlc_cancel* c) { c->token.reset(); }

}  // extern "C"

// Small pieces that the tensor builtins and operators share: checked operands, constants, stable compositions.
#pragma once
#include <string>
#include <vector>

#include "compiler/ops/build.h"
#include "compiler/sema/builtins.h"
#include "compiler/sema/evaluator.h"

namespace nnlc::sema {

using graph::Dim;
using graph::DType;
using graph::IntList;
using graph::Node;
using graph::Shape;
using graph::TensorType;

/// What the source says at a span, if it is short enough for a message; otherwise `fallback`.
std::string source_text(const Evaluator& ev, Span span, const std::string& fallback);
/// "f32[N, 784]", "class(10)[N]".
std::string type_text(const TensorValue& t);
/// A host number known when compiling: an int without symbols, a float.
std::optional<double> static_number(const Value& v);
bool is_host_number(const Value& v);  ///< static or run-time int, float or bool
bool is_int_value(const Value& v);    ///< static or run-time int

/// A constant of any shape and element type.
Node* fill(Evaluator& ev, double value, const TensorType& type, Span span);
/// A scalar of x's type, at x's shape.
inline Node* like(Evaluator& ev, Node* x, double value) { return fill(ev, value, x->type, x->span); }
/// For checks with symbolic sizes whose proof has to wait until they are known: a node with the right type only.
Node* open_tensor(Evaluator& ev, const TensorType& type, Span span);

/// Operands of one elementwise op, made tensors of one element type: host numbers take the tensors' type. Reports what
/// doesn't fit.
std::optional<std::vector<TensorValue>> unify(Evaluator& ev, const std::vector<Value>& values,
                                              const std::vector<Span>& spans, Span span, const std::string& what);
/// unify, then the nodes, broadcast to the common shape.
struct Operands {
  std::vector<TensorValue> values;
  std::vector<Node*> nodes;
  Shape shape;
};
std::optional<Operands> elementwise(Evaluator& ev, const std::vector<Value>& values, const std::vector<Span>& spans,
                                    Span span, const std::string& what);
/// False with a diagnostic that offers the cast unless x has a float type.
bool need_float(Evaluator& ev, const TensorValue& x, Span at, const std::string& what);
/// False with a diagnostic where x holds class indices, which aren't numbers.
bool need_number(Evaluator& ev, const TensorValue& x, Span at, const std::string& what);

// Compositions on nodes.
Node* keep_axes(Evaluator& ev, Node* reduced, const Shape& original, const IntList& axes,
                Span span);  ///< reduced axes come back as 1
Node* broadcast_reduced(Evaluator& ev, Node* reduced, const Shape& original, const IntList& axes, Span span);
Node* sigmoid_node(Evaluator& ev, Node* x, Span span);
Node* log_softmax_node(Evaluator& ev, Node* x, int64_t axis, Span span);
Node* softmax_node(Evaluator& ev, Node* x, int64_t axis, Span span);
Node* argmax_node(Evaluator& ev, Node* x, int64_t axis, bool largest, Span span);
/// A reshape whose element counts may be unproved in a check with symbolic sizes.
Node* reshape_node(Evaluator& ev, Node* x, Shape shape, Span span);
IntList all_axes(size_t rank);

/// The argument `dtype = T` (or `cast`'s second): an element type, perhaps class(C). nullopt: reported or absent.
struct DTypeArg {
  DType dtype = DType::f32;
  std::optional<Dim> classes;
  bool missing = false;
};
std::optional<DTypeArg> dtype_arg(BuiltinCall& call, std::string_view name);
/// Casts a tensor or host number; reports what can't be.
Value cast_value(Evaluator& ev, const Value& x, const DTypeArg& to, Span at, Span span);

Value list_of(std::vector<Value> items, Span span, bool is_list = true);
const SequenceValue* sequence(const Value& v);

// ---- views.cpp
enum class ViewStep { permute, slice, expand, flip, other };
/// Strides of x, spelled out where it is contiguous.
std::vector<Dim> strides_of(const TensorValue& x);
/// A result that shares x's memory: `strides` of the result; keeps classes, kind; remembers who broke contiguity.
TensorValue view_result(Evaluator& ev, const TensorValue& x, Node* node, std::vector<Dim> strides, Span span,
                        const std::string& name);
TensorValue permute_value(Evaluator& ev, const TensorValue& x, const IntList& perm, Span span, const std::string& name);
/// The strides with which x can be seen as `shape`; nullopt: only a copy can.
std::optional<std::vector<Dim>> view_strides(const TensorValue& x, const Shape& shape);
TensorValue reshape_value(Evaluator& ev, const TensorValue& x, const Shape& shape, Span span);
/// x, with its meaning (classes, kind, logits) carried over to `node`, a rearrangement of x's elements.
TensorValue carry(Evaluator& ev, const TensorValue& x, Node* node, Span span);
/// The strides of a dense row-major array.
std::vector<Dim> dense_strides(const Shape& shape);

// ---- matmul.cpp, einsum.cpp
Value matmul_value(Evaluator& ev, const TensorValue& a, const TensorValue& b, Span span, Span a_span, Span b_span,
                   const std::string& what);
Value tensor_binary(Evaluator& ev, ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span,
                    Span b_span);
/// Tables of the files, joined in builtins_tensor.cpp.
std::vector<Builtin> math_builtins();
std::vector<Builtin> reduce_builtins();
std::vector<Builtin> shape_builtins();
std::vector<Builtin> random_builtins();
std::vector<Builtin> einsum_builtins();
std::vector<Builtin> index_builtins();
std::vector<Builtin> intrinsic_builtins();
std::vector<Builtin> scan_builtins();
std::vector<Builtin> convolution_builtins();

}  // namespace nnlc::sema

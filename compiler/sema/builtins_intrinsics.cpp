// What the standard library asks of the compiler: kinds of values, rules with messages, sizes of weights.
#include <algorithm>

#include "compiler/sema/impl.h"
#include "compiler/sema/initializers.h"
#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

const char* kind_name(ValueKind k) {
  switch (k) {
    case ValueKind::logits:
      return "logits";
    case ValueKind::probabilities:
      return "probabilities";
    case ValueKind::log_probabilities:
      return "log_probabilities";
    case ValueKind::plain:
      break;
  }
  return "plain";
}

Value kind_of(BuiltinCall& c) {
  const auto* t = c.arg("x").value.get<TensorValue>();
  return Value(std::string(kind_name(t ? t->kind : ValueKind::plain)), c.span);
}

Value with_kind(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto kind = c.text("kind");
  if (!x || !kind) return {};
  bool known = false;
  for (ValueKind k : {ValueKind::plain, ValueKind::logits, ValueKind::probabilities, ValueKind::log_probabilities})
    if (*kind == kind_name(k)) {
      x->kind = k;
      x->kind_at = c.ev.user_span(c.span);
      known = true;
    }
  if (!known) {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("kind").span, "there is no kind \"" + *kind + "\"")
        .help("\"plain\", \"logits\", \"probabilities\" or \"log_probabilities\"");
    return {};
  }
  x->logits = nullptr;
  if (c.given("logits")) {
    auto z = c.tensor("logits");
    if (!z) return {};
    x->logits = std::make_shared<const TensorValue>(*z);
  }
  return Value(std::move(*x), c.span);
}

/// What a softmax or sigmoid was applied to. Where that isn't known any more, log p serves as well: its softmax is p.
Value logits_of(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  if (x->logits) {
    TensorValue z = *x->logits;
    z.kind = ValueKind::plain;
    return Value(std::move(z), c.span);
  }
  if (x->kind == ValueKind::probabilities)
    return Value(c.ev.tensor(graph::unary(c.ev.graph(), "log", c.ev.node(*x), c.span), c.span), c.span);
  x->kind = ValueKind::plain;
  return Value(std::move(*x), c.span);
}

Value has_logits(BuiltinCall& c) {
  const auto* t = c.arg("x").value.get<TensorValue>();
  return Value(t && t->logits != nullptr, c.span);
}

/// What a loss on the logits of single events takes: logits as they are, probabilities through the sigmoid's inverse.
Value event_logits(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x || x->kind != ValueKind::probabilities) return x ? Value(std::move(*x), c.span) : Value();
  if (x->logits && x->from_sigmoid) return logits_of(c);
  graph::Graph& g = c.ev.graph();
  Node* p = c.ev.node(*x);
  Node* rest = graph::unary(g, "log1p", graph::unary(g, "neg", p, c.span), c.span);
  return Value(c.ev.tensor(graph::binary(g, "sub", graph::unary(g, "log", p, c.span), rest, c.span), c.span), c.span);
}

Value require(BuiltinCall& c) {
  const ArgValue& cond = c.arg("condition");
  if (cond.value.is_poison()) return Value(NoneValue{}, c.span);
  const bool* b = cond.value.get<bool>();
  if (!b) {
    c.ev.error(Code::BadOperands, cond.span,
               "require needs a condition that is known when compiling, but this is " + describe(cond.value))
        .help("`assert(c, \"message\")` checks when the program runs");
    return Value(NoneValue{}, c.span);
  }
  if (*b) return Value(NoneValue{}, c.span);
  const auto* message = c.arg("message").value.get<std::string>();
  c.ev.error(Code::RequirementNotMet, cond.span.valid() ? cond.span : c.span,
             message ? *message : "`" + source_text(c.ev, cond.span, "the condition") + "` doesn't hold")
      .label(cond.span, "the rule");
  return {};
}

Value is_given(BuiltinCall& c) {
  return c.arg("x").value.is_poison() ? Value() : Value(!c.arg("x").value.is_none(), c.span);
}

Value dtype_name(BuiltinCall& c) {
  auto x = c.tensor("x");
  return x ? Value(std::string(graph::name(x->type.dtype)), c.span) : Value();
}

Value dtype_eps(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  switch (x->type.dtype) {
    case DType::f64:
      return Value(2.220446049250313e-16, c.span);
    case DType::f16:
      return Value(0.0009765625, c.span);
    case DType::bf16:
      return Value(0.0078125, c.span);
    default:
      return Value(1.1920928955078125e-07, c.span);
  }
}

/// The C of class(C), or None.
Value classes_of(BuiltinCall& c) {
  const ArgValue& a = c.arg("x");
  if (a.value.is_poison()) return {};
  const auto* t = a.value.get<TensorValue>();
  if (t && t->classes) return Value(*t->classes, c.span);
  return Value(NoneValue{}, c.span);
}

Value note(BuiltinCall& c) {
  auto message = c.text("message");
  if (!message || c.ev.context.dry) return Value(NoneValue{}, c.span);
  auto d = c.ev.diags.note(Code::WrongKind, c.ev.user_span(c.span), *message);
  if (auto* x = c.arg("of").value.get<TensorValue>()) d.label(x->kind_at, "gives probabilities");
  return Value(NoneValue{}, c.span);
}

Value compute_fans(BuiltinCall& c) {
  auto shape = c.shape("shape");
  if (!shape) return {};
  auto f = fans(*shape);
  if (!f) {
    c.ev.error(Code::RankMismatch, c.span,
               "fans need a weight of at least rank 2, but this has the shape " + graph::str(*shape));
    return {};
  }
  return list_of({Value(f->first, c.span), Value(f->second, c.span)}, c.span, false);
}

Value calculate_gain(BuiltinCall& c) {
  auto name = c.text("nonlinearity");
  if (!name) return {};
  auto slope = c.given("param") ? c.number("param") : std::optional<double>();
  auto g = gain_of(*name, slope);
  if (!g) {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("nonlinearity").span, "there is no gain for \"" + *name + "\"")
        .help("\"linear\", \"sigmoid\", \"tanh\", \"relu\", \"leaky_relu\" or \"selu\"");
    return {};
  }
  return Value(*g, c.span);
}

/// [-1], or [-1, -2, …] for a list of sizes: the axes that a normalized shape stands for.
Value last_axes(BuiltinCall& c) {
  const ArgValue& shape = c.arg("shape");
  const SequenceValue* s = sequence(shape.value);
  size_t rank = 1;
  bool good = shape.value.get<Dim>() != nullptr;
  if (s) {
    rank = s->items.size();
    good = rank > 0;
    for (auto& item : s->items) good &= item.get<Dim>() != nullptr;
  }
  if (!good) {
    if (!shape.value.is_poison())
      c.ev.error(Code::ArgumentType, shape.value.span.valid() ? shape.value.span : c.span,
                 "a normalized shape is an int or a list of ints, but this is " + describe(shape.value));
    return {};
  }
  std::vector<Value> axes;
  for (size_t i = 1; i <= rank; ++i) axes.emplace_back(Dim(-static_cast<int64_t>(i)), c.span);
  return sequence_value(std::move(axes), true, c.span);
}

/// (x - mean) / std for images [.., C, H, W], with numbers or one for each channel.
Value normalize(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x || !need_float(c.ev, *x, c.arg("x").span, "normalize")) return {};
  graph::Graph& g = c.ev.graph();
  Node* n = c.ev.node(*x);
  for (std::string_view which : {"mean", "std"}) {
    const ArgValue& a = c.arg(which);
    Node* v = nullptr;
    if (const SequenceValue* s = sequence(a.value)) {
      const size_t rank = x->type.rank();
      const auto channels = static_cast<int64_t>(s->items.size());
      // Of a record of a table, [K], each feature is a channel.
      const size_t axis = rank >= 3 ? rank - 3 : 0;
      if (rank == 0 || rank == 2 || (!(x->type.shape[axis] == Dim(channels)) && channels != 1)) {
        c.ev.error(
                Code::OperandShapes, a.span,
                "normalize: " + std::to_string(channels) + " numbers, one for each channel, don't fit " + type_text(*x))
            .help("images are [C, H, W], records of a table [K]; a single number is for all");
        return {};
      }
      std::vector<double> values;
      for (const Value& item : s->items) {
        auto number = static_number(item);
        if (!number) {
          if (!item.is_poison())
            c.ev.error(Code::NotATensor, a.span,
                       "normalize takes static numbers, but the list holds " + describe(item));
          return {};
        }
        values.push_back(*number);
      }
      if (which == "std")
        for (double d : values)
          if (d == 0) {
            c.ev.error(Code::DivisionByZero, a.span, "normalize: a `std` of 0");
            return {};
          }
      Shape shape{Dim(channels)};
      if (rank >= 3) shape.insert(shape.end(), 2, Dim(1));
      v = graph::constant_array(g, values, {n->type.dtype, std::move(shape)}, a.span);
    } else {
      auto number = c.number(which);
      if (!number) return {};
      if (which == "std" && *number == 0) {
        c.ev.error(Code::DivisionByZero, a.span, "normalize: a `std` of 0");
        return {};
      }
      v = fill(c.ev, *number, {n->type.dtype, {}}, a.span);
    }
    n = graph::binary(g, which == "mean" ? "sub" : "div", n, graph::broadcast_to(g, v, x->type.shape, c.span), c.span);
  }
  return Value(c.ev.tensor(n, c.span), c.span);
}

Value spread(BuiltinCall& c) {
  auto layer = c.arg("layer").value.ptr<LayerInstance>();
  auto suffix = c.text("suffix");
  if (!suffix) return {};
  if (!layer || !layer->klass || layer->built || layer->adopted) {
    c.ev.error(Code::ArgumentType, c.arg("layer").span,
               "spread takes a layer where it is made, but this is " + describe(c.arg("layer").value))
        .help("`cells = [spread(LSTMCell(8, 8), \"_l{i}\") for i in 0..layers]`");
    return {};
  }
  layer->spread = *suffix;
  return Value(layer, c.span);
}

/// `n` layers made like one that isn't used yet, which is the first of them.
Value copies(BuiltinCall& c) {
  auto layer = c.arg("layer").value.ptr<LayerInstance>();
  auto n = c.integer("n");
  if (!n) return {};
  if (!layer || !layer->klass || layer->built || layer->adopted) {
    c.ev.error(Code::ArgumentType, c.arg("layer").span,
               "the layers are made like one that isn't used elsewhere, but this is " + describe(c.arg("layer").value));
    return {};
  }
  if (*n < 1) {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("n").span, "there is at least one layer, not " + std::to_string(*n));
    return {};
  }
  std::vector<Value> all{Value(layer, c.span)};
  ++c.ev.impl->member_depth;
  for (int64_t i = 1; i < *n; ++i) {
    std::vector<ArgValue> args;
    for (auto& [name, value] : layer->hyper)
      if (std::find(layer->defaulted.begin(), layer->defaulted.end(), name) == layer->defaulted.end())
        args.push_back({name, {}, value, layer->span});
    all.push_back(c.ev.instantiate(layer->klass, std::move(args), layer->span));
  }
  --c.ev.impl->member_depth;
  return list_of(std::move(all), c.span);
}

}  // namespace

std::vector<Builtin> intrinsic_builtins() {
  return {
      {"kind_of", "x", kind_of, "\"plain\", \"logits\", \"probabilities\" or \"log_probabilities\""},
      {"with_kind", "x, kind, logits = None", with_kind, "x, known to be of a kind"},
      {"logits_of", "x", logits_of, "what a softmax or sigmoid was applied to"},
      {"has_logits", "x", has_logits, "whether x remembers its logits"},
      {"require", "condition, message = None", require, "a rule, with its message, that is checked when compiling"},
      {"event_logits", "x", event_logits, "logits of single events, from what a loss on them was given"},
      {"is_given", "x", is_given, "whether x is anything but None"},
      {"dtype_name", "x", dtype_name, "the element type's name"},
      {"dtype_eps", "x", dtype_eps, "the distance from 1 to the next number of x's type"},
      {"classes_of", "x", classes_of, "the C of class(C), or None"},
      {"note", "message, of = None", note, "a note at the user's line"},
      {"compute_fans", "shape", compute_fans, "(inputs, outputs) of one unit of a weight"},
      {"calculate_gain", "nonlinearity, param = None", calculate_gain,
       "the factor that nn.init uses for a nonlinearity"},
      {"last_axes", "shape", last_axes, ""},
      {"copies", "layer, n", copies, "a list of n layers made like one, which is the first of them"},
      {"spread", "layer, suffix = \"\"", spread,
       "the layer as a member whose parameters stand among its owner's, with a suffix: `weight_ih_l0`"},
      {"normalize", "x, mean, std", normalize, "(x - mean) / std of images, by channel"},
  };
}

}  // namespace nnlc::sema

// What PyTorch and Keras call things, and how NNL says it: hints for unknown names and arguments.
#include <map>

#include "compiler/sema/builtins.h"

namespace nnlc::sema {
namespace {

const std::map<std::string_view, std::string_view>& names() {
  static const std::map<std::string_view, std::string_view> all = {
      {"nn", "layers are in scope by their name: `Linear(784, 10)`"},
      {"torch", "functions are in scope by their name: `zeros([2, 3])`"},
      {"F", "functions are in scope by their name: `relu(x)`"},
      {"np", "functions are in scope by their name: `zeros([2, 3])`"},
      {"tf", "functions are in scope by their name: `zeros([2, 3])`"},
      {"keras", "layers are in scope by their name: `Linear(784, 10)`"},
      {"Dense",
       "Keras's `Dense(units)` is `Linear(in_features, out_features)`; `Linear(_, units)` takes its input size from "
       "the first use"},
      {"InputLayer", "there is no input layer: `Linear(_, 10)` takes its input size from the first use"},
      {"Model", "a model is a `layer` with a `forward`, or `Sequential(…)`"},
      {"Module", "a module is declared with `layer Name(…) { … forward(x) { … } }`"},
      {"Parameter", "a parameter is declared in a layer: `param weight: [out, in] = kaiming_uniform()`"},
      {"Variable", "tensors need no wrapper; `grad(x) { … }` differentiates"},
      {"concatenate", "`concat([a, b], axis = 0)`"},
      {"hstack", "`concat([a, b], axis = 1)`"},
      {"vstack", "`concat([a, b], axis = 0)`"},
      {"empty", "`zeros([2, 3])`: tensors always have values"},
      {"empty_like", "`zeros_like(x)`: tensors always have values"},
      {"from_numpy", "`npy(path)` reads a file, `tensor([…])` a list"},
      {"array", "`tensor([…])`"},
      {"no_grad", "gradients are only computed inside `minimize` and `grad`; nothing needs to be turned off"},
      {"inference_mode", "gradients are only computed inside `minimize` and `grad`; nothing needs to be turned off"},
      {"backward", "`minimize(opt) { loss }` differentiates and updates, `grad(net) { loss }` gives the gradients"},
      {"zero_grad", "gradients always start from zero; nothing needs to be cleared"},
      {"eval", "layers run in inference mode outside of `minimize` and `grad`; nothing needs to be switched"},
      {"train", "layers run in training mode inside `minimize` and `grad`; nothing needs to be switched"},
      {"requires_grad", "`freeze(layer)` excludes parameters, `grad(x) { … }` differentiates with respect to x"},
      {"DataLoader", "`data.batches(64, shuffle = true)`"},
      {"to", "`f32(x)` or `cast(x, bf16)` converts; `--device` places"},
      {"cuda", "`nnlc run --device cuda`: the compiler places and moves"},
      {"cpu", "`nnlc run --device cpu`: the compiler places and moves"},
      {"float", "`f32(x)` for a tensor"},
      {"double", "`f64(x)`"},
      {"half", "`f16(x)`"},
      {"bfloat16", "`bf16(x)`"},
      {"float32", "`f32`"},
      {"float64", "`f64`"},
      {"float16", "`f16`"},
      {"int32", "`i32`"},
      {"int64", "`i64`"},
      {"int8", "`i8`"},
      {"uint8", "`u8`"},
      {"long", "`i64(x)`"},
      {"astype", "`cast(x, f32)`, or `f32(x)`"},
      {"type", "`cast(x, f32)`, or `f32(x)`"},
      {"t", "`x.T`"},
      {"swapaxes", "`transpose(x, axis0, axis1)`"},
      {"expand_dims", "`unsqueeze(x, axis)`"},
      {"broadcast_to", "`expand(x, sizes…)`"},
      {"reduce_mean", "`mean(x, axis = 0)`"},
      {"reduce_sum", "`sum(x, axis = 0)`"},
      {"reduce_max", "`max(x, axis = 0)`"},
      {"multiply", "`a * b`"},
      {"divide", "`a / b`"},
      {"subtract", "`a - b`"},
      {"negative", "`-x`"},
      {"absolute", "`abs(x)`"},
      {"power", "`a ** b`"},
      {"mod", "`a % b`"},
      {"fmod", "`a % b`"},
      {"arctan", "there is no inverse of the tangent yet"},
      {"masked_fill", "`where(mask, value, x)`"},
      {"clone", "tensors are values: a copy is never needed"},
      {"copy", "tensors are values: a copy is never needed"},
      {"numpy", "tensors are printed and saved as they are: `print(x)`, `save(net, path)`"},
      {"cpu_count", "`--threads` sets the number of threads"},
      {"manual_seed", "`seed 42` at the top of the program"},
      {"set_seed", "`seed 42` at the top of the program"},
      {"SparseCategoricalCrossentropy", "`cross_entropy(logits, label)`"},
      {"CategoricalCrossentropy", "`cross_entropy(logits, probabilities)`"},
      {"sparse_categorical_crossentropy", "`cross_entropy(logits, label)`"},
      {"categorical_crossentropy", "`cross_entropy(logits, probabilities)`"},
      {"binary_crossentropy",
       "`binary_cross_entropy(probabilities, target)`, or `binary_cross_entropy_with_logits(logits, target)`"},
      {"mean_squared_error", "`mse_loss(input, target)`"},
      {"mse", "`mse_loss(input, target)`"},
      {"mae", "`l1_loss(input, target)`"},
      {"LayerNormalization", "`LayerNorm(size)`"},
      {"BatchNormalization", "`BatchNorm1d(size)`"},
      {"lambda", "`{ x -> … }` is a function without a name"},
      {"def", "`fn name(x) { … }`"},
      {"class_", "`layer Name(…) { … }`"},
      {"self", "members of a layer are in scope by their name"},
      {"elif", "`else if`"},
      {"range", "`0..n` counts from 0 to n - 1, `1..=n` includes n"},
      {"lr_scheduler", "a schedule is the learning rate itself: `Adam(net, lr = cosine(1e-3, 1000))`"},
      {"GlorotUniform", "`xavier_uniform()`"},
      {"GlorotNormal", "`xavier_normal()`"},
      {"HeNormal", "`kaiming_normal()`"},
      {"HeUniform", "`kaiming_uniform()`"},
      {"glorot_uniform", "`xavier_uniform()`"},
      {"he_normal", "`kaiming_normal()`"},
      {"truncated_normal", "`trunc_normal()`"},
      {"True", "`true`"},
      {"False", "`false`"},
      {"None_", "`None`"},
      {"null", "`None`"},
      {"nil", "`None`"},
  };
  return all;
}

}  // namespace

std::optional<std::string> foreign_name_hint(std::string_view name) {
  for (std::string_view prefix : {"torch.nn.functional.", "torch.nn.init.", "torch.nn.", "torch.", "nn.functional.",
                                  "nn.init.", "nn.", "F.", "np.", "tf.", "keras.layers.", "layers."})
    if (name.size() > prefix.size() && name.substr(0, prefix.size()) == prefix) {
      const std::string_view rest = name.substr(prefix.size());
      if (auto hint = foreign_name_hint(rest)) return hint;
      return "names stand without a prefix: `" + std::string(rest) + "`";
    }
  if (auto it = names().find(name); it != names().end()) return std::string(it->second);
  // kaiming_uniform_, add_: PyTorch's in-place forms.
  if (name.size() > 1 && name.back() == '_' && find_builtin(name.substr(0, name.size() - 1)))
    return "tensors are values, nothing is changed in place: `" + std::string(name.substr(0, name.size() - 1)) + "`";
  return std::nullopt;
}

std::optional<std::string> foreign_argument_hint(std::string_view name) {
  static const std::map<std::string_view, std::string_view> all = {
      {"dim", "the argument is called `axis`"},
      {"dims", "the argument is called `axis`"},
      {"axes", "the argument is called `axis`; it takes an int or a list"},
      {"keepdim", "the argument is called `keep`"},
      {"keepdims", "the argument is called `keep`"},
      {"dim0", "the argument is called `axis0`"},
      {"dim1", "the argument is called `axis1`"},
      {"start_dim", "the argument is called `start_axis`"},
      {"end_dim", "the argument is called `end_axis`"},
      {"units", "Keras's `units` is `out_features`"},
      {"input_dim", "the input size is `in_features`, or `_` to infer it"},
      {"input_shape", "the input size is `in_features`, or `_` to infer it"},
      {"activation", "an activation is a step of its own: `x |> layer |> relu`"},
      {"kernel_initializer", "an initialiser stands at the `param` of a layer of your own"},
      {"learning_rate", "the argument is called `lr`"},
      {"rate", "the probability is called `p`"},
      {"use_bias", "the argument is called `bias`"},
      {"unbiased", "`correction = 1` is unbiased, `correction = 0` divides by the number of elements"},
      {"ddof", "the argument is called `correction`"},
      {"device", "`nnlc run --device cuda` places the whole program"},
      {"requires_grad", "`param` is learned, `state` isn't; `grad(x) { … }` differentiates"},
      {"out", "results are values: bind them with `let`"},
      {"inplace", "tensors are values: nothing is changed in place"},
      {"num_classes", "the argument is called `classes`"},
      {"batch_size", "the size comes first: `data.batches(64)`"},
      {"non_blocking", "the compiler places and moves"},
      {"memory_format", "the compiler chooses layouts"},
  };
  if (auto it = all.find(name); it != all.end()) return std::string(it->second);
  return std::nullopt;
}

}  // namespace nnlc::sema

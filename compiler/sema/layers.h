// What the files of the layers share.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "compiler/sema/impl.h"

namespace nnlc::sema {

// ---- layers.cpp
/// The key's part of a path: the ordinal of the root and the path below it.
std::string random_path(const std::string& root, const std::string& path);
/// Builds what an item of a layer's body declares. known: the hyper-parameters that were `_` are known by now.
void process(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer, const ast::LayerItem& item, bool known);

// ---- layer_inference.cpp
/// Whether an expression has a name that stands for `_`; `bare`: also where an argument of a call is just such a name.
/// The names in an expression that stand for `_`; `bare`: also where an argument of a call is just such a name.
bool mentions_inferred(const ast::Expr* e, const std::shared_ptr<Scope>& scope, bool bare);
bool type_mentions_inferred(const ast::TypeExpr& t, const std::shared_ptr<Scope>& scope);
bool has_inferred(const LayerInstance& layer);
const ast::FnStmt* forward_of(const LayerInstance& layer);
void report_unknown(Evaluator& ev, LayerInstance& layer, const std::string& name);
/// Hyper-parameters `_` from the arguments of the first call. False: reported.
bool infer(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer, const std::vector<ArgValue>& args, Span span);
/// A value of the written type with symbolic sizes; nullopt: the type leaves something open. rest: `..` stands for one
/// axis of that name.
std::optional<Value> symbolic(Evaluator& ev, const ast::TypeExpr& t, Evaluator::DimBindings& dims,
                              const std::shared_ptr<Scope>& scope, const Span& span, bool rest = false);
/// forward with the signature's sizes left open, so that it is right for every N; also the first use of members with
/// `_`.
void check_forward(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer);

/// Code inside a layer's declaration is host code that makes members.
class Building {
 public:
  Building(Evaluator& ev, const LayerInstance& layer)
      : ev_(ev),
        context_(ev.context),
        flow_(ev.impl->flow),
        loops_(std::move(ev.impl->loops)),
        returns_(std::move(ev.impl->returns)),
        leaves_(std::move(ev.leaves)) {
    ev.impl->loops.clear();
    ev.impl->returns.clear();
    ev.leaves.clear();
    ev.context.tensor_code = false;
    ev.context.training = false;
    ev.context.self = nullptr;
    ++ev.impl->member_depth;
    ev.frames.push_back({layer.class_name, layer.span});
    ev.impl->calls.push_back(layer.klass ? layer.klass->decl : nullptr);
  }
  ~Building() {
    ev_.frames.pop_back();
    ev_.impl->calls.pop_back();
    --ev_.impl->member_depth;
    ev_.context = context_;
    ev_.impl->flow = flow_;
    ev_.impl->loops = std::move(loops_);
    ev_.impl->returns = std::move(returns_);
    ev_.leaves = std::move(leaves_);
  }
  Building(const Building&) = delete;
  Building& operator=(const Building&) = delete;

 private:
  Evaluator& ev_;
  Context context_;
  Flow flow_;
  std::vector<LoopTarget*> loops_;
  std::vector<ReturnTarget*> returns_;
  std::vector<std::map<host::Reg, TensorValue>> leaves_;
};

}  // namespace nnlc::sema

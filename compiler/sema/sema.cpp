// The doors to sema: whole programs, their tests, configs and layers; imports and the standard library.
#include "compiler/sema/sema.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unordered_set>

#include "compiler/host/mapped.h"
#include "compiler/sema/builtins.h"
#include "compiler/sema/impl.h"
#include "compiler/sema/names.h"
#include "compiler/sema/std_sources.h"
#include "compiler/sema/training.h"
#include "compiler/syntax/parser.h"
#include "runtime/parse.h"

namespace nnlc::sema {

using ast::Stmt;
using graph::Dim;
using host::Op;
using host::Reg;

// ---------------------------------------------------------------- the standard library

namespace {

/// Names declared at the beginnings of a library file's lines.
std::vector<std::string> declared_names(std::string_view text) {
  std::vector<std::string> out;
  size_t at = 0;
  while (at < text.size()) {
    size_t end = text.find('\n', at);
    std::string_view line = text.substr(at, end == std::string_view::npos ? end : end - at);
    for (std::string_view keyword : {"fn ", "layer ", "optimizer "}) {
      if (!line.starts_with(keyword)) continue;
      std::string_view rest = line.substr(keyword.size());
      size_t n = rest.find_first_of("( =");
      out.emplace_back(rest.substr(0, n));
    }
    if (end == std::string_view::npos) break;
    at = end + 1;
  }
  return out;
}

void define_declaration(const Stmt& s, const std::shared_ptr<Scope>& scope) {
  switch (s.kind) {
    case Stmt::Kind::fn: {
      auto& f = ast::as<ast::FnStmt>(s);
      scope->define(f.name.text, Value(FunctionValue{&f, scope, nullptr, nullptr}, f.name.span), f.name.span);
      break;
    }
    case Stmt::Kind::layer: {
      auto& l = ast::as<ast::LayerStmt>(s);
      auto c = std::make_shared<LayerClass>();
      c->decl = &l;
      c->scope = scope;
      scope->define(l.name.text, Value(c, l.name.span), l.name.span);
      break;
    }
    case Stmt::Kind::optimizer: {
      auto& o = ast::as<ast::OptimizerStmt>(s);
      auto c = std::make_shared<OptimizerClass>();
      c->decl = &o;
      c->scope = scope;
      scope->define(o.name.text, Value(c, o.name.span), o.name.span);
      break;
    }
    default:
      break;
  }
}

void open_library(Evaluator& ev) {
  ev.std_scope = std::make_shared<Scope>();
  for (size_t i = 0; i < kStdSources.size(); ++i) {
    ev.impl->libraries.push_back({kStdSources[i].name, kStdSources[i].text, false});
    for (const std::string& n : declared_names(kStdSources[i].text))
      ev.std_scope->define(n, NoneValue{}, {}).library_file = static_cast<int>(i);
  }
}

}  // namespace

bool load_library(Evaluator& ev, int index) {
  Evaluator::Impl::Library& lib = ev.impl->libraries[static_cast<size_t>(index)];
  if (lib.loaded) return true;
  lib.loaded = true;
  // Another evaluator of the same compilation (of a test) may have read the file already.
  uint32_t file = 0;
  for (uint32_t f = 1; f <= ev.sources.file_count(); ++f)
    if (ev.sources.file(f).is_library && ev.sources.file(f).path == lib.name) file = f;
  if (file == 0) file = ev.sources.add(lib.name, lib.text, true);
  std::shared_ptr<ast::Program> program = syntax::parse(ev.sources, file, ev.diags);
  ev.impl->asts.push_back(program);
  for (auto& s : program->stmts) define_declaration(*s, ev.std_scope);
  return true;
}

namespace {

// ---------------------------------------------------------------- configs

std::string normal(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// The text of an option as a value of the config's type.
std::optional<Value> parse_option(const std::string& type, const std::string& text, Span span) {
  const char* begin = text.c_str();
  char* end = nullptr;
  errno = 0;
  if (type == "int") {
    std::string plain;
    for (char c : text)
      if (c != '_') plain += c;
    begin = plain.c_str();
    long long v = std::strtoll(begin, &end, 10);
    if (plain.empty() || *end != '\0' || errno != 0) return std::nullopt;
    return Value(Dim(v), span);
  }
  if (type == "float") {
    auto v = nnl::parse_float(text);
    if (!v) return std::nullopt;
    return Value(*v, span);
  }
  if (type == "bool") {
    if (text == "true" || text == "1" || text == "yes") return Value(true, span);
    if (text == "false" || text == "0" || text == "no") return Value(false, span);
    return std::nullopt;
  }
  if (type == "str") return Value(text, span);
  return std::nullopt;
}

void exec_config(Evaluator& ev, const ast::ConfigStmt& s, const std::shared_ptr<Scope>& scope, bool is_main) {
  std::string type = s.type.name && !s.type.has_dims ? s.type.name->text : "";
  if (type != "int" && type != "float" && type != "bool" && type != "str") {
    ev.error(Code::ConfigValue, s.type.span, "a config is an int, a float, a bool or a str");
    scope->define(s.name.text, Poison{}, s.name.span);
    return;
  }
  Value v = ev.eval(*s.value, scope);
  Evaluator::DimBindings dims;
  if (!v.is_poison() &&
      !ev.match_type(s.type, v, dims, scope, s.value->span, fmt::format("the config `{}`", s.name.text)))
    v = Poison{};
  if (v.get<RuntimeValue>() || v.get<TensorValue>()) {
    ev.error(Code::NotStatic, s.value->span, "the default of a config must be known when compiling");
    v = Poison{};
  }
  if (is_main)
    for (auto& [name, text] : ev.options.configs) {
      if (normal(name) != s.name.text) continue;
      if (auto given = parse_option(type, text, s.name.span))
        v = *given;
      else
        ev.error(Code::ConfigValue, s.name.span,
                 fmt::format("the option --{} takes {} {}, but is given \"{}\"", name, type == "int" ? "an" : "a", type,
                             text));
    }
  if (v.span.valid() == false) v.span = s.name.span;
  scope->define(s.name.text, v, s.name.span);
}

// ---------------------------------------------------------------- files

/// Scopes of one file: what it imports, and above it what it declares.
struct FileScopes {
  std::shared_ptr<Scope> imports, own;
};

/// What a file sees besides its own declarations.
std::vector<std::string> outer_names(const FileScopes& f) {
  std::vector<std::string> names = f.imports->visible_names();
  for (const Builtin* b : all_builtins())
    if (b->name.find('.') == std::string_view::npos) names.emplace_back(b->name);
  return names;
}

std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

class Files {
 public:
  explicit Files(Evaluator& ev) : ev_(ev) {}

  FileScopes make_scopes() {
    FileScopes f;
    f.imports = std::make_shared<Scope>(ev_.std_scope);
    f.own = std::make_shared<Scope>(f.imports);
    return f;
  }

  /// Declarations of the whole file, and stand-ins for its values.
  void declare(const ast::Program& program, FileScopes& f, bool is_main) {
    auto declare_once = [&](const ast::Name& name) {
      Scope::Entry* old = f.own->find_here(name.text);
      if (!old) old = f.imports->find_here(name.text);
      if (!old) return true;
      ev_.error(Code::DuplicateName, name.span, fmt::format("`{}` is declared twice in this file", name.text))
          .label(old->span, "first here");
      return false;
    };
    std::function<void(const ast::Pattern&)> later = [&](const ast::Pattern& p) {
      if (p.kind == ast::Pattern::Kind::name && !f.own->find_here(p.name.text))
        f.own->define(p.name.text, NoneValue{}, p.name.span).declared_later = true;
      for (auto& i : p.items) later(i);
    };
    for (auto& s : program.stmts)
      if (auto* i = ast::dyn<ast::ImportStmt>(s.get())) import(*i, program.file, f);
    for (auto& s : program.stmts) {
      switch (s->kind) {
        case Stmt::Kind::fn:
          if (declare_once(ast::as<ast::FnStmt>(*s).name)) define_declaration(*s, f.own);
          break;
        case Stmt::Kind::layer:
          if (declare_once(ast::as<ast::LayerStmt>(*s).name)) define_declaration(*s, f.own);
          break;
        case Stmt::Kind::optimizer:
          if (declare_once(ast::as<ast::OptimizerStmt>(*s).name)) define_declaration(*s, f.own);
          break;
        default:
          break;
      }
    }
    for (auto& s : program.stmts) {
      if (auto* c = ast::dyn<ast::ConfigStmt>(s.get()))
        if (declare_once(c->name)) exec_config(ev_, *c, f.own, is_main);
    }
    for (auto& s : program.stmts) {
      if (auto* l = ast::dyn<ast::LetStmt>(s.get())) later(l->pattern);
      if (auto* v = ast::dyn<ast::VarStmt>(s.get())) {
        ast::Pattern p;
        p.name = v->name;
        later(p);
      }
    }
  }

  /// What the file would have declared isn't known: its names are in no message.
  void failed(const ast::ImportStmt& s, FileScopes& into) {
    if (s.alias)
      into.imports->define(s.alias->text, Poison{}, s.alias->span);
    else
      ev_.impl->import_failed = true;
  }

  static bool is_static(const Value& v) {
    if (auto s = v.ptr<SequenceValue>()) return std::all_of(s->items.begin(), s->items.end(), is_static);
    if (auto r = v.ptr<RecordValue>()) return std::all_of(r->items.begin(), r->items.end(), is_static);
    return !v.get<RuntimeValue>() && !v.get<TensorValue>() && !v.ptr<LayerInstance>() && !v.ptr<DatasetValue>() &&
           !v.ptr<TextValue>() && !v.ptr<OptimizerInstance>();
  }
  void require_static(const ast::LetStmt& let, Scope& scope, const ast::ImportStmt& s) {
    std::function<void(const ast::Pattern&)> visit = [&](const ast::Pattern& p) {
      for (auto& i : p.items) visit(i);
      Scope::Entry* e = p.kind == ast::Pattern::Kind::name ? scope.find_here(p.name.text) : nullptr;
      if (!e || is_static(e->value)) return;
      ev_.error(Code::ImportFailed, let.span,
                fmt::format("this file is imported, so its `let`s are static, but `{}` is {}", p.name.text,
                            describe(e->value)))
          .label(s.path_span, "imported here")
          .help("a function can make it: `fn make() { … }`");
      e->value = Poison{};
    };
    visit(let.pattern);
  }

  void import(const ast::ImportStmt& s, uint32_t from, FileScopes& into) {
    std::string path = (s.path.starts_with("/") ? "" : folder_of(ev_.sources.file(from).path)) + s.path;
    std::error_code ec;
    std::string key = std::filesystem::weakly_canonical(path, ec).string();
    if (ec) key = path;
    auto& im = *ev_.impl;
    if (std::find(im.importing.begin(), im.importing.end(), key) != im.importing.end()) {
      ev_.error(Code::ImportFailed, s.path_span, fmt::format("\"{}\" imports itself", s.path))
          .note("files can't import each other in a circle");
      failed(s, into);
      return;
    }
    std::shared_ptr<Scope> scope;
    if (auto known = im.imported.find(key); known != im.imported.end()) {
      scope = known->second;
    } else {
      std::ifstream in(path, std::ios::binary);
      if (!in || std::filesystem::is_directory(path, ec)) {
        ev_.error(Code::ImportFailed, s.path_span, fmt::format("the file \"{}\" can't be read", path))
            .help("the path is relative to the importing file");
        failed(s, into);
        return;
      }
      std::ostringstream text;
      text << in.rdbuf();
      uint32_t file = 0;
      for (uint32_t f = 1; f <= ev_.sources.file_count(); ++f)
        if (ev_.sources.file(f).path == path) file = f;
      if (file == 0) file = ev_.sources.add(path, text.str());
      const size_t errors = ev_.diags.error_count();
      std::shared_ptr<ast::Program> program = syntax::parse(ev_.sources, file, ev_.diags);
      im.asts.push_back(program);
      if (ev_.diags.error_count() != errors) {
        failed(s, into);
        return;
      }
      im.importing.push_back(key);
      FileScopes f = make_scopes();
      declare(*program, f, false);
      check_names(*program, ev_.diags, outer_names(f), true);
      for (auto& st : program->stmts) {
        switch (st->kind) {
          case Stmt::Kind::fn:
          case Stmt::Kind::layer:
          case Stmt::Kind::optimizer:
          case Stmt::Kind::config:
          case Stmt::Kind::import_:
          case Stmt::Kind::test:
            break;
          case Stmt::Kind::let:
            ev_.exec(*st, f.own);
            require_static(ast::as<ast::LetStmt>(*st), *f.own, s);
            break;
          default:
            ev_.error(Code::ImportFailed, st->span,
                      "this file is imported, so it can hold only declarations, static `let`s and tests")
                .label(s.path_span, "imported here");
        }
      }
      im.importing.pop_back();
      scope = f.own;
      im.imported[key] = scope;
    }
    if (s.alias) {
      auto ns = std::make_shared<NamespaceValue>();
      ns->scope = scope;
      into.imports->define(s.alias->text, Value(ns, s.alias->span), s.alias->span);
      return;
    }
    for (auto& [name, entry] : scope->entries()) {
      if (Scope::Entry* old = into.imports->find_here(name); old && !(old->span == entry->span)) {
        ev_.error(Code::DuplicateName, s.path_span, fmt::format("two imports declare `{}`", name))
            .label(old->span, "one here")
            .label(entry->span, "one here")
            .help("`import \"file.nnl\" as f`, then `f.name`");
        continue;
      }
      into.imports->define(name, entry->value, entry->span);
    }
  }

 private:
  Evaluator& ev_;
};

void exec_seed(Evaluator& ev, const ast::SeedStmt& s, const std::shared_ptr<Scope>& scope) {
  Value v = ev.eval(*s.value, scope);
  if (v.is_poison()) return;
  auto n = static_int(v);
  if (!n) {
    ev.error(Code::ArgumentType, s.value->span, fmt::format("the seed is a static int, but this is {}", describe(v)));
    return;
  }
  if (ev.impl->seed_seen) {
    ev.error(Code::SeedPlacement, s.span, "the seed is set twice");
    return;
  }
  if (ev.impl->first_draw.valid()) {
    ev.error(Code::SeedPlacement, s.span, "the seed must stand above the first random draw")
        .label(ev.impl->first_draw, "drawn here");
    return;
  }
  ev.impl->seed_seen = true;
  ev.program->seed = ev.options.seed.value_or(static_cast<uint64_t>(*n));
}

void exec_precision(Evaluator& ev, const ast::PrecisionStmt& s) {
  if (ev.impl->precision_seen) {
    ev.error(Code::SeedPlacement, s.span, "the precision is set twice");
    return;
  }
  ev.impl->precision_seen = true;
  if (s.name.text == "bf16")
    ev.unsupported(Code::NotSupportedYet, s.span, "`precision bf16`")
        .help("leave it out: products are computed in f32 then");
  else if (s.name.text != "f32")
    ev.error(Code::ArgumentType, s.name.span, fmt::format("there is no precision `{}`", s.name.text))
        .help("`precision bf16` or `precision f32`");
}

void exec_top(Evaluator& ev, const Stmt& s, const std::shared_ptr<Scope>& scope) {
  switch (s.kind) {
    case Stmt::Kind::fn:
    case Stmt::Kind::layer:
    case Stmt::Kind::optimizer:
    case Stmt::Kind::config:
    case Stmt::Kind::import_:
    case Stmt::Kind::test:
      return;
    case Stmt::Kind::seed:
      exec_seed(ev, ast::as<ast::SeedStmt>(s), scope);
      return;
    case Stmt::Kind::precision:
      exec_precision(ev, ast::as<ast::PrecisionStmt>(s));
      return;
    default:
      ev.exec(s, scope);
      ev.impl->flow = Flow::go;
  }
}

// ---------------------------------------------------------------- the finished program

void for_each_block(host::Block& b, const std::function<void(host::Block&)>& on) {
  on(b);
  for (auto& i : b) {
    for_each_block(i->then_block, on);
    for_each_block(i->else_block, on);
    if (i->batches)
      for (auto& v : i->batches->variants) for_each_block(v.body, on);
  }
}

void finish_steps(Evaluator& ev) {
  auto& im = *ev.impl;
  for (auto& [id, state] : im.steps) {
    if (id >= Evaluator::Impl::kScratch) continue;
    host::Step& step = *state.step;
    for (Reg reg : state.written) {
      graph::Node* value = state.newest[reg];
      auto input = state.inputs.find(reg);
      graph::Node* old = input == state.inputs.end() ? nullptr : input->second;
      if (value == old) continue;
      // Someone keeps the value from before: then the new one can't take its place.
      bool kept =
          std::any_of(step.graph.outputs.begin(), step.graph.outputs.end(), [&](auto& o) { return o.value == old; });
      step.graph.outputs.push_back({value, kept ? nullptr : old});
      step.outputs.push_back(reg);
    }
    std::unordered_set<const graph::Node*> live;
    for (auto& o : step.graph.outputs) live.insert(o.value);
    auto& nodes = step.graph.nodes();
    for (auto n = nodes.rbegin(); n != nodes.rend(); ++n)
      if (live.count(*n)) live.insert((*n)->operands.begin(), (*n)->operands.end());
    std::vector<graph::Node*> inputs;
    std::vector<Reg> regs;
    for (size_t i = 0; i < step.graph.inputs.size() && i < step.inputs.size(); ++i) {
      if (!live.count(step.graph.inputs[i])) continue;
      inputs.push_back(step.graph.inputs[i]);
      regs.push_back(step.inputs[i]);
    }
    for (auto& o : step.graph.outputs)
      if (o.updates && !live.count(o.updates)) o.updates = nullptr;
    step.graph.inputs = std::move(inputs);
    step.inputs = std::move(regs);
    step.graph.drop_dead();
  }
  // Steps without a result go, and the others close up.
  std::vector<int> renumber(ev.program->steps.size(), -1);
  std::deque<host::Step> kept;
  for (size_t i = 0; i < ev.program->steps.size(); ++i) {
    if (ev.program->steps[i].graph.outputs.empty()) continue;
    ev.program->steps[i].graph.mark = nullptr;  // it holds on to the evaluator
    renumber[i] = static_cast<int>(kept.size());
    kept.push_back(std::move(ev.program->steps[i]));
  }
  for_each_block(ev.program->body, [&](host::Block& b) {
    std::erase_if(b, [&](auto& i) { return i->op == Op::run_step && renumber[static_cast<size_t>(i->step)] < 0; });
    for (auto& i : b)
      if (i->op == Op::run_step) i->step = renumber[static_cast<size_t>(i->step)];
    std::erase_if(
        b, [&](auto& i) { return i->op == Op::scope && i->then_block.empty() && i.get() != ev.impl->driver_step; });
  });
  for (auto& m : ev.program->mapped)
    if (m->step >= 0) m->step = renumber[static_cast<size_t>(m->step)];
  ev.program->steps = std::move(kept);
}

std::unique_ptr<host::Program> finish(Evaluator& ev) {
  ev.flush();
  finish_layers(ev);
  ev.flush();
  if (ev.diags.has_errors()) return nullptr;
  list_persistents(ev);
  host::Block body = std::move(ev.impl->prologue);
  for (auto& i : ev.program->body) body.push_back(std::move(i));
  ev.program->body = std::move(body);
  finish_steps(ev);
  describe_training(ev);
  return std::move(ev.program);
}

/// Functions, layers and scopes hold one another.
void break_cycles(Evaluator& ev, std::initializer_list<std::shared_ptr<Scope>> scopes) {
  for (auto& layer : ev.impl->instances) {
    if (layer->scope) layer->scope->entries().clear();
    layer->members.clear();
  }
  for (auto& s : scopes)
    if (s) s->entries().clear();
  for (auto& s : ev.impl->closures)
    if (auto scope = s.lock()) scope->entries().clear();
  for (auto& [k, s] : ev.impl->imported) s->entries().clear();
  if (ev.std_scope) ev.std_scope->entries().clear();
}

// ---------------------------------------------------------------- tests

std::set<std::string> words(std::string_view text) {
  std::set<std::string> out;
  std::string word;
  for (char c : text) {
    auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) || c == '_' || u >= 0x80)
      word += c;
    else if (!word.empty()) {
      out.insert(word);
      word.clear();
    }
  }
  if (!word.empty()) out.insert(word);
  return out;
}

void names_of(const ast::Pattern& p, std::vector<std::string>& out) {
  if (p.kind == ast::Pattern::Kind::name) out.push_back(p.name.text);
  for (auto& i : p.items) names_of(i, out);
}

std::vector<std::string> declared_by(const Stmt& s) {
  std::vector<std::string> out;
  switch (s.kind) {
    case Stmt::Kind::let:
      names_of(ast::as<ast::LetStmt>(s).pattern, out);
      break;
    case Stmt::Kind::var:
      out.push_back(ast::as<ast::VarStmt>(s).name.text);
      break;
    case Stmt::Kind::fn:
      out.push_back(ast::as<ast::FnStmt>(s).name.text);
      break;
    case Stmt::Kind::layer:
      out.push_back(ast::as<ast::LayerStmt>(s).name.text);
      break;
    case Stmt::Kind::optimizer:
      out.push_back(ast::as<ast::OptimizerStmt>(s).name.text);
      break;
    default:
      break;
  }
  return out;
}

/// The statements whose names a test or driver needs, directly or through others.
std::set<const Stmt*> needed_by(const ast::Program& program, std::string_view text, const SourceManager& sources) {
  std::set<const Stmt*> out;
  std::set<std::string> names = words(text);
  for (bool grew = true; grew;) {
    grew = false;
    for (auto& s : program.stmts) {
      if (out.count(s.get())) continue;
      for (auto& n : declared_by(*s)) {
        if (!names.count(n)) continue;
        out.insert(s.get());
        for (auto& w : words(sources.text(s->span))) names.insert(w);
        grew = true;
        break;
      }
    }
  }
  return out;
}

/// Of the program's own statements only what is needed. `done`: what was executed already, and is then.
void exec_needed(Evaluator& ev, const ast::Program& program, const std::set<const Stmt*>& needed,
                 const std::shared_ptr<Scope>& scope, std::set<const Stmt*>* done = nullptr) {
  for (auto& s : program.stmts) {
    const bool always = s->kind == Stmt::Kind::seed || s->kind == Stmt::Kind::precision;
    const bool wanted = (s->kind == Stmt::Kind::let || s->kind == Stmt::Kind::var) && needed.count(s.get());
    if ((!always && !wanted) || (done && !done->insert(s.get()).second)) continue;
    exec_top(ev, *s, scope);
  }
}

void compile_test(SourceManager& sources, const std::shared_ptr<ast::Program>& program, const ast::TestStmt& test,
                  const CompileOptions& options, Diagnostics& diags, host::Program& into) {
  Evaluator ev(sources, diags, options);
  open_library(ev);
  ev.impl->asts.push_back(program);
  Files files(ev);
  FileScopes f = files.make_scopes();
  ev.global_scope = f.own;
  files.declare(*program, f, true);
  exec_needed(ev, *program, needed_by(*program, sources.text(test.span), sources), f.own);
  auto scope = std::make_shared<Scope>(f.own);
  for (auto& s : test.body.stmts) {
    ev.exec(*s, scope);
    if (ev.impl->flow != Flow::go) break;
  }
  host::Program::Test t;
  t.title = test.title;
  t.span = test.title_span;
  t.program = finish(ev);
  into.tests.push_back(std::move(t));
  break_cycles(ev, {f.own, f.imports});
}

}  // namespace

// ---------------------------------------------------------------- the doors

namespace {

struct Compilation {
  std::shared_ptr<ast::Program> ast;
  std::unique_ptr<Evaluator> ev;
  FileScopes scopes;
  std::vector<UnusedName> unused;
};

Compilation evaluate(SourceManager& sources, uint32_t file, const CompileOptions& options, Diagnostics& diags) {
  Compilation c;
  c.ast = syntax::parse(sources, file, diags);
  bool parsed = !diags.has_errors();
  c.ev = std::make_unique<Evaluator>(sources, diags, options);
  Evaluator& ev = *c.ev;
  if (options.seed) ev.program->seed = *options.seed;
  open_library(ev);
  ev.impl->asts.push_back(c.ast);
  std::error_code ec;
  ev.impl->importing.push_back(std::filesystem::weakly_canonical(sources.file(file).path, ec).string());
  Files files(ev);
  c.scopes = files.make_scopes();
  ev.global_scope = c.scopes.own;
  if (!parsed) return c;  // what could not be read would be missed in what could
  files.declare(*c.ast, c.scopes, true);
  c.unused = check_names(*c.ast, diags, outer_names(c.scopes), false);
  for (auto& [name, text] : options.configs) {
    std::vector<std::string> known;
    bool found = false;
    for (auto& s : c.ast->stmts)
      if (auto* cfg = ast::dyn<ast::ConfigStmt>(s.get())) {
        known.push_back(cfg->name.text);
        found |= cfg->name.text == normal(name);
      }
    if (found) continue;
    auto d = diags.error(Code::UnknownConfig, {}, fmt::format("the program has no config `{}`", normal(name)));
    if (auto near = nearest(normal(name), known)) d.help(fmt::format("did you mean --{}?", *near));
  }
  return c;
}

}  // namespace

std::unique_ptr<host::Program> compile(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                       Diagnostics& diags) {
  Compilation c = evaluate(sources, file, options, diags);
  Evaluator& ev = *c.ev;
  std::unique_ptr<host::Program> out;
  if (!diags.has_errors() || !c.scopes.own->entries().empty()) {
    if (options.tests) {
      out = std::make_unique<host::Program>();
      for (auto& s : c.ast->stmts)
        if (auto* t = ast::dyn<ast::TestStmt>(s.get())) compile_test(sources, c.ast, *t, options, diags, *out);
      out->seed = ev.program->seed;
    } else {
      for (auto& s : c.ast->stmts) exec_top(ev, *s, c.scopes.own);
      ev.flush();
      finish_layers(ev);
      if (!diags.has_errors()) check_unused_code(ev, *c.ast);
      out = finish(ev);
    }
  }
  break_cycles(ev, {c.scopes.own, c.scopes.imports});
  diags.leave_library(sources);
  if (ev.impl->import_failed) diags.drop(Code::UnknownName);
  if (diags.has_errors()) return nullptr;
  for (auto& u : c.unused)
    diags.warning(Code::UnusedLet, u.span, fmt::format("nothing uses `{}`", u.name))
        .help(fmt::format("`_{}` says that it is meant, `let _ = …` drops the value", u.name));
  return out;
}

void check_declarations(SourceManager& sources, uint32_t file, const CompileOptions& options, Diagnostics& diags) {
  Compilation c = evaluate(sources, file, options, diags);
  break_cycles(*c.ev, {c.scopes.own, c.scopes.imports});
}

std::vector<ConfigInfo> list_configs(SourceManager& sources, uint32_t file, Diagnostics& diags) {
  std::vector<ConfigInfo> out;
  auto program = syntax::parse(sources, file, diags);
  for (auto& s : program->stmts)
    if (auto* c = ast::dyn<ast::ConfigStmt>(s.get()))
      out.push_back(
          {c->name.text, c->type.name ? c->type.name->text : "", c->value ? syntax::to_source(*c->value) : "", c->doc});
  return out;
}

std::vector<LayerInfo> list_layers(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                   Diagnostics& diags) {
  std::vector<LayerInfo> out;
  Compilation c = evaluate(sources, file, options, diags);
  Evaluator& ev = *c.ev;
  if (!diags.has_errors()) {
    for (auto& s : c.ast->stmts) exec_top(ev, *s, c.scopes.own);
    ev.flush();
    finish_layers(ev);
  }
  if (!diags.has_errors()) {
    std::vector<std::shared_ptr<LayerInstance>> roots;
    for (auto& l : ev.impl->instances)
      if (l->path.empty() && !l->adopted && !l->root.empty()) roots.push_back(l);
    for (auto& layer : roots) {
      std::string variable = layer->class_name;
      for (auto& [name, entry] : c.scopes.own->entries())
        if (entry->value.ptr<LayerInstance>() == layer) variable = name;
      out.push_back(describe_layer(ev, layer, variable));
    }
  }
  break_cycles(ev, {c.scopes.own, c.scopes.imports});
  diags.leave_library(sources);
  return out;
}

// ---------------------------------------------------------------- drivers

void LabelRange::narrow(int64_t to_classes, std::optional<int64_t> admitted) {
  ignored = !classes || ignored == admitted ? admitted : std::nullopt;
  classes = std::min(classes.value_or(to_classes), to_classes);
}

TensorValue as_labels(Evaluator& ev, const TensorValue& ints, int64_t classes, Span span) {
  TensorValue out = ints;
  if (ints.type.dtype != graph::DType::i32)
    out = ev.tensor(graph::cast(ev.graph(), ev.node(ints), graph::DType::i32, span), span);
  ints.adapts->narrow(classes, std::nullopt);
  out.classes = Dim(classes);
  return out;
}

namespace {

/// Everything that the step gives, each tensor with its place in the records and tuples around it.
void flatten_outputs(Evaluator& ev, const Value& v, const std::string& name, Span span, DriverProgram& out) {
  auto below = [&](const std::string& part) { return name.empty() ? part : name + "." + part; };
  if (v.is_poison()) return;
  if (auto s = v.ptr<SequenceValue>()) {
    for (size_t i = 0; i < s->items.size(); ++i) flatten_outputs(ev, s->items[i], below(std::to_string(i)), span, out);
    return;
  }
  if (auto r = v.ptr<RecordValue>()) {
    for (size_t i = 0; i < r->items.size(); ++i) flatten_outputs(ev, r->items[i], below(r->names[i]), span, out);
    return;
  }
  if (!v.get<TensorValue>() && !v.get<Dim>() && !v.get<double>() && !v.get<bool>() && !v.get<RuntimeValue>()) {
    ev.error(Code::HostValueNeeded, span, fmt::format("only tensors can be handed out, but this is {}", describe(v)));
    return;
  }
  auto t = ev.to_tensor(v, std::nullopt, span);
  if (!t) return;
  DriverProgram::Output o;
  o.name = name;
  o.type = t->type;
  if (t->classes && t->classes->is_constant()) o.classes = t->classes->value();
  o.reg = ev.reg_of(Value(*t, span), span);
  out.outputs.push_back(std::move(o));
}

void list_state(const OptimizerInstance& opt, DriverProgram& out) {
  const ast::OptimizerStmt& decl = *opt.klass->decl;
  out.state.push_back({"updates", opt.updates});
  for (auto& [cell, count] : opt.own_updates) out.state.push_back({fmt::format("{}.updates", cell->path), count});
  for (size_t g = 0; g < opt.groups.size(); ++g) {
    const OptimizerGroup& group = opt.groups[g];
    out.scheduled |= !group.schedule.is_none();
    out.state.push_back({opt.groups.size() == 1 ? "lr" : fmt::format("groups.{}.lr", g), group.lr});
    for (size_t i = 0; i < group.state.size(); ++i)
      for (size_t k = 0; k < group.state[i].size(); ++k)
        out.state.push_back(
            {fmt::format("{}.{}", group.params[i]->path, decl.states[k].name.text), group.state[i][k].first});
  }
  for (auto& [site, window] : opt.windows) {
    out.state.push_back({"accumulated.count", window.count});
    out.state.push_back({"accumulated.weight", window.weight});
    for (auto& [cell, sum] : window.sums) out.state.push_back({fmt::format("{}.accumulated", cell->path), sum});
  }
}

/// Executes what `text` says, as statements of a file of its own.
void exec_text(Evaluator& ev, const std::string& name, const std::string& text, const std::shared_ptr<Scope>& scope) {
  std::shared_ptr<ast::Program> ast = syntax::parse(ev.sources, ev.sources.add(name, text), ev.diags);
  ev.impl->asts.push_back(ast);
  if (ev.diags.has_errors()) return;
  for (auto& s : ast->stmts) exec_top(ev, *s, scope);
}

void build_driver(Evaluator& ev, const Compilation& c, const Driver& driver, const std::shared_ptr<Scope>& scope,
                  DriverProgram& out) {
  const std::string model = "let model = " + driver.layer;
  std::set<const Stmt*> done;
  exec_needed(ev, *c.ast, needed_by(*c.ast, driver.layer, ev.sources), c.scopes.own, &done);
  exec_text(ev, "<layer>", model, scope);
  if (ev.diags.has_errors()) return;
  Scope::Entry* entry = scope->find_here("model");
  auto layer = entry ? entry->value.ptr<LayerInstance>() : nullptr;
  if (!layer) {
    ev.error(Code::LayerDeclaration, entry ? entry->span : Span{},
             fmt::format("a layer is wanted, but this is {}", entry ? describe(entry->value) : "nothing"));
    return;
  }
  // What only the step needs comes after the layer, whose draws are so the same in every driver.
  exec_needed(ev, *c.ast, needed_by(*c.ast, driver.setup + " " + driver.step, ev.sources), c.scopes.own, &done);
  if (!build_layer(ev, layer)) return;
  if (!driver.setup.empty()) exec_text(ev, "<setup>", driver.setup, scope);
  if (ev.diags.has_errors()) return;
  if (!driver.step.empty()) {
    std::vector<std::shared_ptr<LabelRange>> adapted;
    for (const Driver::Input& input : driver.inputs) {
      host::Type type = host_type(host::Type::Kind::tensor);
      type.tensor = input.type;
      type.classes = input.classes.value_or(0);
      out.inputs.push_back(ev.new_reg(type));
      Value v = ev.from_reg(out.inputs.back(), type, {});
      adapted.push_back(std::make_shared<LabelRange>(LabelRange{input.classes, {}}));
      if (input.adapts && !input.classes) v.get<TensorValue>()->adapts = adapted.back();
      scope->define(input.name, std::move(v), {}).used = true;
    }
    host::Instr& step = ev.emit(Op::scope, {});
    step.label = ev.impl->labels++;
    out.step = ev.impl->driver_step = &step;
    ev.begin_block(step.then_block);
    // A step is a pass of the caller's loop, whose end nobody knows: `accumulate` goes on from step to step.
    ev.loop_end_actions.emplace_back();
    exec_text(ev, "<step>", "let result = " + driver.step, scope);
    if (Scope::Entry* result = scope->find_here("result"); result && !ev.diags.has_errors())
      flatten_outputs(ev, result->value, "", result->span, out);
    ev.loop_end_actions.pop_back();
    ev.end_block();
    for (auto& a : adapted) out.labels.push_back(*a);
  }
  out.root = layer->root;
  for (auto& [site, reg] : ev.impl->draw_counters)
    out.state.push_back({fmt::format("draws.{}", out.state.size()), reg});
  if (Scope::Entry* opt = scope->find_here("opt"))
    if (auto o = opt->value.ptr<OptimizerInstance>()) list_state(*o, out);
}

}  // namespace

std::optional<DriverProgram> compile_driver(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                            const Driver& driver, Diagnostics& diags) {
  Compilation c = evaluate(sources, file, options, diags);
  Evaluator& ev = *c.ev;
  DriverProgram out;
  auto scope = std::make_shared<Scope>(c.scopes.own);
  if (!diags.has_errors()) {
    build_driver(ev, c, driver, scope, out);
    out.program = finish(ev);
  }
  scope->entries().clear();
  break_cycles(ev, {c.scopes.own, c.scopes.imports});
  if (diags.has_errors() || !out.program) return std::nullopt;
  return out;
}

std::unique_ptr<host::Program> compile_layer(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                             const std::string& name, LayerExport& out, Diagnostics& diags) {
  Compilation c = evaluate(sources, file, options, diags);
  Evaluator& ev = *c.ev;
  std::unique_ptr<host::Program> program;
  if (!diags.has_errors()) {
    for (auto& s : c.ast->stmts) exec_top(ev, *s, c.scopes.own);
    ev.flush();
    finish_layers(ev);
  }
  if (!diags.has_errors())
    if (auto layer = find_exported(ev, c.scopes.own, name); layer && export_forward(ev, layer, out)) {
      ev.flush();
      program = finish(ev);
    }
  break_cycles(ev, {c.scopes.own, c.scopes.imports});
  return diags.has_errors() ? nullptr : std::move(program);
}

}  // namespace nnlc::sema

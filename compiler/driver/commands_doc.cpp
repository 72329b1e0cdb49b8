// nnlc explain and nnlc doc: what nnlc knows about its own messages and library.
#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <iostream>

#include "compiler/driver/session.h"
#include "compiler/sema/std_sources.h"
#include "compiler/syntax/parser.h"

namespace nnlc::driver {

namespace {

struct Declaration {
  std::string name, kind, doc, text;
};

/// Everything that the standard library declares, in the order of its files.
std::vector<Declaration> library(Session& session) {
  std::vector<Declaration> out;
  for (const sema::StdSource& source : sema::kStdSources) {
    const uint32_t file = session.sources.add(source.name, source.text, /*is_library=*/true);
    Diagnostics ignored;
    auto ast = syntax::parse(session.sources, file, ignored);
    for (const auto& stmt : ast->stmts) {
      Declaration d;
      if (auto* fn = ast::dyn<ast::FnStmt>(stmt.get()))
        d = {fn->name.text, "fn", stmt->doc, {}};
      else if (auto* layer = ast::dyn<ast::LayerStmt>(stmt.get()))
        d = {layer->name.text, "layer", stmt->doc, {}};
      else if (auto* optimizer = ast::dyn<ast::OptimizerStmt>(stmt.get()))
        d = {optimizer->name.text, "optimizer", stmt->doc, {}};
      else
        continue;
      d.text = std::string(session.sources.text(stmt->span));
      out.push_back(std::move(d));
    }
  }
  return out;
}

}  // namespace

int explain_command(const Options& options) {
  std::string word = options.files[0];
  if (word.ends_with(".nnl") || std::filesystem::exists(word)) return explain_program(options);
  size_t start = !word.empty() && (word[0] == 'N' || word[0] == 'n') ? 1 : 0;
  unsigned number = 0;
  bool digits = start < word.size() && word.size() - start <= 5;
  for (size_t i = start; digits && i < word.size(); ++i) {
    digits = std::isdigit(static_cast<unsigned char>(word[i])) != 0;
    number = number * 10 + static_cast<unsigned>(word[i] - '0');
  }
  const CodeInfo* info = digits && number <= 0xffff ? find_code(static_cast<uint16_t>(number)) : nullptr;
  if (!info) {
    std::cerr << fmt::format("nnlc: `{}` is not a code of nnlc's diagnostics; they look like N0203\n", word);
    return kBadUsage;
  }
  std::cout << fmt::format("N{:04}: {}\n\n{}", info->number, info->title, info->page);
  if (!info->page.empty() && info->page.back() != '\n') std::cout << '\n';
  return kDone;
}

int doc_command(const Options& options) {
  Session session(options);
  const std::vector<Declaration> all = library(session);
  const std::vector<sema::BuiltinInfo> builtins = sema::list_builtins();
  if (options.files.empty()) {
    for (const Declaration& d : all)
      std::cout << fmt::format("{:<10} {:<24} {}\n", d.kind, d.name, d.doc.substr(0, d.doc.find('\n')));
    for (const sema::BuiltinInfo& b : builtins)
      if (!b.name.starts_with("__")) std::cout << fmt::format("{:<10} {:<24} {}\n", "built in", b.name, b.doc);
    return kDone;
  }
  std::vector<std::string> names;
  bool found = false;
  for (const Declaration& d : all) {
    names.push_back(d.name);
    if (d.name != options.files[0]) continue;
    std::string doc = d.doc;
    if (found) std::cout << '\n';
    for (size_t at = 0; !doc.empty() && at != std::string::npos;) {
      const size_t end = doc.find('\n', at);
      std::cout << "## " << doc.substr(at, end == std::string::npos ? end : end - at) << '\n';
      at = end == std::string::npos ? end : end + 1;
    }
    std::cout << d.text << '\n';
    found = true;
  }
  for (const sema::BuiltinInfo& b : builtins) {
    names.emplace_back(b.name);
    // A method by its own name too: `batches` for `dataset.batches`.
    const size_t dot = b.name.find('.');
    if (b.name != options.files[0] && (dot == std::string_view::npos || b.name.substr(dot + 1) != options.files[0]))
      continue;
    if (found) std::cout << '\n';
    std::cout << fmt::format("## {}\n{}({})  # built in\n", b.doc, b.name, b.signature);
    found = true;
  }
  if (found) return kDone;
  std::cerr << fmt::format("nnlc: there is no `{}`", options.files[0]);
  if (auto near = nearest(options.files[0], names)) std::cerr << fmt::format(": did you mean `{}`?", *near);
  std::cerr << '\n';
  return kBadUsage;
}

}  // namespace nnlc::driver

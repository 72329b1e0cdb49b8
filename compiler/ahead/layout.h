// The C side of a model: identifiers, structs as a C compiler lays them out.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/graph/types.h"
#include "compiler/host/program.h"

namespace nnlc::ahead {

/// "hidden_layer.weight" as "hidden_layer_weight"; no keyword of C or C++.
std::string c_identifier(std::string_view path);
/// A class' or variable's name as the prefix of functions: "MyNet" as "my_net".
std::string c_prefix(std::string_view name);
std::string upper(std::string_view s);
std::string c_type(graph::DType t);  ///< "float"; 16-bit floats are "uint16_t"

/// Identifiers of one scope, each once.
class Names {
 public:
  std::string add(std::string wanted);

 private:
  std::set<std::string> taken_;
};

struct Field {
  std::string name;  ///< in C
  std::string note;  ///< "hidden_layer.weight: f32[392, 784]"
  graph::TensorType type;
  host::Reg reg = host::kNoReg;
  int64_t offset = 0, bytes = 0;
  int64_t elements() const;
};

struct Struct {
  std::vector<Field> fields;
  int64_t bytes = 0;  ///< with the padding at the end

  /// Appends a member where C puts it.
  Field& add(std::string name, std::string note, graph::TensorType type, host::Reg reg);
  const Field* find(host::Reg reg) const;

 private:
  Names names_;
  int64_t end_ = 0, alignment_ = 1;
};

}  // namespace nnlc::ahead

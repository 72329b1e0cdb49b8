// Names and structs of models built ahead of time.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>

#include "compiler/ahead/layout.h"

using namespace nnlc;
using namespace nnlc::ahead;

TEST_CASE("paths become names of C") {
  CHECK(c_identifier("hidden_layer.weight") == "hidden_layer_weight");
  CHECK(c_identifier("0.weight") == "_0_weight");
  CHECK(c_identifier("blocks.11.q") == "blocks_11_q");
  CHECK(c_identifier("größe") == "gru00f6u00dfe");
  CHECK(c_identifier("class") == "class_");
  CHECK(c_identifier("float") == "float_");
  CHECK(c_identifier("") == "_");
}

TEST_CASE("the prefix is the layer's name in small letters") {
  CHECK(c_prefix("Classifier") == "classifier");
  CHECK(c_prefix("MyNet") == "my_net");
  CHECK(c_prefix("HTTPNet2") == "http_net2");
  CHECK(c_prefix("net") == "net");
  CHECK(c_prefix("My_Net") == "my_net");
  CHECK(c_prefix("Class") == "class_");
}

TEST_CASE("names of one scope differ") {
  Names names;
  CHECK(names.add("a_b") == "a_b");
  CHECK(names.add("a_b") == "a_b_2");
  CHECK(names.add("a_b") == "a_b_3");
}

TEST_CASE("members stand where a C compiler puts them") {
  struct Example {
    uint8_t flag;
    double rate;
    uint16_t half[3];
    int32_t status;
    int8_t last;
  };
  using graph::DType;
  Struct s;
  s.add("flag", "", {DType::boolean, {}}, 1);
  s.add("rate", "", {DType::f64, {}}, 2);
  s.add("half", "", {DType::bf16, {graph::Dim(3)}}, 3);
  s.add("status", "", {DType::i32, {}}, 4);
  s.add("last", "", {DType::i8, {}}, 5);
  CHECK(s.find(1)->offset == offsetof(Example, flag));
  CHECK(s.find(2)->offset == offsetof(Example, rate));
  CHECK(s.find(3)->offset == offsetof(Example, half));
  CHECK(s.find(4)->offset == offsetof(Example, status));
  CHECK(s.find(5)->offset == offsetof(Example, last));
  CHECK(s.bytes == sizeof(Example));
  CHECK(s.find(6) == nullptr);
}

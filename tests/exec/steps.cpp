// Steps and their buffers: updates in place, values that are shared, numbers that go in and out; files; comparisons.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "tests/exec/programs.h"

using namespace nnlc;
using namespace nnlc::exec;
using namespace nnlc::exec::test;
using graph::DType;

namespace {

const graph::TensorType kScalar = tensor_type(DType::f32, {}).tensor;
const graph::TensorType kPair = tensor_type(DType::f32, {2}).tensor;

float* f32(void* p) { return static_cast<float*>(p); }

Reg pair_of(Builder& b, double x, double y) {
  const Reg list = b.reg(any_list()), t = b.reg(tensor_type(DType::f32, {2}));
  b.call("list_new", {b.number(x), b.number(y)}, list);
  b.call("tensor_from_list", {list}, t, {"f32"});
  return t;
}

std::string temporary(const char* name) {
  return (std::filesystem::temp_directory_path() / fmt::format("nnlc-test-{}-{}", getpid(), name)).string();
}

}  // namespace

TEST_CASE("an update in place copies first where another register holds the tensor") {
  Builder b;
  const Reg p = pair_of(b, 1, 2), before = b.reg(tensor_type(DType::f32, {2}));
  Instr& copy = b.emit(Op::copy);
  copy.args = {p};
  copy.dst = before;
  b.step("add one", {p}, {p}, {0}, {kPair}, {kPair}, [](void* const* buffers) {
    CHECK(buffers[0] == buffers[1]);
    for (int i = 0; i < 2; ++i) f32(buffers[1])[i] = f32(buffers[0])[i] + 1;
  });
  b.print({p, before});
  CHECK(b.run() == "tensor([2., 3.]) tensor([1., 2.])\n");
}

TEST_CASE("an update in place keeps its buffer, and other outputs keep theirs, from run to run") {
  Builder b;
  const Reg p = pair_of(b, 0, 0), out = b.reg(tensor_type(DType::f32, {})), lo = b.integer(0), hi = b.integer(5);
  std::vector<void*> seen;
  Instr& loop = b.emit(Op::loop_range);
  loop.args = {lo, hi};
  loop.dst = b.reg(i64());
  b.blocks.push_back(&loop.then_block);
  b.step("step", {p, loop.dst}, {p, out}, {0, -1}, {kPair, kScalar}, {kPair, kScalar}, [&](void* const* buffers) {
    for (int i = 0; i < 2; ++i) f32(buffers[2])[i] += f32(buffers[1])[0];
    f32(buffers[3])[0] = f32(buffers[2])[0] + f32(buffers[2])[1];
    seen.push_back(buffers[0]);
    seen.push_back(buffers[3]);
  });
  b.blocks.pop_back();
  b.print({p, out});
  CHECK(b.run() == "tensor([10., 10.]) 20.0\n");
  REQUIRE(seen.size() == 10);
  for (size_t i = 2; i < seen.size(); ++i) CHECK(seen[i] == seen[i % 2]);
  CHECK(b.backend.compiled == 1);
}

TEST_CASE("a register that a step both reads and writes has two buffers") {
  Builder b;
  const Reg x = pair_of(b, 1, 2), lo = b.integer(0), hi = b.integer(3);
  Instr& loop = b.emit(Op::loop_range);
  loop.args = {lo, hi};
  loop.dst = b.reg(i64());
  b.blocks.push_back(&loop.then_block);
  b.step("swap", {x}, {x}, {-1}, {kPair}, {kPair}, [](void* const* buffers) {
    CHECK(buffers[0] != buffers[1]);
    f32(buffers[1])[0] = f32(buffers[0])[1];
    f32(buffers[1])[1] = f32(buffers[0])[0] * 2;
  });
  b.blocks.pop_back();
  b.print({x});
  CHECK(b.run() == "tensor([4., 4.])\n");
}

TEST_CASE("an updated input that is also read under another name") {
  Builder b;
  const Reg x = pair_of(b, 1, 2);
  b.step("both", {x, x}, {x}, {0}, {kPair, kPair}, {kPair}, [](void* const* buffers) {
    CHECK(buffers[0] == buffers[2]);
    CHECK(buffers[1] != buffers[2]);
    f32(buffers[2])[0] = 10;
    f32(buffers[2])[1] = f32(buffers[1])[0];
  });
  b.print({x});
  CHECK(b.run() == "tensor([10.,  1.])\n");
}

TEST_CASE("host numbers are converted to the type of the input, and back") {
  Builder b;
  const graph::TensorType counter = tensor_type(DType::i64, {}).tensor, small = tensor_type(DType::u8, {}).tensor;
  const Reg n = b.integer(41), rate = b.number(0.5), out = b.reg(f64());
  b.step("count", {n, rate}, {n, out}, {0, -1}, {counter, kScalar}, {counter, kScalar}, [](void* const* buffers) {
    ++*static_cast<int64_t*>(buffers[2]);
    *f32(buffers[3]) = *f32(buffers[1]) * 3;
  });
  b.print({n, out});
  b.step("small", {b.integer(256)}, {b.reg(tensor_type(DType::u8, {}))}, {-1}, {small}, {small}, [](void* const*) {});
  CHECK(b.run() == "error: 256 doesn't fit u8");
  CHECK(b.output == "42 1.5\n");
}

TEST_CASE("tensors from lists and back") {
  Builder b;
  const Reg row = b.reg(any_list()), list = b.reg(any_list()), t = b.reg(tensor_type(DType::i64, {2, 2})),
            back = b.reg(any_list());
  b.call("list_new", {b.integer(1), b.integer(2)}, row);
  b.call("list_new", {row, row}, list);
  b.call("tensor_from_list", {list}, t, {"i64"});
  b.call("tensor_to_list", {t}, back);
  const Reg item = b.reg(i64()), second = b.reg(tensor_type(DType::i64, {2}));
  b.call("item", {t, b.integer(-1), b.integer(0)}, item);
  b.call("tensor_get", {t, b.integer(1)}, second);
  b.print({back, item, second});
  CHECK(b.run() == "[[1, 2], [1, 2]] 1 tensor([1, 2])\n");

  Builder ragged;
  const Reg one = ragged.reg(any_list()), two = ragged.reg(any_list()), both = ragged.reg(any_list());
  ragged.call("list_new", {ragged.integer(1), ragged.integer(2)}, one);
  ragged.call("list_new", {ragged.integer(1)}, two);
  ragged.call("list_new", {one, two}, both);
  ragged.call("tensor_from_list", {both}, ragged.reg(tensor_type(DType::i64, {2, 2})), {"i64"});
  CHECK(ragged.run() == "error: the list at [1] has length 1, the first one at this level has 2");
}

TEST_CASE("assert_close: tolerances by type, shapes, the worst place") {
  auto compare = [](Value x, Value y) {
    Builder b;
    const Reg r = b.reg(f64()), s = b.reg(f64());
    b.call("assert_close", {r, s});
    Diagnostics diags;
    Machine machine(b.program, b.backend, b.options());
    Machine::Impl impl(b.program, b.backend, b.options());
    impl.set(r, x);
    impl.set(s, y);
    try {
      impl.run_block(b.program.body);
      return std::string("close");
    } catch (const Failure& f) {
      return f.message;
    }
  };
  auto f32s = [](std::vector<float> v) {
    return Value(Tensor::copy_of(NNL_F32, {static_cast<int64_t>(v.size())}, v.data()));
  };
  CHECK(compare(f32s({1, 2}), f32s({1.000001f, 2})) == "close");
  CHECK(compare(f32s({1, 2}), f32s({1.1f, 2.2f})) == "2 of 2 elements aren't close");
  CHECK(compare(f32s({1, NAN}), f32s({1, NAN})) == "1 of 2 elements aren't close");
  CHECK(compare(f32s({1, 2}), Value(1.0)) == "shapes differ, [2] and []");
  CHECK(compare(Value(1.0), Value(1.00001)) == "1.0 isn't close to 1.00001");
  CHECK(compare(Value(Tensor::scalar(NNL_F32, 1.0f)), Value(1.000001)) == "close");  // f32's tolerance
  CHECK(compare(Value(int64_t{3}), Value(int64_t{3})) == "close");
  CHECK(compare(Value(int64_t{3}), Value(int64_t{4})) == "3 isn't close to 4");
}

TEST_CASE("save and load: names below a prefix, a report by name, nothing half done") {
  const std::string path = temporary("weights.safetensors");
  auto with_persistents = [](Builder& b, const char* second) {
    const Reg w = pair_of(b, 1, 2), v = pair_of(b, 3, 4);
    b.program.persistents.push_back({"body.weight", "Net#0", w, kPair, true, {}});
    b.program.persistents.push_back({second, "Net#0", v, kPair, true, {}});
    return std::pair{w, v};
  };
  {
    Builder b;
    with_persistents(b, "head.weight");
    b.call("save", {b.text(path)}, host::kNoReg, {"Net#0", ""});
    CHECK(b.run() == "");
  }
  {
    Builder b;  // strict: another name is an error that lists both, and nothing changes
    const auto [w, v] = with_persistents(b, "tail.weight");
    b.step("clear", {w}, {w}, {0}, {kPair}, {kPair},
           [](void* const* buffers) { f32(buffers[1])[0] = f32(buffers[1])[1] = 0; });
    b.call("load", {b.text(path)}, host::kNoReg, {"Net#0", ""});
    Diagnostics diags;
    Machine machine(b.program, b.backend, b.options());
    CHECK(machine.run(diags) == 3);
    REQUIRE(diags.all().size() == 1);
    REQUIRE(diags.all()[0].notes.size() == 2);
    CHECK(diags.all()[0].notes[0] == "missing in the file: tail.weight");
    CHECK(diags.all()[0].notes[1] == "left over in the file: head.weight");
  }
  {
    Builder b;  // renamed
    const auto [w, v] = with_persistents(b, "tail.weight");
    b.step("clear", {w, v}, {w, v}, {0, 1}, {kPair, kPair}, {kPair, kPair}, [](void* const* buffers) {
      for (int i = 0; i < 2; ++i) f32(buffers[2])[i] = f32(buffers[3])[i] = 0;
    });
    b.call("load", {b.text(path)}, host::kNoReg, {"Net#0", "", "head.", "tail."});
    b.print({w, v});
    CHECK(b.run() == "tensor([1., 2.]) tensor([3., 4.])\n");
    CHECK(b.reported == "");
  }
  {
    Builder b;  // not strict
    with_persistents(b, "tail.weight");
    const Reg report = b.reg(type(host::Type::Kind::record));
    Instr& load = b.call("load", {b.text(path)}, report, {"Net#0", ""});
    load.options.emplace_back("strict", b.truth(false));
    std::swap(b.program.body[b.program.body.size() - 1], b.program.body[b.program.body.size() - 2]);
    b.print({report});
    CHECK(b.run() == "{missing: [\"tail.weight\"], left_over: [\"head.weight\"], reshaped: []}\n");
    CHECK(b.reported.find("1 of 2 loaded") != std::string::npos);
  }
  {
    Builder b;  // a part of it
    with_persistents(b, "head.weight");
    b.call("load", {b.text(path)}, host::kNoReg, {"Net#0", "body"});
    CHECK(b.run().find("doesn't fit") != std::string::npos);
  }
  std::filesystem::remove(path);
}

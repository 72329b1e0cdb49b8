// Control flow, operators and text.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tests/exec/programs.h"

using namespace nnlc;
using namespace nnlc::exec;
using namespace nnlc::exec::test;

namespace {

std::string op_text(const std::string& op, Value a, Value b) {
  try {
    return to_text(binary_op(op, a, b, {}));
  } catch (const Failure& f) {
    return "error: " + f.message;
  }
}
Value I(int64_t v) { return Value(v); }
Value F(double v) { return Value(v); }

/// Numbers 0, 1, 2, …: {x: f32[2], y: i32[]}.
class Counting : public nnl::data::Dataset {
 public:
  explicit Counting(int64_t n) : n_(n) {
    fields_ = {{"x", NNL_F32, {2}, 0, false, {}}, {"y", NNL_I32, {}, 0, false, {}}};
  }
  const std::vector<nnl::data::Field>& fields() const override { return fields_; }
  int64_t size() const override { return n_; }
  void read(const int64_t* rows, int64_t n, void* const* out) const override {
    for (int64_t i = 0; i < n; ++i) {
      if (out[0])
        static_cast<float*>(out[0])[2 * i] = static_cast<float*>(out[0])[2 * i + 1] = static_cast<float>(rows[i]);
      if (out[1]) static_cast<int32_t*>(out[1])[i] = static_cast<int32_t>(rows[i]);
    }
  }
  std::string name() const override { return "counting"; }

 private:
  int64_t n_;
  std::vector<nnl::data::Field> fields_;
};

}  // namespace

TEST_CASE("ints are checked, and divide as the language says") {
  CHECK(op_text("+", I(2), I(3)) == "5");
  CHECK(op_text("+", I(INT64_MAX), I(1)) == "error: 9223372036854775807 + 1 doesn't fit into 64 bits");
  CHECK(op_text("*", I(INT64_MIN), I(-1)).starts_with("error: "));
  CHECK(op_text("//", I(INT64_MIN), I(-1)).starts_with("error: "));
  CHECK(op_text("%", I(INT64_MIN), I(-1)) == "0");
  CHECK(op_text("/", I(6), I(3)) == "2");
  CHECK(op_text("/", I(7), I(2)) == "error: 7 / 2 isn't exact");
  CHECK(op_text("//", I(-7), I(2)) == "-4");
  CHECK(op_text("%", I(-7), I(2)) == "1");
  CHECK(op_text("%", I(7), I(-2)) == "-1");
  CHECK(op_text("/", I(1), I(0)) == "error: 1 / 0: division by zero");
  CHECK(op_text("**", I(3), I(4)) == "81");
  CHECK(op_text("**", I(2), I(63)).starts_with("error: "));
  CHECK(op_text("**", I(-2), I(63)) == "-9223372036854775808");
  CHECK(op_text("**", I(2), I(-1)).starts_with("error: "));
}

TEST_CASE("floats, and ints with floats") {
  CHECK(op_text("+", I(1), F(0.5)) == "1.5");
  CHECK(op_text("/", F(1), F(0)) == "inf");
  CHECK(op_text("%", F(-7), F(2)) == "1.0");
  CHECK(op_text("//", F(-7), F(2)) == "-4.0");
  CHECK(op_text("<", I(1), F(1.5)) == "true");
  CHECK(op_text("==", I(1), F(1)) == "true");
  CHECK(op_text("==", F(NAN), F(NAN)) == "false");
  CHECK(op_text("+", Value::str("a"), Value::str("b")) == "ab");
  CHECK(op_text("and", Value(true), Value(false)) == "false");
  CHECK(op_text("+", Value(Tensor::scalar(NNL_F32, 0.5f)), I(1)) == "1.5");
}

TEST_CASE("conversions") {
  CHECK(to_text(unary_op("int", F(-2.7), {})) == "-2");
  CHECK_THROWS_AS(unary_op("int", F(NAN), {}), Failure);
  CHECK_THROWS_AS(unary_op("int", F(9.3e18), {}), Failure);
  CHECK_THROWS_AS(unary_op("neg", I(INT64_MIN), {}), Failure);
  CHECK(to_text(unary_op("float", I(2), {})) == "2.0");
  CHECK(to_text(unary_op("item", Value(Tensor::scalar<int64_t>(NNL_I64, 7)), {})) == "7");
}

TEST_CASE("print's form") {
  CHECK(to_text(Value(Tensor::scalar(NNL_F32, 0.1f))) == "0.1");
  CHECK(to_text(Value::list({I(1), Value::str("a\"b"), F(2)})) == "[1, \"a\\\"b\", 2.0]");
  CHECK(to_text(Value::list({I(1)}, true)) == "(1,)");
  CHECK(to_text(Value::record({"x", "y"}, {I(1), Value(true)})) == "{x: 1, y: true}");
  CHECK(to_text(Value()) == "None");
}

TEST_CASE("loops, break, continue") {
  Builder b;
  const Reg lo = b.integer(0), hi = b.integer(10), three = b.integer(3), six = b.integer(6);
  Instr& loop = b.emit(Op::loop_range);
  loop.args = {lo, hi};
  const Reg k = loop.dst = b.reg(i64());
  b.blocks.push_back(&loop.then_block);
  const Reg is_three = b.binary("==", k, three, boolean());
  Instr& skip = b.emit(Op::if_);
  skip.args = {is_three};
  b.blocks.push_back(&skip.then_block);
  b.emit(Op::continue_);
  b.blocks.pop_back();
  const Reg is_six = b.binary("==", k, six, boolean());
  Instr& stop = b.emit(Op::if_);
  stop.args = {is_six};
  b.blocks.push_back(&stop.then_block);
  b.emit(Op::break_);
  b.blocks.pop_back();
  b.print({k});
  b.blocks.pop_back();
  b.print({b.text("end")});
  CHECK(b.run() == "0\n1\n2\n4\n5\nend\n");
}

TEST_CASE("while runs its condition before each pass") {
  Builder b;
  const Reg n = b.integer(3), zero = b.integer(0), one = b.integer(1);
  Instr& loop = b.emit(Op::loop_while);
  b.blocks.push_back(&loop.else_block);
  loop.args = {b.binary(">", n, zero, boolean())};
  b.blocks.back() = &loop.then_block;
  b.print({n});
  b.binary("-", n, one, i64(), n);
  b.blocks.pop_back();
  CHECK(b.run() == "3\n2\n1\n");
}

TEST_CASE("leave ends the scope of its label, through loops and other scopes") {
  Builder b;
  Instr& outer = b.emit(Op::scope);
  outer.label = 1;
  b.blocks.push_back(&outer.then_block);
  Instr& loop = b.emit(Op::loop_list);
  const Reg list = b.reg(any_list());
  b.blocks.push_back(&loop.then_block);
  Instr& inner = b.emit(Op::scope);
  inner.label = 2;
  b.blocks.push_back(&inner.then_block);
  loop.dst = b.reg(i64());
  b.print({loop.dst});
  b.emit(Op::leave).label = 1;
  b.blocks = {&b.program.body};
  loop.args = {list};
  b.print({b.text("after")});
  // The list is made before the scope.
  Block head;
  b.blocks = {&head};
  b.call("list_new", {b.integer(7), b.integer(8)}, list);
  for (auto& i : b.program.body) head.push_back(std::move(i));
  b.program.body = std::move(head);
  CHECK(b.run() == "7\nafter\n");
}

TEST_CASE("a list changed in one register stays as it was in another") {
  Builder b;
  const Reg a = b.reg(any_list()), copy = b.reg(any_list());
  b.call("list_new", {b.integer(1)}, a);
  Instr& i = b.emit(Op::copy);
  i.args = {a};
  i.dst = copy;
  b.call("list_append", {a, b.integer(2)}, a);
  b.call("list_append", {a, b.integer(3)}, a);
  b.print({a, copy});
  CHECK(b.run() == "[1, 2, 3] [1]\n");
}

TEST_CASE("format interleaves pieces and specifications") {
  Builder b;
  const Reg s = b.reg(str());
  b.call("format", {b.integer(3), b.number(0.98234)}, s, {"epoch ", "", ": ", ".2%", "!"});
  b.print({s});
  CHECK(b.run() == "epoch 3: 98.23%!\n");
}

TEST_CASE("what fails has a message and status 3") {
  int status = 0;
  {
    Builder b;
    const Reg list = b.reg(any_list());
    b.call("list_new", {b.integer(1)}, list);
    b.call("list_get", {list, b.integer(1)}, b.reg(i64()));
    CHECK(b.run(&status) == "error: index 1 is outside of a list of length 1");
    CHECK(status == 3);
  }
  {
    Builder b;
    b.emit(Op::assert_).args = {b.truth(false), b.text("no luck")};
    CHECK(b.run(&status) == "error: assertion failed: no luck");
  }
  {
    Builder b;
    const Reg loss = b.number(NAN);
    b.emit(Op::check_finite).args = {loss};
    CHECK(b.run(&status) == "error: the loss is NaN");
    CHECK(status == 3);
  }
}

TEST_CASE("orders of batches: all rows once, another for each pass and key, the same again") {
  const auto order = batch_order(1000, true, false, 5, 0);
  CHECK(std::set<int64_t>(order.begin(), order.end()).size() == 1000);
  CHECK(order == batch_order(1000, true, false, 5, 0));
  CHECK(order != batch_order(1000, true, false, 5, 1));
  CHECK(order != batch_order(1000, true, false, 6, 0));
  CHECK(batch_order(4, false, false, 5, 0) == std::vector<int64_t>{0, 1, 2, 3});
  const auto drawn = batch_order(1000, false, true, 5, 0);
  const size_t distinct = std::set<int64_t>(drawn.begin(), drawn.end()).size();
  CHECK(distinct > 580);  // 1 - 1/e of them
  CHECK(distinct < 690);
}

TEST_CASE("batches: the short one at the end, drop_last, the number of the pass") {
  for (const bool drop_last : {false, true}) {
    Builder b;
    const Reg passes = b.integer(0);
    Instr& loop = b.emit(Op::loop_batches);
    loop.batches = std::make_unique<host::BatchLoop>();
    host::BatchLoop& l = *loop.batches;
    l.dataset = std::make_shared<Counting>(5);
    l.batch_size = 2;
    l.drop_last = drop_last;
    l.passes = passes;
    l.rows = b.reg(i64());
    l.index = b.reg(i64());
    l.fields = {host::kNoReg, b.reg(tensor_type(graph::DType::i32, {2}))};
    for (int64_t rows : {2, 1}) {
      l.variants.push_back({rows, {}});
      b.blocks.push_back(&l.variants.back().body);
      const Reg first = b.reg(i64());
      b.call("item", {l.fields[1], b.integer(0)}, first);
      b.print({l.index, l.rows, first});
      b.blocks.pop_back();
    }
    b.print({passes});
    CHECK(b.run() == (drop_last ? "0 2 0\n1 2 2\n1\n" : "0 2 0\n1 2 2\n2 1 4\n1\n"));
  }
}

#include <doctest/doctest.h>

#include "compiler/graph/dim.h"

using nnlc::graph::Dim;

static Dim N() { return Dim::symbol("N"); }
static Dim H() { return Dim::symbol("H"); }

TEST_CASE("dims have one normal form") {
  CHECK((N() + Dim(1)) * (N() - Dim(1)) == N() * N() - Dim(1));
  CHECK(N() + H() == H() + N());
  CHECK(N() - N() == Dim(0));
  CHECK((N() - N()).is_constant());
  CHECK(!(N() == H()));
  CHECK(Dim(6) * Dim(7) == Dim(42));
  CHECK((Dim(2) * N() + Dim(1)).hash() == (Dim(1) + N() + N()).hash());
}

TEST_CASE("dims as text") {
  CHECK((Dim(2) * N() + Dim(1)).str() == "2 * N + 1");
  CHECK((Dim(1) - N()).str() == "-N + 1");
  CHECK(Dim::floor_div(H(), 2).str() == "H // 2");
  CHECK((Dim(3) * Dim::floor_div(H(), 2)).str() == "3 * (H // 2)");
  CHECK((Dim(0) - Dim::floor_div(H() + N(), 4)).str() == "-((H + N) // 4)");
  CHECK((N() * H() * N()).str() == "H * N * N");
  CHECK(nnlc::graph::str(nnlc::graph::Shape{N(), 784}) == "[N, 784]");
}

TEST_CASE("division") {
  CHECK(Dim::exact_div(Dim(4) * N() * H(), Dim(2) * H()) == Dim(2) * N());
  CHECK(Dim::exact_div(N() * N() - Dim(1), N() + Dim(1)) == N() - Dim(1));
  CHECK(!Dim::exact_div(N(), Dim(2)));
  CHECK(!Dim::exact_div(N(), Dim(0)));
  CHECK(!Dim::exact_div(Dim(7), Dim(2)));
  CHECK(Dim::floor_div(Dim(-7), Dim(2)) == Dim(-4));
  CHECK(Dim::mod(Dim(-7), Dim(2)) == Dim(1));
  CHECK(Dim::floor_div(Dim(2) * N() + Dim(1), Dim(2)) == N());
  CHECK(Dim::floor_div(Dim::floor_div(H(), 2), 2) == Dim::floor_div(H(), 4));
  CHECK(Dim::floor_div(H() - Dim(2), Dim(2)) + Dim(1) == Dim::floor_div(H(), 2));
  CHECK(Dim::mod(Dim(4) * N() + Dim(3), Dim(4)) == Dim(3));
  CHECK(!Dim::floor_div(Dim(4), Dim(0)).is_constant());  // kept, for whoever checks sizes to report
}

TEST_CASE("what is never equal") {
  CHECK(Dim::never_equal(N(), N() + Dim(1)));
  CHECK(Dim::never_equal(Dim(2), Dim(3)));
  CHECK(Dim::never_equal(Dim(2) * N(), Dim(2) * H() + Dim(1)));  // even and odd
  CHECK(Dim::never_equal(N() + Dim(5), Dim(5)));                 // sizes are at least 1
  CHECK(!Dim::never_equal(N(), Dim(1)));
  CHECK(!Dim::never_equal(N(), H()));
  CHECK(!Dim::never_equal(Dim::floor_div(H(), 2) + Dim(3), Dim(3)));
}

TEST_CASE("substituting and solving") {
  Dim d = Dim::floor_div(H() - Dim(3), Dim(2)) + Dim(1);
  CHECK(d.substitute({{"H", Dim(28)}}) == Dim(13));
  CHECK((N() * H()).substitute({{"N", H()}}) == H() * H());
  CHECK(d.symbols() == std::vector<std::string>{"H"});
  auto solved = (Dim(2) * N() + Dim(1)).solve(Dim(9));
  REQUIRE(solved);
  CHECK(solved->first == "N");
  CHECK(solved->second == Dim(4));
  CHECK(!(Dim(2) * N()).solve(Dim(9)));
  CHECK(!(N() * H()).solve(Dim(9)));
  CHECK(!(N() + H()).solve(Dim(9)));
  CHECK(N().solve(H())->second == H());
}

TEST_CASE("sizes saturate") {
  Dim big(INT64_MAX);
  CHECK(big * big == big);
  CHECK(big + big == big);
  CHECK((big * N() + big * N()).str() == "9223372036854775807 * N");
}

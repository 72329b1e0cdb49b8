// The JIT, its cache on disk and the IR helper.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "compiler/codegen/cache/object_cache.h"
#include "compiler/codegen/cpu/ir_builder.h"

using namespace nnlc::codegen;
using namespace nnlc::codegen::cpu;
namespace fs = std::filesystem;

namespace {

struct TemporaryFolder {
  std::string path;
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "nnlc-test-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~TemporaryFolder() { fs::remove_all(path); }
};

CpuOptions options(const std::string& level, const std::string& cache = {}) {
  CpuOptions o;
  o.features = level;
  o.threads = 2;
  o.use_cache = !cache.empty();
  o.cache_dir = cache;
  return o;
}

std::vector<std::string> levels() {
  std::vector<std::string> names;
  for (const char* n : {"native", "avx512", "avx2", "generic"})
    if (auto t = select_target(n); t && runs_here(*t)) names.push_back(n);
  return names;
}

// y[i] = x[i] * factor over i < n, with a masked tail.
IrModule scale(const Jit& jit, const std::string& name, double factor) {
  IrModule ir = jit.new_module(name);
  Builder b(*ir.module, jit.target());
  auto* p = b.getPtrTy();
  b.begin_function(name, {p, p, b.getInt64Ty()});
  int lanes = jit.target().f32_lanes();
  b.vectors(b.i64(0), b.arg(2), lanes, [&](llvm::Value* i, llvm::Value* mask) {
    auto* x = b.load(b.getFloatTy(), lanes, b.at(b.getFloatTy(), b.arg(0), i), mask);
    b.store(b.CreateFMul(x, b.number(x, factor)), b.at(b.getFloatTy(), b.arg(1), i), mask);
  });
  b.CreateRetVoid();
  return ir;
}
using Scale = void (*)(const float*, float*, int64_t);

void check_scale(void* code, float factor) {
  for (int64_t n : {0, 1, 7, 16, 17, 100}) {
    std::vector<float> x(n + 1), y(n + 1, -1.0f);
    for (int64_t i = 0; i < n; i++) x[i] = static_cast<float>(i) - 3.5f;
    reinterpret_cast<Scale>(code)(x.data(), y.data(), n);
    for (int64_t i = 0; i < n; i++) CHECK(y[i] == x[i] * factor);
    CHECK(y[n] == -1.0f);  // nothing past the end
  }
}

fs::path only_entry(const std::string& folder) {
  fs::path found;
  int count = 0;
  for (auto& e : fs::directory_iterator(folder)) {
    found = e.path();
    count++;
  }
  CHECK(count == 1);
  return found;
}

}  // namespace

TEST_CASE("a loop with a masked tail runs on every level") {
  for (auto& level : levels()) {
    CAPTURE(level);
    Jit jit(options(level));
    check_scale(jit.compile(scale(jit, "scale", 2), "scale"), 2);
    CHECK(jit.stats().cache_hits == 0);
  }
}

TEST_CASE("names: unknown levels are refused, several modules see each other") {
  std::string error;
  CHECK(!select_target("avx1024", &error));
  CHECK(error.find("avx1024") != std::string::npos);
  Jit jit(options("native"));
  std::vector<IrModule> modules;
  modules.push_back(scale(jit, "inner", 3));
  IrModule outer = jit.new_module("outer");
  {
    Builder b(*outer.module, jit.target());
    auto* p = b.getPtrTy();
    b.begin_function("outer", {p, p, b.getInt64Ty()});
    auto f = outer.module->getOrInsertFunction("inner", b.function->getFunctionType());
    b.CreateCall(f, {b.arg(0), b.arg(1), b.arg(2)});
    b.CreateRetVoid();
  }
  modules.push_back(std::move(outer));
  auto code = jit.compile(std::move(modules), {"outer", "inner"});
  check_scale(code[0], 3);
  check_scale(code[1], 3);
  CHECK_THROWS_AS(jit.compile(scale(jit, "f", 1), "g"), std::runtime_error);
  check_scale(jit.compile(scale(jit, "inner", 5), "inner"), 5);  // the same name again
}

TEST_CASE("text forms") {
  Jit jit(options("native"));
  CHECK(jit.optimized_text(scale(jit, "scale", 2)).find("define void @scale") != std::string::npos);
  CHECK(jit.assembly(scale(jit, "scale", 2)).find("scale:") != std::string::npos);
  CHECK(jit.object(scale(jit, "scale", 2)).substr(0, 4) ==
        "\x7f"
        "ELF");
}

TEST_CASE("the cache: hits, and entries that can't be trusted") {
  TemporaryFolder folder;
  auto run = [&](double factor, bool hit) {
    Jit jit(options("native", folder.path));
    check_scale(jit.compile(scale(jit, "scale", factor), "scale"), static_cast<float>(factor));
    CHECK(jit.stats().cache_hits == (hit ? 1 : 0));
  };
  run(2, false);
  run(2, true);
  fs::path entry = only_entry(folder.path);
  std::string good;
  {
    std::ifstream in(entry, std::ios::binary);
    good.assign(std::istreambuf_iterator<char>(in), {});
  }
  auto write = [&](const std::string& bytes) {
    std::ofstream out(entry, std::ios::binary | std::ios::trunc);
    out << bytes;
  };
  std::vector<std::string> bad{
      "", "nnlobj01", good.substr(0, 80), good.substr(0, good.size() - 1), good + "x", std::string(300, '\0')};
  for (size_t at : {size_t{0}, size_t{9}, size_t{15}, size_t{20}, size_t{60}, size_t{100}, good.size() - 1}) {
    bad.push_back(good);
    bad.back()[at] = static_cast<char>(bad.back()[at] ^ 0x10);
  }
  for (auto& bytes : bad) {
    write(bytes);
    run(2, false);  // ignored and written again
    run(2, true);
  }
  run(3, false);  // another module, another entry
  run(2, true);
}

TEST_CASE("the cache: bounds, a folder that can't be made, concurrent writers") {
  TemporaryFolder folder;
  {
    ObjectCache cache(folder.path, 10000);
    std::string kept = content_hash("kept"), object(3000, 'x');
    cache.put(kept, object);
    for (int i = 0; i < 5; i++) {
      cache.put(content_hash(std::to_string(i)), object);
      fs::last_write_time(folder.path + "/" + content_hash(std::to_string(i)) + ".nnlo",
                          fs::file_time_type::clock::now() - std::chrono::hours(i + 1));
    }
    CHECK(cache.get(kept) == object);
    cache.trim();
    CHECK(cache.get(kept) == object);
    CHECK(!cache.get(content_hash("4")));
    int64_t total = 0;
    for (auto& e : fs::directory_iterator(folder.path)) total += static_cast<int64_t>(e.file_size());
    CHECK(total <= 10000);
  }
  CHECK(!ObjectCache("/proc/nnlc-cannot-be-here").enabled());
  Jit jit(options("native", "/proc/nnlc-cannot-be-here"));
  check_scale(jit.compile(scale(jit, "scale", 2), "scale"), 2);

  ObjectCache cache(folder.path);
  std::string key = content_hash("shared"), object(50000, 'y');
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; i++) {
        cache.put(key, object);
        if (auto got = cache.get(key); got && *got != object) wrong++;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
  CHECK(cache.get(key) == object);
}

TEST_CASE("content_hash: every byte and the length matter") {
  std::string text(100, 'a');
  std::vector<std::string> hashes{content_hash(text)};
  for (size_t i = 0; i < text.size(); i++) {
    text[i] ^= 1;
    hashes.push_back(content_hash(text));
    text[i] ^= 1;
  }
  for (size_t n = 0; n < 40; n++) hashes.push_back(content_hash(std::string(n, '\0')));
  std::sort(hashes.begin(), hashes.end());
  CHECK(std::adjacent_find(hashes.begin(), hashes.end()) == hashes.end());
}

TEST_CASE("helper: transposes, reductions, strided access, bf16") {
  for (auto& level : levels()) {
    CAPTURE(level);
    Jit jit(options(level));
    IrModule ir = jit.new_module("m");
    Builder b(*ir.module, jit.target());
    int n = jit.target().f32_lanes();
    auto* p = b.getPtrTy();
    llvm::Type* f32 = b.getFloatTy();
    b.begin_function("f", {p, p});
    Values r;
    for (int i = 0; i < n; i++) r.push_back(b.load(f32, n, b.at(f32, b.arg(0), i * n)));
    auto* first = r[0];
    auto* column = b.load_strided(f32, n, b.at(f32, b.arg(0), 1), b.i64(n));
    b.transpose(r);
    for (int i = 0; i < n; i++) b.store(r[i], b.at(f32, b.arg(1), i * n));
    auto* tail = b.at(f32, b.arg(1), n * n);
    b.store(b.sum_lanes(first), b.at(f32, tail, 0));
    b.store(b.max_lanes(first), b.at(f32, tail, 1));
    b.store(b.min_lanes(first), b.at(f32, tail, 2));
    b.store(b.CreateFSub(column, r[1]), b.at(f32, tail, 3));
    b.store_strided(first, b.at(f32, tail, 3 + n), b.i64(2), b.first_lanes(n, 2));
    b.store(b.bf16_to_f32(b.f32_to_bf16(first)), b.at(f32, tail, 8 + n));
    b.CreateRetVoid();
    auto f = reinterpret_cast<void (*)(const float*, float*)>(jit.compile(std::move(ir), "f"));
    std::vector<float> x(n * n), y(n * n + 2 * n + 8, -1);
    for (int i = 0; i < n * n; i++) x[i] = static_cast<float>(i % 37) + 0.25f;
    x[3] = 257.0f;  // a tie in bf16: to even
    f(x.data(), y.data());
    float sum = 0;
    for (int i = 0; i < n; i++) {
      sum += x[i];
      for (int j = 0; j < n; j++) CHECK(y[i * n + j] == x[j * n + i]);
    }
    CHECK(y[n * n] == sum);
    CHECK(y[n * n + 1] == 257.0f);
    CHECK(y[n * n + 2] == 0.25f);
    CHECK(y[n * n + 3] == 0.0f);
    CHECK(y[n * n + 3 + n] == x[0]);
    CHECK(y[n * n + 4 + n] == -1.0f);
    CHECK(y[n * n + 5 + n] == x[1]);
    CHECK(y[n * n + 8 + n] == 0.25f);
    CHECK(y[n * n + 11 + n] == 256.0f);
  }
}

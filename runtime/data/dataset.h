// Data sets: sequences of records with known field types. Sources open files, check them and give a Dataset;
// reading is by row numbers into dense buffers. Files are untrusted: every failure is an Error with file and place.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "runtime/abi.h"

namespace nnl::data {

/// What is wrong with a file: "labels.gz: row 17: class 12 is not below 10". help: how to go on (may be empty).
struct Error {
  std::string message, help;
};
template <class T>
class Result {
 public:
  Result(T v) : v_(std::move(v)) {}      // NOLINT
  Result(Error e) : v_(std::move(e)) {}  // NOLINT
  explicit operator bool() const { return v_.index() == 0; }
  T& operator*() { return std::get<0>(v_); }
  T* operator->() { return &std::get<0>(v_); }
  const Error& error() const { return std::get<1>(v_); }

 private:
  std::variant<T, Error> v_;
};

struct Field {
  std::string name;
  int dtype = NNL_F32;
  std::vector<int64_t> shape;            ///< of one record
  int64_t classes = 0;                   ///< > 0: class(classes), held as i32
  bool missing = false;                  ///< class values may be -1
  std::vector<std::string> class_names;  ///< of a text column, in order of code points
};

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual const std::vector<Field>& fields() const = 0;
  virtual int64_t size() const = 0;
  /// Writes row rows[i] of field f to out[f] + i * bytes of one record. out[f] may be null: that field is not wanted.
  /// Safe to call from several threads.
  virtual void read(const int64_t* rows, int64_t n, void* const* out) const = 0;
  /// What the set is called in messages and progress bars: "mnist.train".
  virtual std::string name() const = 0;
};
using DatasetPtr = std::shared_ptr<Dataset>;

DatasetPtr take(DatasetPtr base, int64_t begin, int64_t count);
DatasetPtr select_rows(DatasetPtr base, std::vector<int64_t> rows);
/// Fields must agree in name, type and shape.
Result<DatasetPtr> concat(DatasetPtr a, DatasetPtr b);

struct TrainTest {
  DatasetPtr train, test;
};

/// Images [C, H, W] as f32 scaled to 0..1 in `image`, `label`: class(10).
/// dir empty: $NNL_DATA/mnist, the user's cache, then a download with its checksum.
Result<TrainTest> mnist(const std::string& dir);
Result<TrainTest> fashion_mnist(const std::string& dir);
/// IDX files, gzipped or not. classes 0: largest label + 1.
Result<DatasetPtr> idx(const std::string& images, const std::string& labels, int64_t classes);
struct CsvOptions {
  std::string target;                 ///< column name or number as text; empty: the last column
  std::vector<std::string> features;  ///< empty: every numeric column but the target, in file order
  int64_t classes = 0;                ///< for an int target; 0: largest + 1
  std::optional<bool> header;         ///< absent: found out
  bool missing = false;               ///< a target of -1, or none, is a label that is missing: -1
};
/// {x: f32[K], y: class(C) or f32[]}. Cells are checked here: file, row and column in the error.
Result<DatasetPtr> csv(const std::string& path, const CsvOptions& options);
/// 28x28 handwritten-like digits drawn by strokes with random affine and thickness changes. {image: f32[1, 28, 28],
/// label: class(10)}.
TrainTest synthetic_digits(int64_t train, int64_t test, uint64_t seed);
DatasetPtr moons(int64_t n, double noise, uint64_t seed);  ///< {x: f32[2], y: class(2)}
DatasetPtr spirals(int64_t n, int64_t classes, double noise, uint64_t seed);
DatasetPtr blobs(int64_t n, int64_t classes, int64_t dim, uint64_t seed);

/// A text as class indices. Characters are Unicode code points, or bytes.
struct Text {
  std::string path;
  std::vector<std::string> vocab;  ///< sorted by code point; in `lines` mode entry 0 is "." (the end of a line)
  std::vector<int32_t> ids;        ///< the whole text; in `lines` mode each line ends in 0
  bool bytes = false, lines = false;
  std::optional<std::vector<int32_t>> encode(
      const std::string& s) const;  ///< nullopt: a character outside the vocabulary
  std::string decode(const int32_t* ids, int64_t n) const;
};
using TextPtr = std::shared_ptr<const Text>;
/// vocab_of: take the vocabulary of another text (validation files); a character outside it is an error with its place.
Result<TextPtr> text(const std::string& path, bool bytes, bool lines, TextPtr vocab_of = nullptr);
TextPtr text_slice(TextPtr t, int64_t begin, int64_t end);
DatasetPtr windows(TextPtr t, int64_t n, int64_t stride);  ///< {x: class(V)[n], y: class(V)[n]}
DatasetPtr contexts(TextPtr t, int64_t n);                 ///< {x: class(V)[n], y: class(V)}

/// The file or folder that a program names. A relative path is looked for in the working directory, the program's
/// folder, then $NNL_DATA; the error says so.
Result<std::string> find_file(const std::string& path, const std::string& program_dir);

}  // namespace nnl::data

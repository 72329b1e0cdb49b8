// Values as text: numbers in the shortest form that reads back, format specifications, tensors in PyTorch's layout.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nnl {

/// The shortest decimal that reads back to the same value, always recognisable as a float: "0.1", "1.0", "1e-05",
/// "inf", "nan". Exponents from 1e16 and below 1e-4, as in Python.
std::string format_float(double v);
std::string format_float(float v);

/// A format specification, what stands behind the colon in "{x:>8.2f}": std::format's, with `%` as a further type of
/// numbers (times 100, 6 decimals unless told); a float's types also take an int. Fill and width count code points.
enum class SpecKind { integer, floating, boolean, text };
/// What is wrong with a specification for a value of this kind: "`d` is for ints"; absent: nothing.
std::optional<std::string> format_spec_error(std::string_view spec, SpecKind kind);
/// The specification must have been found right; a wrong one gives the value's plain form.
std::string format_value(std::string_view spec, int64_t v);
std::string format_value(std::string_view spec, double v);
std::string format_value(std::string_view spec, bool v);
std::string format_value(std::string_view spec, std::string_view v);

/// A dense tensor as PyTorch prints it: 4 decimals, scientific where magnitudes ask for it, summarised above 1000
/// elements, lines of 80 characters; "tensor(…)" with the element type where it is not f32, i64 or bool.
std::string format_tensor(const void* data, int dtype, const std::vector<int64_t>& shape);

}  // namespace nnl

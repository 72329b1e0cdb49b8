// The builtins of host programs: what `Op::call` can name. This list is the one that sema writes to and exec reads.
//
// A call has positional registers (args), named ones (options) and literal strings (texts). dst may be kNoReg. A "number" is an
// int or a float; a rank-0 tensor is accepted wherever a number, int, float or bool is asked for, and read back. A "tensor or
// number" argument takes either. List indices may be negative and are checked: outside is a run-time error at the call's span.
//
//   text and output
//     print(a, …)                        joined by a space, then a newline; strings as they are, floats in the shortest form
//                                        that reads back, tensors in PyTorch's layout, lists, tuples and records recursively
//     format(v0, v1, …) -> str           texts = piece0, spec0, piece1, spec1, … pieceN: each spec is std::format's (or `%`)
//                                        without the colon, empty for print's own form; N = number of args
//     str(v) -> str                      print's form of one value
//     str_concat(a, b) -> str, str_len(s) -> int (code points), str_repeat(s, n) -> str, str_join(separator, list) -> str,
//     str_get(s, i) -> str (one code point), str_slice(s, begin, end) -> str, str_split(s, separator) -> list,
//     str_replace(s, from, to) -> str, str_upper(s), str_lower(s), str_strip(s), str_contains(s, part) -> bool,
//     str_starts_with(s, part), str_ends_with(s, part) -> bool
//     record(; name = number, …)         logs scalars: to the bar, runs/…/metrics.jsonl, event files, the report
//
//   lists, tuples, records: values; the functions that change one give a new value to dst (dst may be args[0]: then in place)
//     list_new(v, …) -> list             list_append(list, v) -> list           list_get(list, i) -> item
//     list_set(list, i, v) -> list       list_len(list) -> int                  list_concat(a, b) -> list
//     list_slice(list, begin, end) -> list                                      list_contains(list, v) -> bool
//     list_reverse(list) -> list         list_sort(list of numbers or str) -> list
//     list_zip(a, b, …) -> list of tuples (the shortest decides)                list_enumerate(a) -> list of (int, item)
//     range_list(lo, hi) -> list of int, hi exclusive
//     tuple_new(v, …) -> tuple           tuple_get(tuple; texts = index) -> item
//     record_new(v, …; texts = names) -> record                                 record_get(record; texts = name) -> item
//
//   numbers: of host numbers; int where every argument is one, for abs, min, max and sign
//     abs floor ceil round (half to even) sign sqrt exp log log2 log10 sin cos tan tanh asin acos atan sigmoid : one argument;
//     floor ceil round give an int. min max: two or more, or one list. pow(a, b), atan2(a, b): float.
//     is_nan(x), is_inf(x) -> bool
//     time() -> float                    seconds of a steady clock
//     fold_sum(list), fold_mean(list, weights list), fold_max(list), fold_min(list): of host numbers
//
//   tensors
//     tensor_from_list(list; texts = dtype name) -> tensor    nested lists of numbers or bools (ragged is an error by row), or
//                                        lists of tensors of one shape, stacked; also a single number
//     tensor_to_list(tensor) -> nested list of host numbers   item(tensor, i, j, …) -> number, indices checked
//     tensor_get(tensor, i) -> tensor    row i of the first axis, copied; checked
//     tensor_slice(tensor, begin, length) -> tensor            rows of the first axis, copied; checked
//     tensor_set(tensor, i, row) -> tensor
//     check_class(tensor; texts = C, "missing" or "") -> tensor: every value in 0..C-1 (or -1), else a run-time error with the
//                                        place of the first that isn't; gives an i32 tensor
//     check_index(i, size) -> int        wraps a negative index, error outside 0..size-1
//     check_range(begin, end, size) -> none                   0 <= begin <= end <= size, else an error
//     assert_close(a, b; rtol, atol)     tensors, numbers; with torch.testing's defaults for the less precise type of the two;
//                                        fails like assert_, saying how many differ, the largest difference and where
//
//   files
//     save(path str; texts = root, prefix)        the persistents of `root` whose path is `prefix`, or starts with it and a dot
//                                        (empty: all), under their paths below the prefix; tied ones once
//     load(path str; strict = bool; texts = root, prefix, from, to, from, to, …) -> record {missing, left_over, reshaped} of
//                                        lists of str. strict (the default): any of these is an error that lists them, and
//                                        nothing is written. Else: what fits is loaded, the rest is reported on stderr.
//     save_tensors(path str, tensor, …; texts = names), load_tensor(path str; texts = name) -> tensor
//
//   data (texts = index into Program::datasets or ::text_data)
//     dataset_row(i; texts = index) -> record             dataset_len(; texts = index) -> int
//     text_encode(s; texts = index) -> tensor i32         text_decode(tensor or list or int; texts = index) -> str
//     one_batch(; texts = index, field) -> tensor         a whole field of a data set: [len, …]

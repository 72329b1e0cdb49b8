/* The C interface in C99, as a program built against an older or newer header would use it: options of other sizes,
   NULL for everything that may be NULL, errors as data. Prints what failed. */
#include <nnlc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;
#define CHECK(condition)                             \
  do {                                               \
    if (!(condition)) {                              \
      printf("line %d: %s\n", __LINE__, #condition); \
      failures++;                                    \
    }                                                \
  } while (0)

static const char program_text[] =
    "config size: int = 3\n"
    "## Doubles.\n"
    "layer Double(n: int) {\n"
    "  param scale: [n] = 2.0\n"
    "  state calls: [n] = zeros\n"
    "  forward(x: [N, n]) -> [N, n] {\n"
    "    if training { calls = calls + 1 }\n"
    "    x * scale\n"
    "  }\n"
    "}\n"
    "fn squared(net, x: [N, n], y: [N, n]) where_is_the_error\n";

static void collect(void* user, const char* text) {
  char* to = (char*)user;
  strncat(to, text, 200 - strlen(to));
}

int main(void) {
  nnlc_error* error = NULL;
  nnlc_program* p = NULL;
  nnlc_model* m = NULL;
  nnlc_trainer* t = NULL;
  nnlc_tensor *x = NULL, *y = NULL, *z = NULL;
  const nnlc_tensor* pair[2];
  char text[1024], printed[256] = "";
  float numbers[6] = {1, 2, 3, 4, 5, 6}, results[6] = {0}, targets[6] = {0};
  int64_t shape[2] = {2, 3};
  int i;

  CHECK(nnlc_abi_version() == NNLC_ABI_VERSION);
  CHECK(strlen(nnlc_version()) > 0);
  CHECK(strcmp(nnlc_status_name(NNLC_CANCELLED), "cancelled") == 0);
  CHECK(strcmp(nnlc_dtype_name(NNLC_BF16), "bf16") == 0 && nnlc_dtype_size(NNLC_BF16) == 2);

  /* a wrong program */
  CHECK(nnlc_program_from_text(program_text, "wrong.nnl", NULL, &p, &error) == NNLC_PROGRAM_ERROR);
  CHECK(p == NULL && error != NULL);
  CHECK(nnlc_error_status(error) == NNLC_PROGRAM_ERROR);
  CHECK(nnlc_error_diagnostic_count(error) >= 1);
  if (nnlc_error_diagnostic_count(error) >= 1) {
    const nnlc_diagnostic* d = nnlc_error_diagnostic(error, 0);
    const char* label = NULL;
    const nnlc_place place = nnlc_diagnostic_place(d, &label);
    CHECK(nnlc_diagnostic_severity(d) == NNLC_SEVERITY_ERROR);
    CHECK(nnlc_diagnostic_code(d)[0] == 'N' && strlen(nnlc_diagnostic_code(d)) == 5);
    CHECK(strcmp(place.file, "wrong.nnl") == 0 && place.line == 11);
    CHECK(label != NULL && strlen(nnlc_diagnostic_message(d)) > 0);
    CHECK(strstr(nnlc_diagnostic_text(d), nnlc_diagnostic_message(d)) != NULL);
    CHECK(nnlc_diagnostic_json(d)[0] == '{');
  }
  CHECK(nnlc_error_diagnostic(error, 1000) == NULL);
  nnlc_error_free(error);
  CHECK(nnlc_program_from_text(program_text, NULL, NULL, &p, NULL) == NNLC_PROGRAM_ERROR);

  /* a right one; its options cut short, as an older header has them */
  strcpy(text, program_text);
  strcpy(strstr(text, "fn squared"),
         "fn squared(net, x: [N, 3], y: [N, 3]) { mean((net(x) - y) ** 2) }\nprint(\"size {size}\")\n"
         "## Plain.\noptimizer Slide(rate: float = 0.5) {\n  state last = zeros_like(param)\n"
         "  update(param, grad) {\n    last = grad\n    param = param - rate * last\n  }\n}\n");
  {
    nnlc_compile_options o = NNLC_COMPILE_OPTIONS_INIT;
    const char* names[1] = {"size"};
    const char* values[1] = {"5"};
    nnlc_run_options run = NNLC_RUN_OPTIONS_INIT;
    o.config_names = names;
    o.config_values = values;
    o.n_configs = 1;
    o.size = 0;
    CHECK(nnlc_program_from_text(text, NULL, &o, &p, &error) == NNLC_INVALID_ARGUMENT);
    nnlc_error_free(error);
    o.size = offsetof(nnlc_compile_options, has_seed);
    o.threads = -5; /* behind the end */
    CHECK(nnlc_program_from_text(text, NULL, &o, &p, &error) == NNLC_OK);
    CHECK(error == NULL);
    run.user = printed;
    run.print = collect;
    CHECK(nnlc_program_run(p, &run, NULL) == NNLC_OK);
    CHECK(strcmp(printed, "size 5\n") == 0);
  }
  CHECK(nnlc_program_layer_count(p) == 1 && nnlc_program_function_count(p) == 1 && nnlc_program_config_count(p) == 1);
  CHECK(strcmp(nnlc_layer_name(nnlc_program_layer(p, 0)), "Double") == 0);
  CHECK(strcmp(nnlc_layer_doc(nnlc_program_layer(p, 0)), "Doubles.") == 0);
  CHECK(nnlc_layer_parameter_count(nnlc_program_layer(p, 0)) == 1);
  CHECK(strcmp(nnlc_layer_parameter(nnlc_program_layer(p, 0), 0).type, "int") == 0);
  CHECK(strcmp(nnlc_function_result(nnlc_layer_method(nnlc_program_layer(p, 0), 0)), "[N, n]") == 0);
  CHECK(strcmp(nnlc_function_parameter(nnlc_program_function(p, 0), 1).name, "x") == 0);
  CHECK(strcmp(nnlc_program_config(p, 0).default_value, "3") == 0);
  CHECK(nnlc_program_optimizer_count(p) == 1 && nnlc_program_optimizer(p, 1) == NULL);
  {
    const nnlc_optimizer* o = nnlc_program_optimizer(p, 0);
    CHECK(strcmp(nnlc_optimizer_name(o), "Slide") == 0 && strcmp(nnlc_optimizer_doc(o), "Plain.") == 0);
    CHECK(nnlc_optimizer_place(o).line == 14);
    CHECK(nnlc_optimizer_parameter_count(o) == 1);
    CHECK(strcmp(nnlc_optimizer_parameter(o, 0).default_value, "0.5") == 0);
    CHECK(nnlc_optimizer_state_count(o) == 1 && strcmp(nnlc_optimizer_state(o, 0), "last") == 0);
    CHECK(nnlc_optimizer_state(o, 1) == NULL);
  }

  /* a layer, called on this program's memory */
  {
    nnlc_argument n;
    memset(&n, 0, sizeof n);
    n.name = "n";
    n.kind = NNLC_ARGUMENT_INT;
    n.integer = 3;
    CHECK(nnlc_model_new(p, "Triple", &n, 1, &m, &error) == NNLC_PROGRAM_ERROR);
    nnlc_error_free(error);
    CHECK(nnlc_model_new(p, "Double", &n, 1, &m, &error) == NNLC_OK);
  }
  CHECK(nnlc_model_parameter_count(m) == 2);
  CHECK(strcmp(nnlc_model_parameter_info(m, 0).name, "scale") == 0 && nnlc_model_parameter_info(m, 0).learned);
  CHECK(!nnlc_model_parameter_info(m, 1).learned);
  CHECK(nnlc_tensor_over_const(numbers, NNLC_F32, 2, shape, NULL, NULL, &x, &error) == NNLC_OK);
  CHECK(nnlc_tensor_over(results, NNLC_F32, 2, shape, NULL, "cpu", &y, &error) == NNLC_OK);
  CHECK(nnlc_tensor_data(x) == NULL && nnlc_tensor_const_data(x) == numbers);
  CHECK(nnlc_tensor_rank(y) == 2 && nnlc_tensor_shape(y)[1] == 3 && nnlc_tensor_strides(y)[0] == 3);
  CHECK(strcmp(nnlc_tensor_why_copied(y), "") == 0);
  pair[0] = x;
  CHECK(nnlc_model_call(m, NULL, pair, 1, &y, 1, &error) == NNLC_OK);
  for (i = 0; i < 6; i++) CHECK(results[i] == 2 * numbers[i]);
  CHECK(nnlc_model_call(m, NULL, pair, 1, &z, 1, &error) == NNLC_OK);
  CHECK(z != NULL && ((const float*)nnlc_tensor_const_data(z))[5] == 12);
  nnlc_tensor_free(z);
  CHECK(nnlc_model_call(m, NULL, pair, 0, &y, 1, &error) == NNLC_PROGRAM_ERROR);
  nnlc_error_free(error);
  CHECK(nnlc_model_call(m, NULL, pair, 1, NULL, 0, &error) == NNLC_INVALID_ARGUMENT);
  nnlc_error_free(error);
  CHECK(nnlc_model_call(NULL, NULL, pair, 1, &y, 1, NULL) == NNLC_INVALID_ARGUMENT);
  {
    nnlc_call_options o = NNLC_CALL_OPTIONS_INIT;
    nnlc_cancel* c = nnlc_cancel_new();
    o.cancel = c;
    nnlc_cancel_set(c);
    CHECK(nnlc_model_call(m, &o, pair, 1, &y, 1, NULL) == NNLC_CANCELLED);
    nnlc_cancel_reset(c);
    CHECK(nnlc_model_call(m, &o, pair, 1, &y, 1, NULL) == NNLC_OK);
    nnlc_cancel_free(c);
  }

  /* training: the scale learns to be 0 */
  {
    nnlc_trainer_options o = NNLC_TRAINER_OPTIONS_INIT;
    nnlc_tensor* goal = NULL;
    nnlc_tensor* scale = NULL;
    double loss = 0, first = 0;
    CHECK(nnlc_trainer_new(m, &o, &t, &error) == NNLC_INVALID_ARGUMENT);
    nnlc_error_free(error);
    o.objective = "squared";
    o.optimizer = "SGD";
    CHECK(nnlc_trainer_new(m, &o, &t, &error) == NNLC_OK);
    CHECK(nnlc_tensor_over(targets, NNLC_F32, 2, shape, NULL, NULL, &goal, &error) == NNLC_OK);
    pair[1] = goal;
    CHECK(nnlc_trainer_set_learning_rate(t, 0.01, &error) == NNLC_OK);
    for (i = 0; i < 100; i++) {
      CHECK(nnlc_trainer_step(t, NULL, pair, 2, &loss, &error) == NNLC_OK);
      if (i == 0) first = loss;
    }
    CHECK(loss < first / 4);
    CHECK(nnlc_trainer_updates(t) == 100 && nnlc_trainer_learning_rate(t) == 0.01);
    CHECK(nnlc_trainer_result_count(t) == 1);
    CHECK(nnlc_model_parameter(m, "scale", &scale, &error) == NNLC_OK);
    /* the library's objects in any order; a view outlives the model */
    nnlc_model_free(m);
    nnlc_program_free(p);
    CHECK(nnlc_trainer_step(t, NULL, pair, 2, &loss, &error) == NNLC_OK);
    nnlc_trainer_free(t);
    CHECK(((float*)nnlc_tensor_data(scale))[2] < 1.5f);
    nnlc_tensor_free(scale);
    nnlc_tensor_free(goal);
  }
  /* DLPack */
  {
    DLManagedTensor* d = NULL;
    nnlc_tensor* back = NULL;
    CHECK(nnlc_tensor_to_dlpack(x, &d, NULL) == NNLC_INVALID_ARGUMENT); /* read-only */
    CHECK(nnlc_tensor_to_dlpack(y, &d, NULL) == NNLC_OK);
    CHECK(d->dl_tensor.data == results && d->dl_tensor.ndim == 2);
    CHECK(nnlc_tensor_from_dlpack(d, &back, NULL) == NNLC_OK);
    CHECK(nnlc_tensor_const_data(back) == results);
    nnlc_tensor_free(back);
  }
  nnlc_tensor_free(x);
  nnlc_tensor_free(y);
  nnlc_tensor_free(NULL);
  nnlc_error_free(NULL);
  return failures != 0;
}

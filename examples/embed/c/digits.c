/* digits train DATA.csv WEIGHTS [EPOCHS]   learns to read digits from your own table
   digits read  DATA.csv WEIGHTS            reads it back: one line each, and how many were right

   A row of the table is a label from 0 to 9 and then the pixels, each from 0 to 255; all rows have as many pixels. The
   first line may be names. The network is written in NNL, below, and compiled when the program starts. */
#include <nnlc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char network[] =
    "layer Digits(pixels: int, hidden: int = 64) {\n"
    "  first  = Linear(pixels, hidden)\n"
    "  drop   = Dropout(0.1)\n"
    "  second = Linear(hidden, 10)\n"
    "  forward(x: [N, pixels]) -> [N, 10] { x |> first |> relu |> drop |> second }\n"
    "}\n";

enum { BATCH = 32 };

typedef struct table {
  float* pixels; /* rows x width, 0 to 1 */
  int32_t* labels;
  size_t rows, width;
} table;

/* What the call that was made last says about its failure. */
static nnlc_error* error = NULL;

/* Says what went wrong and ends the program. */
static void check(nnlc_status status) {
  size_t i;
  if (status == NNLC_OK) return;
  fprintf(stderr, "digits: %s: %s\n", nnlc_status_name(status), nnlc_error_message(error));
  for (i = 0; i < nnlc_error_diagnostic_count(error); i++)
    fprintf(stderr, "%s\n", nnlc_diagnostic_text(nnlc_error_diagnostic(error, i)));
  nnlc_error_free(error);
  exit(1);
}

static void* get(void* old, size_t n) {
  void* p = realloc(old, n ? n : 1);
  if (!p) {
    fprintf(stderr, "digits: out of memory\n");
    exit(1);
  }
  return p;
}

static void bad_row(const char* path, size_t line, const char* what) {
  fprintf(stderr, "digits: %s:%lu: %s\n", path, (unsigned long)line, what);
  exit(1);
}

static table read_table(const char* path) {
  table t = {NULL, NULL, 0, 0};
  size_t room = 0, line = 0;
  static char text[1 << 16];
  FILE* f = fopen(path, "r");
  if (!f) {
    perror(path);
    exit(1);
  }
  while (fgets(text, sizeof text, f)) {
    char* at = text;
    char* end;
    size_t n = 0;
    long label = strtol(at, &end, 10);
    line++;
    if (end == at) {
      if (line == 1) continue; /* names */
      bad_row(path, line, "no label");
    }
    if (label < 0 || label > 9) bad_row(path, line, "the label isn't a digit");
    if (t.width == 0) {
      for (at = end; *at; at++) t.width += *at == ',';
      if (t.width == 0) bad_row(path, line, "no pixels");
    }
    if (t.rows == room) {
      room = room ? 2 * room : 256;
      t.pixels = (float*)get(t.pixels, room * t.width * sizeof(float));
      t.labels = (int32_t*)get(t.labels, room * sizeof(int32_t));
    }
    for (at = end; *at == ',' && n < t.width; at = end) {
      const double v = strtod(at + 1, &end);
      if (end == at + 1) bad_row(path, line, "a pixel isn't a number");
      t.pixels[t.rows * t.width + n++] = (float)(v / 255);
    }
    if (n != t.width || *at == ',') bad_row(path, line, "another number of pixels than in the first row");
    t.labels[t.rows++] = (int32_t)label;
  }
  fclose(f);
  if (t.rows == 0) bad_row(path, line, "no rows");
  return t;
}

/* A window of the table: no pixel is copied on its way to the network. */
static void window(const table* t, size_t first, size_t rows, nnlc_tensor* out[2]) {
  int64_t shape[2];
  shape[0] = (int64_t)rows;
  shape[1] = (int64_t)t->width;
  check(nnlc_tensor_over_const(t->pixels + first * t->width, NNLC_F32, 2, shape, NULL, NULL, &out[0], &error));
  check(nnlc_tensor_over_const(t->labels + first, NNLC_I32, 1, shape, NULL, NULL, &out[1], &error));
}

static void train(nnlc_model* model, const table* t, int epochs) {
  nnlc_trainer_options options = NNLC_TRAINER_OPTIONS_INIT;
  nnlc_argument rate;
  nnlc_trainer* trainer;
  int epoch;
  memset(&rate, 0, sizeof rate);
  rate.name = "lr";
  rate.kind = NNLC_ARGUMENT_FLOAT;
  rate.number = 2e-3;
  options.loss = "cross_entropy";
  options.optimizer = "Adam";
  options.optimizer_arguments = &rate;
  options.n_optimizer_arguments = 1;
  check(nnlc_trainer_new(model, &options, &trainer, &error));
  for (epoch = 1; epoch <= epochs; epoch++) {
    double sum = 0;
    size_t first;
    for (first = 0; first < t->rows; first += BATCH) {
      const size_t rows = t->rows - first < BATCH ? t->rows - first : BATCH;
      nnlc_tensor* batch[2];
      double loss;
      window(t, first, rows, batch);
      check(nnlc_trainer_step(trainer, NULL, (const nnlc_tensor* const*)batch, 2, &loss, &error));
      sum += loss * (double)rows;
      nnlc_tensor_free(batch[0]);
      nnlc_tensor_free(batch[1]);
    }
    printf("epoch %d: loss %.4f\n", epoch, sum / (double)t->rows);
  }
  nnlc_trainer_free(trainer);
}

static void recognise(nnlc_model* model, const table* t) {
  nnlc_tensor* window_of[2];
  nnlc_tensor* scores = NULL;
  const float* s;
  size_t i, right = 0;
  window(t, 0, t->rows, window_of);
  check(nnlc_model_call(model, NULL, (const nnlc_tensor* const*)window_of, 1, &scores, 1, &error));
  s = (const float*)nnlc_tensor_const_data(scores);
  for (i = 0; i < t->rows; i++) {
    int best = 0, k;
    for (k = 1; k < 10; k++)
      if (s[i * 10 + (size_t)k] > s[i * 10 + (size_t)best]) best = k;
    right += best == t->labels[i];
    printf("%d\n", best);
  }
  printf("%lu of %lu right\n", (unsigned long)right, (unsigned long)t->rows);
  nnlc_tensor_free(scores);
  nnlc_tensor_free(window_of[0]);
  nnlc_tensor_free(window_of[1]);
}

int main(int argc, char** argv) {
  nnlc_program* program;
  nnlc_model* model;
  nnlc_argument pixels;
  table t;
  const int training = argc > 3 && strcmp(argv[1], "train") == 0;
  if (!training && !(argc > 3 && strcmp(argv[1], "read") == 0)) {
    fprintf(stderr, "usage: digits train|read DATA.csv WEIGHTS [EPOCHS]\n");
    return 2;
  }
  t = read_table(argv[2]);
  check(nnlc_program_from_text(network, "digits.nnl", NULL, &program, &error));
  memset(&pixels, 0, sizeof pixels);
  pixels.name = "pixels";
  pixels.kind = NNLC_ARGUMENT_INT;
  pixels.integer = (int64_t)t.width;
  check(nnlc_model_new(program, "Digits", &pixels, 1, &model, &error));
  if (training) {
    train(model, &t, argc > 4 ? atoi(argv[4]) : 5);
    check(nnlc_model_save(model, argv[3], &error));
  } else {
    check(nnlc_model_load(model, argv[3], 1, &error));
    recognise(model, &t);
  }
  nnlc_model_free(model);
  nnlc_program_free(program);
  free(t.pixels);
  free(t.labels);
  return 0;
}

/* Trains a network for STEPS steps of its one batch, then runs its forward pass. The data file holds the batch and what nnlc's
   forward pass gave: x, y, out in that order, behind a safetensors header. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define JOINED(a, b, c) a##b##c
#define JOIN(a, b, c) JOINED(a, b, c)
#define FORWARD JOIN(net_forward_, ROWS, )
#ifndef EXTRA
#define EXTRA /* further arguments, that change with i */
#endif
#define N_OUT JOIN(NET_FORWARD_, ROWS, _OUT)

static net_params params, loaded;
static net_training training;
static net_workspace workspace;

int main(void) {
  uint64_t header;
  X_TYPE *x = malloc(sizeof *x * NET_TRAIN_X);
  Y_TYPE *y = malloc(sizeof *y * NET_TRAIN_Y);
  float *wanted = malloc(sizeof *wanted * N_OUT), *out = malloc(sizeof *out * N_OUT);
  size_t bytes = 0;
  FILE *file = fopen("data.safetensors", "rb");
  if (!file || fread(&header, sizeof header, 1, file) != 1 || fseek(file, (long)header, SEEK_CUR) != 0 ||
      fread(x, sizeof *x, NET_TRAIN_X, file) != NET_TRAIN_X || fread(y, sizeof *y, NET_TRAIN_Y, file) != NET_TRAIN_Y ||
      fread(wanted, sizeof *wanted, N_OUT, file) != N_OUT) {
    puts("data.safetensors can't be read");
    return 1;
  }
  fclose(file);
  net_init(&params, &training);
  memset(&workspace, 0xFF, sizeof workspace); /* NaN: nothing may depend on what was there */
  for (int i = 0; i < STEPS; i++) {
    float loss = net_train(&params, &training, x, y EXTRA, &workspace);
    if (i % 8 == 0) printf("step %d: loss %g\n", i, loss);
    if (training.status != 0) {
      printf("step %d: status %d\n", i, (int)training.status);
      return 1;
    }
  }
  if (training.updates != STEPS) return 1;
  if (net_save(&params, "c.safetensors") != 0) return 1;
  /* What was saved loads; other files don't, and leave params as they are. */
  if (net_load(&loaded, "c.safetensors") != 0 || memcmp(&loaded, &params, sizeof params) != 0) return puts("load"), 1;
  if (net_load(&params, "data.safetensors") != 2 || net_load(&params, "missing") != 1) return puts("load of others"), 1;
  if (memcmp(&loaded, &params, sizeof params) != 0) return puts("load changed something"), 1;
  if (net_find(&params, "nothing", &bytes) != NULL || net_find(&params, FIRST, &bytes) != (void *)&params || bytes == 0)
    return puts("find"), 1;
  FORWARD(&params, x, out, &workspace);
  if (memcmp(out, wanted, sizeof *out * N_OUT) != 0) return puts("forward gives other bits"), 1;
  free(x);
  free(y);
  free(wanted);
  free(out);
  return 0;
}

/* Trains the network of digits.nnl without nnlc: the step of its `minimize`, built ahead of time, on arrays of this program.

     nnlc run digits.nnl                                          writes digits.safetensors, and what nnlc trains
     nnlc build digits.nnl --export Classifier --train -o out     writes out/classifier.h and out/libclassifier.a
     cc -std=c99 -O2 -Iout train.c out/libclassifier.a -lm -o train
     ./train                                                      writes trained.safetensors
     cmp trained.safetensors classifier.safetensors               the same bits

   The rows come in the order of the file, as they do in digits.nnl, which doesn't shuffle. */
#include <stdio.h>
#include <stdlib.h>

#include "classifier.h"

enum { ROWS = 2048, BATCH = 64, PIXELS = 28 * 28 };
static classifier_params net;
static classifier_training training;
static classifier_workspace workspace;
static float images[ROWS * PIXELS];
static int32_t labels[ROWS];

/* A safetensors file: the length of a header in 8 bytes, the header, then here the images and the labels. */
static int read_digits(const char *path) {
  uint64_t header;
  FILE *file = fopen(path, "rb");
  if (!file) return 0;
  int fine = fread(&header, sizeof header, 1, file) == 1 && fseek(file, (long)header, SEEK_CUR) == 0 &&
             fread(images, sizeof images, 1, file) == 1 && fread(labels, sizeof labels, 1, file) == 1;
  fclose(file);
  return fine;
}

int main(int argc, char **argv) {
  int epochs = argc > 1 ? atoi(argv[1]) : 3;
  if (!read_digits("digits.safetensors")) return fputs("no digits.safetensors: nnlc run digits.nnl\n", stderr), 1;
  classifier_init(&net, &training);
  for (int epoch = 1; epoch <= epochs; epoch++) {
    double sum = 0;
    for (int row = 0; row < ROWS; row += BATCH) {
      sum += classifier_train_64(&net, &training, images + row * PIXELS, labels + row, &workspace);
      if (training.status != 0) return fprintf(stderr, "step %d: the loss isn't finite\n", (int)training.updates), 1;
    }
    printf("epoch %d: loss %.4f, rate %.6f\n", epoch, sum / (ROWS / BATCH), training.lr);
  }
  return classifier_save(&net, "trained.safetensors");
}

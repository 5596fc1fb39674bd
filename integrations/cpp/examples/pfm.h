/* Reading and writing of PFM, the simplest float image: "PF", the size, -1.0, and rows from the bottom up. */
#ifndef MDENOISE_EXAMPLES_PFM_H
#define MDENOISE_EXAMPLES_PFM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int width, height;
  float* pixels; /* RGB, bottom row first; free() it */
} Pfm;

/* 0, or 1 with a message on stderr. */
static int read_pfm(const char* path, Pfm* image) {
  FILE* file = fopen(path, "rb");
  char magic[3] = "";
  float scale = 0;
  size_t count = 0;
  memset(image, 0, sizeof *image);
  if (file == NULL) {
    fprintf(stderr, "cannot read %s\n", path);
    return 1;
  }
  if (fscanf(file, "%2s %d %d %f", magic, &image->width, &image->height, &scale) == 4 && strcmp(magic, "PF") == 0 &&
      scale < 0 && image->width > 0 && image->height > 0 && image->width < 65536 && image->height < 65536) {
    fgetc(file);
    count = (size_t)image->width * (size_t)image->height * 3;
    image->pixels = (float*)malloc(count * sizeof(float));
  }
  if (image->pixels == NULL || fread(image->pixels, sizeof(float), count, file) != count) {
    fprintf(stderr, "cannot read %s: not a whole little-endian RGB PFM\n", path);
    fclose(file);
    free(image->pixels);
    image->pixels = NULL;
    return 1;
  }
  fclose(file);
  return 0;
}

static int write_pfm(const char* path, const Pfm* image) {
  const size_t count = (size_t)image->width * (size_t)image->height * 3;
  FILE* file = fopen(path, "wb");
  int failed = file == NULL;
  if (!failed) {
    failed = fprintf(file, "PF\n%d %d\n-1.0\n", image->width, image->height) < 0 ||
             fwrite(image->pixels, sizeof(float), count, file) != count;
    failed |= fclose(file) != 0;
  }
  if (failed) fprintf(stderr, "cannot write %s\n", path);
  return failed;
}

#endif

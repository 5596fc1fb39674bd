/* What hosts do to the API in the worst order: every check ends the process with a line that says which one failed.
 *
 *   oidn_abuse order | threads | errors | exit-while-running */
#include <OpenImageDenoise/oidn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                              \
    }                                                                       \
  } while (0)

enum { WIDTH = 70, HEIGHT = 50, COUNT = WIDTH * HEIGHT * 3 };

static void noise(float* pixels) {
  unsigned state = 1;
  int i;
  for (i = 0; i < COUNT; ++i) {
    state = state * 1664525u + 1013904223u;
    pixels[i] = (float)(state >> 8) / (float)(1 << 23);
  }
}

static OIDNError error_of(OIDNDevice device) {
  const char* message = NULL;
  const OIDNError code = oidnGetDeviceError(device, &message);
  CHECK((code == OIDN_ERROR_NONE) == (message == NULL));
  if (message != NULL) CHECK(strlen(message) > 0 && strchr(message, '\n') == NULL);
  return code;
}

static OIDNDevice new_device(void) {
  OIDNDevice device = oidnNewDevice(OIDN_DEVICE_TYPE_CPU);
  const char* message = "";
  CHECK(device != NULL);
  oidnCommitDevice(device);
  if (oidnGetDeviceError(device, &message) != OIDN_ERROR_NONE) {
    fprintf(stderr, "%s\n", message);
    exit(1);
  }
  return device;
}

static OIDNFilter new_filter(OIDNDevice device, float* in, float* out) {
  OIDNFilter filter = oidnNewFilter(device, "RT");
  CHECK(filter != NULL);
  oidnSetSharedFilterImage(filter, "color", in, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  oidnSetSharedFilterImage(filter, "output", out, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  oidnSetFilterBool(filter, "hdr", true);
  oidnCommitFilter(filter);
  CHECK(error_of(device) == OIDN_ERROR_NONE);
  return filter;
}

static void order(void) {
  static float pixels[COUNT], direct[COUNT], result[COUNT];
  OIDNDevice device = new_device();
  OIDNBuffer in = oidnNewBuffer(device, sizeof pixels), out = oidnNewBuffer(device, sizeof pixels);
  OIDNFilter filter = oidnNewFilter(device, "RT"), second;
  noise(pixels);
  second = new_filter(device, pixels, direct);
  oidnExecuteFilter(second);
  CHECK(error_of(device) == OIDN_ERROR_NONE);

  oidnWriteBuffer(in, 0, sizeof pixels, pixels);
  oidnSetFilterImage(filter, "color", in, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  oidnSetFilterImage(filter, "output", out, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  oidnSetFilterBool(filter, "hdr", true);
  /* The owner first, what belongs to it last; the filter keeps its input alive. */
  oidnReleaseDevice(device);
  oidnReleaseBuffer(in);
  oidnRetainFilter(filter);
  oidnReleaseFilter(filter);
  oidnCommitFilter(filter);
  oidnExecuteFilterAsync(filter);
  oidnReadBuffer(out, 0, sizeof result, result); /* waits */
  CHECK(memcmp(result, direct, sizeof result) == 0);
  oidnExecuteFilterAsync(filter);
  oidnReleaseFilter(second);
  oidnReleaseFilter(filter); /* while it runs */
  CHECK(oidnGetBufferSize(out) == sizeof result);
  oidnReleaseBuffer(out);

  /* An output that is replaced while a filter writes to it. */
  device = new_device();
  out = oidnNewBuffer(device, sizeof pixels);
  filter = oidnNewFilter(device, "RT");
  oidnSetSharedFilterImage(filter, "color", pixels, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  oidnSetFilterImage(filter, "output", out, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  oidnCommitFilter(filter);
  oidnExecuteFilterAsync(filter);
  oidnReleaseBuffer(out);
  oidnSetSharedFilterImage(filter, "output", result, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  oidnReleaseDevice(device);
  oidnReleaseFilter(filter);
}

static void* work(void* argument) {
  OIDNDevice device = argument != NULL ? (OIDNDevice)argument : new_device();
  float* in = (float*)malloc(COUNT * sizeof(float));
  float* out = (float*)calloc(COUNT, sizeof(float));
  OIDNFilter filter;
  int i;
  noise(in);
  filter = new_filter(device, in, out);
  for (i = 0; i < 3; ++i) oidnExecuteFilter(filter);
  oidnSetFilterInt(filter, "quality", 1); /* an error of this thread alone */
  CHECK(error_of(device) == OIDN_ERROR_INVALID_ARGUMENT);
  oidnReleaseFilter(filter);
  if (argument == NULL) oidnReleaseDevice(device);
  free(in);
  return out;
}

static void threads(void) {
  pthread_t thread[6];
  OIDNDevice shared = new_device();
  float* first = NULL;
  int i;
  for (i = 0; i < 6; ++i) CHECK(pthread_create(&thread[i], NULL, work, i % 2 ? shared : NULL) == 0);
  for (i = 0; i < 6; ++i) {
    void* out = NULL;
    CHECK(pthread_join(thread[i], &out) == 0);
    if (first == NULL)
      first = (float*)out;
    else {
      CHECK(memcmp(first, out, COUNT * sizeof(float)) == 0);
      free(out);
    }
  }
  free(first);
  CHECK(error_of(shared) == OIDN_ERROR_NONE);
  oidnReleaseDevice(shared);
}

static void remember(void* user, OIDNError code, const char* message) {
  CHECK(message != NULL);
  *(OIDNError*)user = code;
}

static bool refuse(void* user, double share) {
  ++*(int*)user;
  return share < 0;
}

static OIDNError commit_of(OIDNFilter filter, OIDNDevice device) {
  oidnCommitFilter(filter);
  return error_of(device);
}

static void errors(void) {
  static float pixels[COUNT], out[COUNT];
  OIDNDevice device, raw;
  OIDNFilter filter;
  OIDNBuffer buffer;
  OIDNError told = OIDN_ERROR_NONE;
  int calls = 0, i;
  noise(pixels);
  CHECK(oidnNewDevice(OIDN_DEVICE_TYPE_CUDA) == NULL && error_of(NULL) == OIDN_ERROR_UNSUPPORTED_HARDWARE);
  CHECK(oidnNewDeviceByID(7) == NULL && error_of(NULL) == OIDN_ERROR_INVALID_ARGUMENT);
  oidnReleaseDevice(NULL);
  CHECK(error_of(NULL) == OIDN_ERROR_INVALID_ARGUMENT);
  oidnExecuteFilter(NULL);
  CHECK(error_of(NULL) == OIDN_ERROR_INVALID_ARGUMENT && error_of(NULL) == OIDN_ERROR_NONE);
  raw = oidnNewDevice(OIDN_DEVICE_TYPE_DEFAULT);
  CHECK(oidnNewFilter(raw, "RT") == NULL && error_of(raw) == OIDN_ERROR_INVALID_OPERATION);
  oidnReleaseDevice(raw);

  device = new_device();
  oidnCommitDevice(device);
  CHECK(error_of(device) == OIDN_ERROR_INVALID_OPERATION);
  oidnSetDeviceErrorFunction(device, remember, &told);
  CHECK(oidnNewFilter(device, "RTLightmap") == NULL && told == OIDN_ERROR_INVALID_ARGUMENT);
  CHECK(error_of(device) == OIDN_ERROR_INVALID_ARGUMENT);
  CHECK(oidnNewSharedBufferFromFD(device, 1, 0, 16) == NULL && error_of(device) == OIDN_ERROR_INVALID_ARGUMENT);
  CHECK(oidnNewSharedSemaphoreFromFD(device, 1, 0) == NULL && error_of(device) == OIDN_ERROR_INVALID_ARGUMENT);
  CHECK(oidnNewSharedBuffer(device, NULL, 4) == NULL && error_of(device) == OIDN_ERROR_INVALID_ARGUMENT);
  CHECK(oidnNewBuffer(device, (size_t)-1 / 4) == NULL && error_of(device) == OIDN_ERROR_OUT_OF_MEMORY);
  buffer = oidnNewBuffer(device, 16);
  oidnReadBuffer(buffer, 8, (size_t)-4, out);
  CHECK(error_of(device) == OIDN_ERROR_INVALID_ARGUMENT);

  filter = oidnNewFilter(device, "RT");
  CHECK(commit_of(filter, device) == OIDN_ERROR_INVALID_OPERATION); /* no images */
  oidnExecuteFilter(filter);
  CHECK(error_of(device) == OIDN_ERROR_INVALID_OPERATION);
  oidnSetFilterImage(filter, "color", buffer, OIDN_FORMAT_FLOAT3, 2, 2, 0, 0, 0);
  CHECK(error_of(device) == OIDN_ERROR_INVALID_ARGUMENT); /* larger than the buffer */
  oidnSetSharedFilterImage(filter, "color", pixels, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 8, 0);
  CHECK(error_of(device) == OIDN_ERROR_INVALID_ARGUMENT); /* stride below the pixel */
  oidnSetSharedFilterImage(filter, "color", pixels, OIDN_FORMAT_FLOAT2, WIDTH, HEIGHT, 0, 0, 0);
  oidnSetSharedFilterImage(filter, "output", out, OIDN_FORMAT_FLOAT2, WIDTH, HEIGHT, 0, 0, 0);
  CHECK(commit_of(filter, device) == OIDN_ERROR_INVALID_OPERATION);
  oidnSetSharedFilterImage(filter, "color", pixels, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  oidnSetSharedFilterImage(filter, "output", out, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT - 1, 0, 0, 0);
  CHECK(commit_of(filter, device) == OIDN_ERROR_INVALID_OPERATION);
  oidnSetSharedFilterImage(filter, "output", out, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  oidnSetSharedFilterImage(filter, "normal", out, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
  CHECK(commit_of(filter, device) == OIDN_ERROR_INVALID_OPERATION);
  oidnUnsetFilterImage(filter, "normal");
  oidnSetSharedFilterData(filter, "weights", pixels, 16);
  CHECK(commit_of(filter, device) == OIDN_ERROR_INVALID_OPERATION); /* not silently another model */
  oidnUnsetFilterData(filter, "weights");

  /* Cancelled before anything is written, now and later. */
  oidnSetFilterProgressMonitorFunction(filter, refuse, &calls);
  CHECK(commit_of(filter, device) == OIDN_ERROR_NONE);
  oidnExecuteFilter(filter);
  CHECK(error_of(device) == OIDN_ERROR_CANCELLED && calls == 1);
  oidnExecuteFilterAsync(filter);
  oidnSyncDevice(device);
  CHECK(error_of(device) == OIDN_ERROR_CANCELLED && calls == 2);
  for (i = 0; i < COUNT; ++i) CHECK(out[i] == 0);

  /* Infinity and NaN in, finite and not negative out. */
  for (i = 0; i < COUNT; i += 97) pixels[i] = i % 2 ? INFINITY : NAN;
  pixels[5] = -100;
  oidnSetFilterProgressMonitorFunction(filter, NULL, NULL);
  CHECK(commit_of(filter, device) == OIDN_ERROR_NONE);
  oidnExecuteFilter(filter);
  CHECK(error_of(device) == OIDN_ERROR_NONE);
  for (i = 0; i < COUNT; ++i) CHECK(isfinite(out[i]) && out[i] >= 0 && out[i] <= 1);
  oidnReleaseFilter(filter);
  oidnReleaseBuffer(buffer);
  oidnReleaseDevice(device);
}

static void exit_while_running(void) {
  static float pixels[COUNT], out[COUNT];
  OIDNFilter filter;
  int i;
  noise(pixels);
  filter = new_filter(new_device(), pixels, out);
  for (i = 0; i < 8; ++i) oidnExecuteFilterAsync(filter); /* and nobody waits */
}

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  if (strcmp(what, "order") == 0)
    order();
  else if (strcmp(what, "threads") == 0)
    threads();
  else if (strcmp(what, "errors") == 0)
    errors();
  else if (strcmp(what, "exit-while-running") == 0)
    exit_while_running();
  else
    return 2;
  printf("%s: as it should be\n", what);
  return 0;
}

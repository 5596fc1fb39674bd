/* A host that opens the library as plug-ins do: nothing of it is visible to others, and it is closed again.
 *
 *   oidn_plugin_host LIBRARY */
#define _GNU_SOURCE /* RTLD_LOCAL in C99 */
#include <OpenImageDenoise/oidn.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                              \
    }                                                                       \
  } while (0)

enum { WIDTH = 70, HEIGHT = 50, COUNT = WIDTH * HEIGHT * 3 };

static void open_privately(const char* path) {
  static float pixels[COUNT], out[COUNT];
  int i, round;
  for (i = 0; i < COUNT; ++i) pixels[i] = (float)(i % 89) / 50;
  for (round = 0; round < 2; ++round) {
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    OIDNDevice (*new_device_by)(OIDNDeviceType);
    void (*commit)(OIDNDevice);
    OIDNError (*get_error)(OIDNDevice, const char**);
    OIDNFilter (*make)(OIDNDevice, const char*);
    void (*set)(OIDNFilter, const char*, void*, OIDNFormat, size_t, size_t, size_t, size_t, size_t);
    void (*commit_filter)(OIDNFilter);
    void (*execute)(OIDNFilter);
    void (*release_filter)(OIDNFilter);
    void (*release_device)(OIDNDevice);
    OIDNDevice device;
    OIDNFilter filter;
    const char* message = "";
    if (library == NULL) fprintf(stderr, "%s\n", dlerror());
    CHECK(library != NULL);
    *(void**)&new_device_by = dlsym(library, "oidnNewDevice");
    *(void**)&commit = dlsym(library, "oidnCommitDevice");
    *(void**)&get_error = dlsym(library, "oidnGetDeviceError");
    *(void**)&make = dlsym(library, "oidnNewFilter");
    *(void**)&set = dlsym(library, "oidnSetSharedFilterImage");
    *(void**)&commit_filter = dlsym(library, "oidnCommitFilter");
    *(void**)&execute = dlsym(library, "oidnExecuteFilter");
    *(void**)&release_filter = dlsym(library, "oidnReleaseFilter");
    *(void**)&release_device = dlsym(library, "oidnReleaseDevice");
    device = new_device_by(OIDN_DEVICE_TYPE_DEFAULT);
    commit(device);
    if (get_error(device, &message) != OIDN_ERROR_NONE) fprintf(stderr, "%s\n", message);
    filter = make(device, "RT");
    CHECK(filter != NULL);
    set(filter, "color", pixels, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
    set(filter, "output", out, OIDN_FORMAT_FLOAT3, WIDTH, HEIGHT, 0, 0, 0);
    commit_filter(filter);
    execute(filter);
    CHECK(get_error(device, NULL) == OIDN_ERROR_NONE && out[COUNT / 2] > 0);
    release_filter(filter);
    release_device(device);
    CHECK(dlclose(library) == 0);
  }
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  open_privately(argv[1]);
  printf("as it should be\n");
  return 0;
}

/* A host of Open Image Denoise, in C99: reads PFM, denoises through the public API, writes PFM. It runs unchanged with
 * either library.
 *
 *   oidn_host OUT.pfm COLOR.pfm [ALBEDO.pfm NORMAL.pfm]     environment: QUALITY=4|5|6, LDR=1,
 *   ASYNC=1, MAX_MEMORY_MB=N */
#include <OpenImageDenoise/oidn.h>

#include "pfm.h"

static bool tell(void* user, double share) {
  *(double*)user = share;
  return true;
}

static int failed(OIDNDevice device) {
  const char* message = NULL;
  const OIDNError code = oidnGetDeviceError(device, &message);
  if (code != OIDN_ERROR_NONE) fprintf(stderr, "error %d: %s\n", (int)code, message);
  return code != OIDN_ERROR_NONE;
}

int main(int argc, char** argv) {
  static const char* const names[] = {"color", "albedo", "normal"};
  Pfm images[3] = {{0, 0, NULL}, {0, 0, NULL}, {0, 0, NULL}};
  OIDNDevice device = NULL;
  OIDNFilter filter = NULL;
  OIDNBuffer buffer = NULL;
  size_t bytes = 0;
  double share = -1;
  int i, result = 1;
  if (argc != 3 && argc != 5) {
    fprintf(stderr, "usage: oidn_host OUT.pfm COLOR.pfm [ALBEDO.pfm NORMAL.pfm]\n");
    return 2;
  }
  device = oidnNewDevice(OIDN_DEVICE_TYPE_DEFAULT);
  oidnCommitDevice(device);
  if (failed(device)) goto end;
  filter = oidnNewFilter(device, "RT");
  for (i = 0; i < argc - 2; ++i) {
    if (read_pfm(argv[i + 2], &images[i]) != 0) goto end;
    /* Row 0 of PFM is the bottom row: the filter does not mind. */
    oidnSetSharedFilterImage(filter, names[i], images[i].pixels, OIDN_FORMAT_FLOAT3, (size_t)images[i].width,
                             (size_t)images[i].height, 0, 0, 0);
  }
  bytes = (size_t)images[0].width * (size_t)images[0].height * 3 * sizeof(float);
  buffer = oidnNewBuffer(device, bytes);
  oidnSetFilterImage(filter, "output", buffer, OIDN_FORMAT_FLOAT3, (size_t)images[0].width, (size_t)images[0].height, 0,
                     0, 0);
  oidnSetFilterBool(filter, "hdr", getenv("LDR") == NULL);
  if (getenv("QUALITY") != NULL) oidnSetFilterInt(filter, "quality", atoi(getenv("QUALITY")));
  if (getenv("MAX_MEMORY_MB") != NULL) oidnSetFilterInt(filter, "maxMemoryMB", atoi(getenv("MAX_MEMORY_MB")));
  oidnSetFilterProgressMonitorFunction(filter, tell, &share);
  oidnCommitFilter(filter);
  if (failed(device)) goto end;
  if (getenv("ASYNC") != NULL) {
    oidnExecuteFilterAsync(filter);
    oidnSyncDevice(device);
  } else {
    oidnExecuteFilter(filter);
  }
  if (failed(device)) goto end;
  oidnReadBuffer(buffer, 0, bytes, images[0].pixels);
  printf("progress %g, version %d\n", share, oidnGetDeviceInt(device, "version"));
  result = write_pfm(argv[1], &images[0]);
end:
  if (buffer != NULL) oidnReleaseBuffer(buffer);
  if (filter != NULL) oidnReleaseFilter(filter);
  if (device != NULL) oidnReleaseDevice(device);
  for (i = 0; i < 3; ++i) free(images[i].pixels);
  return result;
}

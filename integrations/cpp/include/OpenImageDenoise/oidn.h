/* The C99 API of Open Image Denoise 2.x, as libOpenImageDenoise of mdenoise has it.
 *
 * Names, values and signatures are those of the public API of RenderKit/oidn 2.5 (Apache-2.0), so that objects compiled
 * against either header link to either library. See docs/cpp.md for what is supported. */
#ifndef OPEN_IMAGE_DENOISE_OIDN_H
#define OPEN_IMAGE_DENOISE_OIDN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define OIDN_API __declspec(dllexport)
#else
#define OIDN_API __attribute__((visibility("default")))
#endif

#define OIDN_VERSION_MAJOR 2
#define OIDN_VERSION_MINOR 5
#define OIDN_VERSION_PATCH 1
#define OIDN_VERSION 20501
#define OIDN_UUID_SIZE 16u
#define OIDN_LUID_SIZE 8u

#if defined(__cplusplus)
extern "C" {
#endif

typedef enum {
  OIDN_DEVICE_TYPE_DEFAULT = 0,
  OIDN_DEVICE_TYPE_CPU = 1,
  OIDN_DEVICE_TYPE_SYCL = 2,
  OIDN_DEVICE_TYPE_CUDA = 3,
  OIDN_DEVICE_TYPE_HIP = 4,
  OIDN_DEVICE_TYPE_METAL = 5
} OIDNDeviceType;

typedef enum {
  OIDN_ERROR_NONE = 0,
  OIDN_ERROR_UNKNOWN = 1,
  OIDN_ERROR_INVALID_ARGUMENT = 2,
  OIDN_ERROR_INVALID_OPERATION = 3,
  OIDN_ERROR_OUT_OF_MEMORY = 4,
  OIDN_ERROR_UNSUPPORTED_HARDWARE = 5,
  OIDN_ERROR_CANCELLED = 6
} OIDNError;

typedef enum {
  OIDN_FORMAT_UNDEFINED = 0,
  OIDN_FORMAT_FLOAT = 1,
  OIDN_FORMAT_FLOAT2 = 2,
  OIDN_FORMAT_FLOAT3 = 3,
  OIDN_FORMAT_FLOAT4 = 4,
  OIDN_FORMAT_HALF = 257,
  OIDN_FORMAT_HALF2 = 258,
  OIDN_FORMAT_HALF3 = 259,
  OIDN_FORMAT_HALF4 = 260
} OIDNFormat;

typedef enum {
  OIDN_STORAGE_UNDEFINED = 0,
  OIDN_STORAGE_HOST = 1,
  OIDN_STORAGE_DEVICE = 2,
  OIDN_STORAGE_MANAGED = 3
} OIDNStorage;

typedef enum {
  OIDN_QUALITY_DEFAULT = 0,
  OIDN_QUALITY_FAST = 4,
  OIDN_QUALITY_BALANCED = 5,
  OIDN_QUALITY_HIGH = 6
} OIDNQuality;

/* Bit masks in the original; only passed through here. */
typedef int OIDNExternalMemoryTypeFlag;
typedef int OIDNExternalSemaphoreTypeFlags;

typedef struct OIDNDeviceImpl* OIDNDevice;
typedef struct OIDNBufferImpl* OIDNBuffer;
typedef struct OIDNFilterImpl* OIDNFilter;
typedef struct OIDNSemaphoreImpl* OIDNSemaphore;

typedef void (*OIDNErrorFunction)(void* userPtr, OIDNError code, const char* message);
typedef bool (*OIDNProgressMonitorFunction)(void* userPtr, double n);

/* Physical devices: one, the host. */
OIDN_API int oidnGetNumPhysicalDevices(void);
OIDN_API bool oidnGetPhysicalDeviceBool(int physicalDeviceID, const char* name);
OIDN_API int oidnGetPhysicalDeviceInt(int physicalDeviceID, const char* name);
OIDN_API const char* oidnGetPhysicalDeviceString(int physicalDeviceID, const char* name);
OIDN_API const void* oidnGetPhysicalDeviceData(int physicalDeviceID, const char* name, size_t* byteSize);
OIDN_API bool oidnIsCPUDeviceSupported(void);
OIDN_API bool oidnIsSYCLDeviceSupported(const void* device);
OIDN_API bool oidnIsCUDADeviceSupported(int deviceID);
OIDN_API bool oidnIsHIPDeviceSupported(int deviceID);
OIDN_API bool oidnIsMetalDeviceSupported(const void* device);

/* Devices */
OIDN_API OIDNDevice oidnNewDevice(OIDNDeviceType type);
OIDN_API OIDNDevice oidnNewDeviceByID(int physicalDeviceID);
OIDN_API OIDNDevice oidnNewDeviceByUUID(const void* uuid);
OIDN_API OIDNDevice oidnNewDeviceByLUID(const void* luid);
OIDN_API OIDNDevice oidnNewDeviceByPCIAddress(int pciDomain, int pciBus, int pciDevice, int pciFunction);
OIDN_API OIDNDevice oidnNewSYCLDevice(const void* queues, int numQueues);
OIDN_API OIDNDevice oidnNewCUDADevice(const int* deviceIDs, const void* streams, int numPairs);
OIDN_API OIDNDevice oidnNewHIPDevice(const int* deviceIDs, const void* streams, int numPairs);
OIDN_API OIDNDevice oidnNewMetalDevice(const void* commandQueues, int numQueues);
OIDN_API void oidnRetainDevice(OIDNDevice device);
OIDN_API void oidnReleaseDevice(OIDNDevice device);
OIDN_API void oidnSetDeviceBool(OIDNDevice device, const char* name, bool value);
OIDN_API void oidnSetDeviceInt(OIDNDevice device, const char* name, int value);
OIDN_API bool oidnGetDeviceBool(OIDNDevice device, const char* name);
OIDN_API int oidnGetDeviceInt(OIDNDevice device, const char* name);
OIDN_API void oidnSetDeviceErrorFunction(OIDNDevice device, OIDNErrorFunction func, void* userPtr);
OIDN_API OIDNError oidnGetDeviceError(OIDNDevice device, const char** outMessage);
OIDN_API void oidnCommitDevice(OIDNDevice device);
OIDN_API void oidnSyncDevice(OIDNDevice device);

/* Buffers */
OIDN_API OIDNBuffer oidnNewBuffer(OIDNDevice device, size_t byteSize);
OIDN_API OIDNBuffer oidnNewBufferWithStorage(OIDNDevice device, size_t byteSize, OIDNStorage storage);
OIDN_API OIDNBuffer oidnNewSharedBuffer(OIDNDevice device, void* devPtr, size_t byteSize);
OIDN_API OIDNBuffer oidnNewSharedBufferFromFD(OIDNDevice device, OIDNExternalMemoryTypeFlag fdType, int fd,
                                              size_t byteSize);
OIDN_API OIDNBuffer oidnNewSharedBufferFromWin32Handle(OIDNDevice device, OIDNExternalMemoryTypeFlag handleType,
                                                       void* handle, const void* name, size_t byteSize);
OIDN_API OIDNBuffer oidnNewSharedBufferFromMetal(OIDNDevice device, const void* buffer);
OIDN_API size_t oidnGetBufferSize(OIDNBuffer buffer);
OIDN_API OIDNStorage oidnGetBufferStorage(OIDNBuffer buffer);
OIDN_API void* oidnGetBufferData(OIDNBuffer buffer);
OIDN_API void oidnReadBuffer(OIDNBuffer buffer, size_t byteOffset, size_t byteSize, void* dstHostPtr);
OIDN_API void oidnReadBufferAsync(OIDNBuffer buffer, size_t byteOffset, size_t byteSize, void* dstHostPtr);
OIDN_API void oidnWriteBuffer(OIDNBuffer buffer, size_t byteOffset, size_t byteSize, const void* srcHostPtr);
OIDN_API void oidnWriteBufferAsync(OIDNBuffer buffer, size_t byteOffset, size_t byteSize, const void* srcHostPtr);
OIDN_API void oidnRetainBuffer(OIDNBuffer buffer);
OIDN_API void oidnReleaseBuffer(OIDNBuffer buffer);

/* Semaphores: none can be made on the host. */
OIDN_API OIDNSemaphore oidnNewSharedSemaphoreFromFD(OIDNDevice device, OIDNExternalSemaphoreTypeFlags fdType, int fd);
OIDN_API OIDNSemaphore oidnNewSharedSemaphoreFromWin32Handle(OIDNDevice device,
                                                             OIDNExternalSemaphoreTypeFlags handleType, void* handle,
                                                             const void* name);
OIDN_API void oidnSignalSemaphoresAsync(OIDNDevice device, const OIDNSemaphore* semaphores, const uint64_t* values,
                                        int numSemaphores);
OIDN_API void oidnWaitSemaphoresAsync(OIDNDevice device, const OIDNSemaphore* semaphores, const uint64_t* values,
                                      const uint32_t* timeoutsMs, int numSemaphores);
OIDN_API void oidnRetainSemaphore(OIDNSemaphore semaphore);
OIDN_API void oidnReleaseSemaphore(OIDNSemaphore semaphore);

/* Filters */
OIDN_API OIDNFilter oidnNewFilter(OIDNDevice device, const char* type);
OIDN_API void oidnRetainFilter(OIDNFilter filter);
OIDN_API void oidnReleaseFilter(OIDNFilter filter);
OIDN_API void oidnSetFilterImage(OIDNFilter filter, const char* name, OIDNBuffer buffer, OIDNFormat format,
                                 size_t width, size_t height, size_t byteOffset, size_t pixelByteStride,
                                 size_t rowByteStride);
OIDN_API void oidnSetSharedFilterImage(OIDNFilter filter, const char* name, void* devPtr, OIDNFormat format,
                                       size_t width, size_t height, size_t byteOffset, size_t pixelByteStride,
                                       size_t rowByteStride);
OIDN_API void oidnUnsetFilterImage(OIDNFilter filter, const char* name);
OIDN_API void oidnSetSharedFilterData(OIDNFilter filter, const char* name, void* hostPtr, size_t byteSize);
OIDN_API void oidnUpdateFilterData(OIDNFilter filter, const char* name);
OIDN_API void oidnUnsetFilterData(OIDNFilter filter, const char* name);
OIDN_API void oidnSetFilterBool(OIDNFilter filter, const char* name, bool value);
OIDN_API bool oidnGetFilterBool(OIDNFilter filter, const char* name);
OIDN_API void oidnSetFilterInt(OIDNFilter filter, const char* name, int value);
OIDN_API int oidnGetFilterInt(OIDNFilter filter, const char* name);
OIDN_API void oidnSetFilterFloat(OIDNFilter filter, const char* name, float value);
OIDN_API float oidnGetFilterFloat(OIDNFilter filter, const char* name);
OIDN_API void oidnSetFilterProgressMonitorFunction(OIDNFilter filter, OIDNProgressMonitorFunction func, void* userPtr);
OIDN_API void oidnCommitFilter(OIDNFilter filter);
OIDN_API void oidnExecuteFilter(OIDNFilter filter);
OIDN_API void oidnExecuteFilterAsync(OIDNFilter filter);
OIDN_API void oidnExecuteSYCLFilterAsync(OIDNFilter filter, const void* depEvents, int numDepEvents, void* doneEvent);

#if defined(__cplusplus)
}
#endif
#endif

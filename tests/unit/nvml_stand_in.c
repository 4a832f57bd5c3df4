/* SPDX-License-Identifier: Apache-2.0 */
/* A library with NVML's calls for three GPUs, of which the last can't be opened; the layouts are
   written down here a second time, by offsets, so that a wrong one in the detector is found. */
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { kSuccess = 0, kInvalidArgument = 2, kNotSupported = 3, kGpuIsLost = 15 };

static int running = 0;
static int devices[2] = {0, 1};

static int number_of(const void* device) { return *(const int*)device; }

static void put(void* base, size_t offset, unsigned value) {
  memcpy((char*)base + offset, &value, sizeof value);
}
static unsigned get(const void* base, size_t offset) {
  unsigned value = 0;
  memcpy(&value, (const char*)base + offset, sizeof value);
  return value;
}

/* 16 bytes of text, five numbers (domain, bus, device, ...), 32 bytes of text. */
static int fill_pci(void* info, int device) {
  memset(info, 'x', 68);
  put(info, 16, device == 0 ? 0 : 1);
  put(info, 20, device == 0 ? 0x1b : 0x1c);
  put(info, 24, device == 0 ? 0 : 0x1f);
  return kSuccess;
}

EXPORT int nvmlInit_v2(void) { return running++, kSuccess; }
EXPORT int nvmlShutdown(void) { return running--, kSuccess; }
EXPORT const char* nvmlErrorString(int result) {
  return result == kSuccess ? "Success" : "An error";
}
EXPORT int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 3;
  return running == 1 ? kSuccess : kInvalidArgument;
}
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  if (index >= 2) return kGpuIsLost;
  *device = &devices[index];
  return kSuccess;
}
EXPORT int nvmlDeviceGetPciInfo_v3(void* device, void* info) {
  return fill_pci(info, number_of(device));
}
EXPORT int nvmlDeviceGetName(void* device, char* name, unsigned length) {
  snprintf(name, length, "NVIDIA Stand-In %d", number_of(device));
  return kSuccess;
}
EXPORT int nvmlDeviceGetUUID(void* device, char* uuid, unsigned length) {
  snprintf(uuid, length, "GPU-stand-in-%d", number_of(device));
  return kSuccess;
}
EXPORT int nvmlDeviceGetCudaComputeCapability(void* device, int* major, int* minor) {
  (void)device;
  *major = 9;
  *minor = 0;
  return kSuccess;
}
EXPORT int nvmlDeviceGetMaxPcieLinkGeneration(void* device, unsigned* generation) {
  (void)device;
  *generation = 5;
  return kSuccess;
}
EXPORT int nvmlDeviceGetCurrPcieLinkWidth(void* device, unsigned* width) {
  (void)device;
  *width = 16;
  return kSuccess;
}
EXPORT int nvmlDeviceGetNvLinkState(void* device, unsigned link, unsigned* state) {
  (void)device;
  if (link >= 2) return kInvalidArgument;
  *state = link == 0 ? 1 : 0;
  return kSuccess;
}
EXPORT int nvmlDeviceGetNvLinkVersion(void* device, unsigned link, unsigned* version) {
  (void)device;
  (void)link;
  *version = 6;
  return kSuccess;
}
EXPORT int nvmlDeviceGetNvLinkRemoteDeviceType(void* device, unsigned link, unsigned* type) {
  if (link == 0)
    *type = 0;
  else
    *type = number_of(device) == 0 ? 0xff : 2;
  return kSuccess;
}
EXPORT int nvmlDeviceGetNvLinkRemotePciInfo_v2(void* device, unsigned link, void* info) {
  return link == 0 ? fill_pci(info, 1 - number_of(device)) : kNotSupported;
}
/* Two numbers, two of 8 bytes, the value's type, its result, the value: 40 bytes. */
EXPORT int nvmlDeviceGetFieldValues(void* device, int count, void* values) {
  for (int i = 0; i < count; ++i) {
    char* const value = (char*)values + 40 * i;
    const unsigned field = get(value, 0);
    const unsigned link = get(value, 4);
    put(value, 28, number_of(device) == 0 ? kSuccess : kNotSupported);
    put(value, 32, field == 170 ? 2 : field == 171 ? link == 0 : field == 172 ? 45000 : 0);
  }
  return kSuccess;
}

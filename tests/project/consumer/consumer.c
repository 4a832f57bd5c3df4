/* A program outside the tree: links the installed library and runs one AllReduce among two ranks of one thread. */
#include <stdio.h>
#include <tutti/tutti.h>

static int check(tuttiResult_t result) {
  if (result != tuttiSuccess) fprintf(stderr, "%s: %s\n", tuttiGetErrorString(result), tuttiGetLastError(NULL));
  return result != tuttiSuccess;
}

int main(void) {
  tuttiComm_t comms[2];
  float send[2] = {1.0f, 2.0f}, recv[2] = {0.0f, 0.0f};
  int i, failed = check(tuttiCommInitAll(comms, 2, NULL));
  if (failed) return 1;
  failed |= check(tuttiGroupStart());
  for (i = 0; i < 2; ++i) failed |= check(tuttiAllReduce(&send[i], &recv[i], 1, tuttiFloat32, tuttiSum, comms[i], NULL));
  failed |= check(tuttiGroupEnd());
  for (i = 0; i < 2; ++i) failed |= check(tuttiCommDestroy(comms[i]));
  printf("%g %g\n", recv[0], recv[1]);
  return failed || recv[0] != 3.0f || recv[1] != 3.0f;
}

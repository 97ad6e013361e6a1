/* Preloaded into the bed where the name of the machine does not lead to 127.0.0.1: there it is called localhost. */
#include <string.h>

int gethostname(char *name, size_t size) {
  if (size < sizeof "localhost") return -1;
  memcpy(name, "localhost", sizeof "localhost");
  return 0;
}

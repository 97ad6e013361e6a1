/*
 * A long way on one machine, where the kernel has no netem: two network namespaces, joined by a line of a given delay and
 * rate. What one end's TUN device sends is held for the time that the way takes and then given to the other's.
 *
 *   delayline MS MBIT     milliseconds each way, megabits a second
 *
 * Prints the pids of two processes that hold the ends, 10.77.0.1 and 10.77.0.2, for `nsenter -t PID -n`. Everything goes
 * when its standard input closes: no name, device or route is left.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MTU = 9000, SLOTS = 1 << 14, QUEUE_BYTES = 16 << 20 };

static void device(int control, unsigned long request, const char *name, const char *address, int value) {
  struct ifreq r = {0};
  strcpy(r.ifr_name, name);
  if (address) {
    struct sockaddr_in *in = (struct sockaddr_in *)&r.ifr_addr;
    in->sin_family = AF_INET;
    inet_pton(AF_INET, address, &in->sin_addr);
  } else if (request == SIOCSIFFLAGS) r.ifr_flags = value;
  else r.ifr_ifru.ifru_ivalue = value; /* MTU and queue length lie at the same place. */
  if (ioctl(control, request, &r)) err(1, "%s", name);
}

/* A process in a namespace of its own, whose TUN device is handed to this one. */
static int open_end(const char *own, const char *other, pid_t *holder) {
  int pair[2];
  char byte = 0, space[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec one = {&byte, 1};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) err(1, "socketpair");
  if (!(*holder = fork())) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNET)) err(1, "a network namespace needs root");
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "way"};
    if (tun < 0 || ioctl(tun, TUNSETIFF, &r)) err(1, "/dev/net/tun");
    int control = socket(AF_INET, SOCK_DGRAM, 0);
    device(control, SIOCSIFADDR, "way", own, 0);
    device(control, SIOCSIFDSTADDR, "way", other, 0);
    device(control, SIOCSIFMTU, "way", NULL, MTU);
    device(control, SIOCSIFTXQLEN, "way", NULL, 20000);
    device(control, SIOCSIFFLAGS, "way", NULL, IFF_UP | IFF_RUNNING);
    device(control, SIOCSIFFLAGS, "lo", NULL, IFF_UP | IFF_RUNNING);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(head), &tun, sizeof tun);
    if (sendmsg(pair[1], &message, 0) != 1) err(1, "sendmsg");
    close(tun);
    for (int i = 0; i < 3; i++) close(i);
    for (;;) pause();
  }
  close(pair[1]);
  if (recvmsg(pair[0], &message, 0) != 1) errx(1, "an end could not be made");
  close(pair[0]);
  int tun;
  memcpy(&tun, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof tun);
  return tun;
}

struct packet { uint64_t due; int length; unsigned char bytes[MTU]; };

/* One direction: packets on their way, in order. */
static struct way { struct packet *ring; unsigned first, next; uint64_t free_at; } ways[2];

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int main(int count, char **words) {
  if (count != 3) errx(2, "delayline MS MBIT");
  const uint64_t delay = atof(words[1]) * 1e6;
  const double ns_per_byte = 8000.0 / atof(words[2]);
  pid_t holders[2];
  int ends[2] = {open_end("10.77.0.1", "10.77.0.2", &holders[0]), open_end("10.77.0.2", "10.77.0.1", &holders[1])};
  for (int i = 0; i < 2; i++)
    if (!(ways[i].ring = malloc(SLOTS * sizeof(struct packet)))) err(1, "malloc");
  prctl(PR_SET_TIMERSLACK, 1000);
  /* A line does not wait for a processor. */
  setpriority(PRIO_PROCESS, 0, -20);
  printf("%d %d\n", holders[0], holders[1]);
  fflush(stdout);

  for (;;) {
    uint64_t at = now(), soonest = UINT64_MAX;
    for (int i = 0; i < 2; i++) {
      struct way *way = &ways[i];
      for (; way->first != way->next && way->ring[way->first % SLOTS].due <= at; way->first++) {
        struct packet *packet = &way->ring[way->first % SLOTS];
        if (write(ends[1 - i], packet->bytes, packet->length) < 0) { /* dropped, as a full router does */ }
      }
      if (way->first != way->next && way->ring[way->first % SLOTS].due < soonest) soonest = way->ring[way->first % SLOTS].due;
    }
    struct pollfd polls[3] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}, {0, 0, 0}};
    struct timespec wait = {0}, *limit = NULL;
    if (soonest != UINT64_MAX) {
      at = now();
      wait.tv_nsec = soonest > at ? (soonest - at) % 1000000000 : 0;
      limit = &wait;
    }
    if (ppoll(polls, 3, limit, NULL) < 0) err(1, "ppoll");
    if (polls[2].revents & (POLLHUP | POLLERR)) break;
    at = now();
    for (int i = 0; i < 2; i++) {
      struct way *way = &ways[i];
      for (int n = 0; n < 64 && way->next - way->first < SLOTS; n++) {
        struct packet *packet = &way->ring[way->next % SLOTS];
        packet->length = read(ends[i], packet->bytes, MTU);
        if (packet->length <= 0) break;
        uint64_t start = way->free_at > at ? way->free_at : at;
        if ((start - at) / ns_per_byte > QUEUE_BYTES) continue;
        way->free_at = start + packet->length * ns_per_byte;
        packet->due = way->free_at + delay;
        way->next++;
      }
    }
  }
  for (int i = 0; i < 2; i++) kill(holders[i], SIGKILL);
}

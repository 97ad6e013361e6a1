/* A toy of pam_duo for the test bed: the same menu, the same words, no service behind it.
 *
 * dir=FOLDER      USER.push says what becomes of a push: "approve" (also when empty), "deny", "timeout", "delay SECONDS";
 *                 USER.passcodes holds one passcode a line, each good for one login.
 * menu=long       three choices instead of one.
 * autopush        no menu: a push at once, and no question (for the SSH method "password", which can carry none).
 *
 * A refused answer is asked for again inside the same conversation, three times, as pam_duo does. */
#define PAM_SM_AUTH
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 512

static void tell(pam_handle_t *pam, const char *words) {
  char *ignored = NULL;
  pam_prompt(pam, PAM_TEXT_INFO, &ignored, "%s", words);
  free(ignored);
}

/* Whether the passcode is in the file; it is struck out. */
static int spend(const char *path, const char *code) {
  char kept[8192] = "", line[64];
  int found = 0;
  FILE *file = fopen(path, "r+");
  if (!file) return 0;
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    if (!found && *line && !strcmp(line, code)) found = 1;
    else if (*line && strlen(kept) + strlen(line) + 2 < sizeof kept) strcat(strcat(kept, line), "\n");
  }
  if (found) {
    rewind(file);
    if (ftruncate(fileno(file), 0) == 0) fputs(kept, file);
  }
  fclose(file);
  return found;
}

static int push(pam_handle_t *pam, const char *path) {
  char how[64] = "";
  unsigned seconds = 0;
  FILE *file = fopen(path, "r");
  if (file) {
    if (!fgets(how, sizeof how, file)) *how = 0;
    fclose(file);
  }
  how[strcspn(how, "\n")] = 0;
  if (sscanf(how, "delay %u", &seconds) == 1) {
    sleep(seconds);
    *how = 0;
  }
  if (!*how || !strcmp(how, "approve")) {
    tell(pam, "Success. Logging you in...");
    return 1;
  }
  tell(pam, !strcmp(how, "timeout") ? "Login timed out." : "Login request denied.");
  return 0;
}

int pam_sm_authenticate(pam_handle_t *pam, int flags, int argc, const char **argv) {
  const char *user = NULL, *dir = "/nonexistent";
  int choices = 1, autopush = 0;
  for (int i = 0; i < argc; i++) {
    if (!strncmp(argv[i], "dir=", 4)) dir = argv[i] + 4;
    if (!strcmp(argv[i], "menu=long")) choices = 3;
    if (!strcmp(argv[i], "autopush")) autopush = 1;
  }
  if (pam_get_user(pam, &user, NULL) != PAM_SUCCESS || !user) return PAM_USER_UNKNOWN;
  char push_path[PATH_SIZE], codes_path[PATH_SIZE];
  snprintf(push_path, sizeof push_path, "%s/%s.push", dir, user);
  snprintf(codes_path, sizeof codes_path, "%s/%s.passcodes", dir, user);

  if (autopush) {
    tell(pam, "Pushed a login request to your device...");
    return push(pam, push_path) ? PAM_SUCCESS : PAM_AUTH_ERR;
  }
  for (int attempt = 0; attempt < 3; attempt++) {
    char *answer = NULL;
    int said = pam_prompt(pam, PAM_PROMPT_ECHO_ON, &answer,
                          "Duo two-factor login for %s\n\nEnter a passcode or select one of the following options:\n\n"
                          " 1. Duo Push to XXX-XXX-1234\n%s\nPasscode or option (1-%d): ",
                          user, choices == 3 ? " 2. Phone call to XXX-XXX-1234\n 3. SMS passcodes to XXX-XXX-1234\n" : "",
                          choices);
    if (said != PAM_SUCCESS || !answer) return PAM_ABORT;
    int in = 0;
    if (!strcmp(answer, "1") || !strcmp(answer, "push") || (choices == 3 && !strcmp(answer, "2"))) in = push(pam, push_path);
    else if (choices == 3 && !strcmp(answer, "3")) tell(pam, "New SMS passcodes sent.");
    else if (!(in = spend(codes_path, answer))) tell(pam, "Incorrect passcode. Please try again.");
    memset(answer, 0, strlen(answer));
    free(answer);
    if (in) return PAM_SUCCESS;
  }
  return PAM_AUTH_ERR;
}

int pam_sm_setcred(pam_handle_t *pam, int flags, int argc, const char **argv) { return PAM_SUCCESS; }

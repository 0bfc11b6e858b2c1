/* Checks for programs in C: each prints what failed and goes on; report() is main's return value. */
#pragma once

#include <stdio.h>
#include <string.h>

#include "octavo/octavo.h"

static int checks_made, checks_failed;

static inline int check(int holds, const char* what, int line) {
  ++checks_made;
  if (!holds) {
    ++checks_failed;
    printf("line %d: %s does not hold; last error: %s\n", line, what, octavo_last_error());
  }
  return holds;
}
#define CHECK(condition) check((condition) != 0, #condition, __LINE__)
/* A success leaves no error message. */
#define CHECK_OK(call) (CHECK((call) == OCTAVO_OK), CHECK(octavo_last_error()[0] == '\0'))
/* The call fails with this code, with a message that contains `words`. */
#define CHECK_ERROR(call, code, words) check_error((call), (code), (words), #call, __LINE__)

static inline void check_error(octavo_status_t status, octavo_status_t code, const char* words, const char* call,
                               int line) {
  ++checks_made;
  if (status == code && strstr(octavo_last_error(), words) != NULL) return;
  ++checks_failed;
  printf("line %d: %s gave %s: \"%s\"; expected %s with \"%s\"\n", line, call, octavo_status_name(status),
         octavo_last_error(), octavo_status_name(code), words);
}

static inline int report(void) {
  printf("%d checks, %d failed\n", checks_made, checks_failed);
  return checks_failed != 0 || checks_made == 0;
}

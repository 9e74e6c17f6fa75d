// A stand-in for NVRTC: what it "compiles" is a text that begins with its own version. VERSION is its major version;
// NVRTC_BROKEN in the environment is the answer to every compilation.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char image[64];

int nvrtcVersion(int *major, int *minor) {
    *major = VERSION;
    *minor = 4;
    return 0;
}
int nvrtcGetNumSupportedArchs(int *count) {
    *count = 2;
    return 0;
}
int nvrtcGetSupportedArchs(int *architectures) {
    architectures[0] = 80;
    architectures[1] = 90;
    return 0;
}
int nvrtcCreateProgram(void **program, const char *source, const char *name, int count, const char *const *headers,
                       const char *const *names) {
    (void)source, (void)count, (void)headers, (void)names;
    *program = image;
    snprintf(image, sizeof(image), "%d %s", VERSION, name);
    return 0;
}
int nvrtcCompileProgram(void *program, int count, const char *const *options) {
    (void)program, (void)count, (void)options;
    const char *broken = getenv("NVRTC_BROKEN");
    return broken ? atoi(broken) : 0;
}
int nvrtcDestroyProgram(void **program) {
    *program = NULL;
    return 0;
}
int nvrtcGetProgramLogSize(void *program, size_t *bytes) {
    (void)program;
    *bytes = 1;
    return 0;
}
int nvrtcGetProgramLog(void *program, char *log) {
    (void)program;
    *log = 0;
    return 0;
}
static int give_size(void *program, size_t *bytes) {
    *bytes = strlen(program) + 1;
    return 0;
}
static int give(void *program, char *to) {
    strcpy(to, program);
    return 0;
}
int nvrtcGetPTXSize(void *program, size_t *bytes) { return give_size(program, bytes); }
int nvrtcGetPTX(void *program, char *to) { return give(program, to); }
int nvrtcGetCUBINSize(void *program, size_t *bytes) { return give_size(program, bytes); }
int nvrtcGetCUBIN(void *program, char *to) { return give(program, to); }

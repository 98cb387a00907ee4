/*
 * Preloaded into a node: zeroed blocks of about the size of CPython's thread states get pages of their own, which nobody
 * may touch once they are freed. Whoever does ends the node, where it would otherwise change somebody else's memory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

/* glibc's own, below these. */
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_malloc(size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

#define PAGE 4096ul
#define SMALLEST 400
#define LARGEST 16384
/* Addresses that Linux gives to nobody who does not ask for them. */
#define FIRST 0x5a0000000000ul
#define SPAN 0x010000000000ul

static uintptr_t next = FIRST;

static int is_ours(const void *block) {
    return (uintptr_t)block >= FIRST && (uintptr_t)block < FIRST + SPAN;
}

/* The length lies in a page of its own before the block. */
static size_t length_of(const void *block) {
    return *(size_t *)((uintptr_t)block - PAGE);
}

void *calloc(size_t number, size_t size) {
    if (number != 1 || size < SMALLEST || size > LARGEST) {
        return __libc_calloc(number, size);
    }
    size_t length = (size + PAGE - 1) & ~(PAGE - 1);
    uintptr_t at = __atomic_fetch_add(&next, length + PAGE, __ATOMIC_RELAXED);
    void *pages = mmap((void *)at, length + PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (pages == MAP_FAILED) {
        return __libc_calloc(number, size);
    }
    *(size_t *)pages = length;
    return (char *)pages + PAGE;
}

void free(void *block) {
    if (is_ours(block)) {
        mprotect(block, length_of(block), PROT_NONE);
    } else {
        __libc_free(block);
    }
}

void *realloc(void *block, size_t size) {
    if (!is_ours(block)) {
        return __libc_realloc(block, size);
    }
    void *moved = __libc_malloc(size);
    if (moved != NULL) {
        size_t length = length_of(block);
        memcpy(moved, block, size < length ? size : length);
        free(block);
    }
    return moved;
}

size_t malloc_usable_size(void *block) {
    static size_t (*below)(void *);
    if (is_ours(block)) {
        return length_of(block);
    }
    if (below == NULL) {
        below = (size_t(*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size");
    }
    return below(block);
}

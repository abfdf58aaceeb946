/* Repeat calls of gradient_filter.c that recorded_calls.py recorded, on another processor.
 *
 * Each array lies between pages that may not be touched, flush against one of them. After the call
 * it has to hold what it held after the recorded one. How gfb_save packs x~ and w~ depends on the
 * processor, so gfb_filtered gets what gfb_save has packed here, and a workspace as large as it
 * needs here.
 *
 * usage: native_replay FILE. Prints the number of calls; exits with 1 if a result was wrong. */

#include "gradient_filter.c"
#include "pthread_team.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MOST_ARGUMENTS = 9, ARRAYS = 7, GUARD = 1 << 16 };
enum { STRUCTURE, INTEGER, NUMBER, NOTHING, ARRAY };
static const char *const FUNCTIONS[] = {
    "gfb_pool_nchw",      "gfb_pool_nhwc", "gfb_expand_nchw", "gfb_expand_nhwc", "gfb_sum_windows",
    "gfb_repeat_windows", "gfb_save",      "gfb_depthwise",   "gfb_filtered"};
enum { POOL_NCHW, POOL_NHWC, EXPAND_NCHW, EXPAND_NHWC, SUM_WINDOWS, REPEAT_WINDOWS, SAVE,
       DEPTHWISE, FILTERED };

typedef struct {
    char *pages;
    size_t size; /* guards included */
    REAL *numbers;
} array_t;

typedef struct {
    int64_t kind, size;
    char *before, *after; /* before: the structure, too */
    array_t array;
    double number;
    index_t integer;
} argument_t;

typedef struct {
    int64_t function, count, number;
    thread_pool_t thread_pool;
    argument_t arguments[MOST_ARGUMENTS];
} call_t;

static array_t x_sum, w_sum; /* what gfb_save packed last */

static void *wanted(void *pointer)
{
    if (pointer == NULL || pointer == MAP_FAILED) {
        perror("native_replay");
        exit(2);
    }
    return pointer;
}

static array_t array_of(size_t size)
{
    static int flush;
    size_t page = GUARD, pages = (size + page - 1) / page * page;
    array_t array = {NULL, pages + 2 * page, NULL};
    array.pages = wanted(mmap(NULL, array.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages > 0 && mprotect(array.pages + page, pages, PROT_READ | PROT_WRITE))
        wanted(NULL);
    flush = !flush;
    array.numbers = (REAL *)(array.pages + page + (flush ? pages - size : 0));
    return array;
}

static void let_go(array_t *array)
{
    if (array->pages)
        munmap(array->pages, array->size);
    array->pages = NULL;
}

static void take_bytes(FILE *file, void *to, size_t size)
{
    if (size > 0 && fread(to, size, 1, file) != 1)
        exit(2);
}

static int64_t take_integer(FILE *file)
{
    int64_t value;
    take_bytes(file, &value, sizeof value);
    return value;
}

static char *taken_bytes(FILE *file, int64_t size)
{
    char *bytes = wanted(malloc((size_t)size + 1));
    take_bytes(file, bytes, (size_t)size);
    return bytes;
}

static void read_argument(FILE *file, argument_t *a)
{
    *a = (argument_t){.kind = take_integer(file)};
    if (a->kind == INTEGER) {
        a->integer = take_integer(file);
    } else if (a->kind == NUMBER) {
        take_bytes(file, &a->number, sizeof a->number);
    } else if (a->kind != NOTHING) {
        a->size = take_integer(file);
        a->before = taken_bytes(file, a->size);
        if (a->kind != ARRAY)
            return;
        a->after = taken_bytes(file, a->size);
        a->array = array_of((size_t)a->size);
        memcpy(a->array.numbers, a->before, (size_t)a->size);
    }
}

static int next_call(FILE *file, call_t *call)
{
    if (fread(&call->function, sizeof call->function, 1, file) != 1)
        return 0;
    call->number++;
    call->thread_pool =
        (thread_pool_t){pthread_parallel, pthread_thread_num, take_integer(file)};
    call->count = take_integer(file);
    for (int64_t k = 0; k < call->count; k++)
        read_argument(file, call->arguments + k);
    return 1;
}

static void end_call(call_t *call)
{
    for (int64_t k = 0; k < call->count; k++) {
        free(call->arguments[k].before);
        free(call->arguments[k].after);
        let_go(&call->arguments[k].array);
    }
}

static REAL *array(const call_t *call, int k) { return call->arguments[k].array.numbers; }

static void *structure(const call_t *call, size_t size)
{
    if ((size_t)call->arguments[0].size != size) {
        fprintf(stderr, "a structure of %ld bytes, not %zu\n", (long)call->arguments[0].size, size);
        exit(2);
    }
    return call->arguments[0].before;
}

static void do_save(const call_t *call)
{
    const save_desc_t *desc = structure(call, sizeof *desc);
    index_t tile = gfb_weight_tile_channels((int)desc->nhwc);
    index_t inputs = desc->maps.channels / desc->groups;
    size_t elements = (size_t)(ceil_div(inputs, tile) * tile * desc->outputs);
    let_go(&x_sum);
    let_go(&w_sum);
    x_sum = w_sum = (array_t){NULL, 0, NULL};
    if (array(call, 2))
        x_sum = array_of((size_t)call->arguments[2].size);
    if (array(call, 4))
        w_sum = array_of(elements * sizeof(REAL));
    gfb_save(&call->thread_pool, desc, array(call, 1), x_sum.numbers, array(call, 3),
             w_sum.numbers);
}

static void do_backward(const call_t *call)
{
    backward_desc_t *desc = structure(call, sizeof *desc);
    const thread_pool_t *thread_pool = &call->thread_pool;
    const REAL *grad = array(call, 1);
    REAL *grad_x = array(call, 4), *grad_w = array(call, 5), *grad_bias = array(call, 6);
    int filtered = call->function == FILTERED;
    desc->workspace = (filtered ? gfb_filtered_workspace : gfb_depthwise_workspace)(
        desc, grad_x, grad_w, grad_bias);
    array_t workspace = array_of((size_t)desc->workspace * sizeof(REAL));
    if (filtered)
        gfb_filtered(thread_pool, desc, grad, x_sum.numbers, w_sum.numbers, grad_x, grad_w,
                     grad_bias, workspace.numbers);
    else
        gfb_depthwise(thread_pool, desc, grad, array(call, 2), array(call, 3), grad_x, grad_w,
                      grad_bias, workspace.numbers);
    let_go(&workspace);
}

static void do_call(const call_t *call)
{
    const argument_t *a = call->arguments;
    const thread_pool_t *thread_pool = &call->thread_pool;
    switch (call->function) {
    case POOL_NCHW:
    case POOL_NHWC:
        (call->function == POOL_NCHW ? gfb_pool_nchw : gfb_pool_nhwc)(
            thread_pool, structure(call, sizeof(layout_t)), a[1].integer, array(call, 2),
            array(call, 3), array(call, 4), a[5].number);
        break;
    case EXPAND_NCHW:
    case EXPAND_NHWC:
        (call->function == EXPAND_NCHW ? gfb_expand_nchw : gfb_expand_nhwc)(
            thread_pool, structure(call, sizeof(layout_t)), a[1].integer, array(call, 2),
            array(call, 3), (int)a[4].integer);
        break;
    case SUM_WINDOWS:
        gfb_sum_windows(thread_pool, array(call, 0), a[1].integer, a[2].integer, array(call, 3));
        break;
    case REPEAT_WINDOWS:
        gfb_repeat_windows(thread_pool, array(call, 0), a[1].integer, a[2].integer,
                           array(call, 3), (int)a[4].integer);
        break;
    case SAVE:
        do_save(call);
        break;
    default:
        do_backward(call);
    }
}

/* Whether an array holds what it should: errors are small beside its largest element, and NaN is
 * where it was. */
static int is_right(const argument_t *a)
{
    const REAL *actual = a->array.numbers, *expected = (const REAL *)a->after;
    int64_t n = a->size / (int64_t)sizeof(REAL);
    double largest = 1, error = 0, tolerance = sizeof(REAL) == sizeof(float) ? 1e-4 : 1e-10;
    for (int64_t i = 0; i < n; i++)
        largest = fabs(expected[i]) > largest ? fabs(expected[i]) : largest;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(expected[i]) != isnan(actual[i]))
            return 0;
        double difference = isnan(expected[i]) ? 0 : fabs((double)actual[i] - expected[i]);
        error = difference > error ? difference : error;
    }
    return error <= tolerance * largest;
}

/* Whether an argument has to be as it was: no workspace, and nothing packed for one processor. */
static int is_comparable(const call_t *call, int64_t k)
{
    if (call->arguments[k].kind != ARRAY)
        return 0;
    if (call->function == SAVE)
        return k == 1 || k == 3;
    return call->function < DEPTHWISE || k == 1 || (k >= 4 && k < ARRAYS);
}

int main(int count, char **words)
{
    call_t call = {.number = 0};
    FILE *file = wanted(fopen(count > 1 ? words[1] : "", "rb"));
    for (; next_call(file, &call); end_call(&call)) {
        do_call(&call);
        for (int64_t k = 0; k < call.count; k++)
            if (is_comparable(&call, k) && !is_right(call.arguments + k)) {
                printf("call %ld, %s: array %ld is wrong\n", (long)call.number,
                       FUNCTIONS[call.function], (long)k);
                return 1;
            }
    }
    printf("%ld\n", (long)call.number);
    return 0;
}

/* Calls of gradient_filter.c that recorded_calls.py wrote, made again by another processor.
 *
 * Each array lies between pages that nobody may touch, flush against one of them; what it holds
 * after the call has to be what it held there. What `save` makes has the tiles and panels of this
 * processor: `filtered` takes it as it is made here. Working memory is what C asks for here.
 *
 * usage: native_replay FILE. Prints the number of calls; exits with 1 at a wrong one. */

#include "gradient_filter.c"
#include "pthread_team.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MOST_ARGUMENTS = 9, ARRAYS = 7, GUARD = 1 << 16 };
enum { STRUCTURE, INTEGER, NUMBER, NOTHING, ARRAY };
static const char *const FUNCTIONS[] = {"pool_planes", "pool_pixels", "expand_planes",
                                        "expand_pixels", "sum_runs", "repeat_runs", "save",
                                        "depthwise", "filtered"};
enum { POOL_PLANES, POOL_PIXELS, EXPAND_PLANES, EXPAND_PIXELS, SUM_RUNS, REPEAT_RUNS, SAVE,
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
    team_t team;
    argument_t arguments[MOST_ARGUMENTS];
} call_t;

static array_t sums, tiles; /* what `save` has made last */

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
    call->team = (team_t){pthread_parallel, pthread_number, take_integer(file)};
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
    const saving_t *of = structure(call, sizeof *of);
    index_t side = tile_channels((int)of->pixels), inputs = of->maps.channels / of->groups;
    size_t numbers = (size_t)(divided(inputs, side) * side * of->outputs);
    let_go(&sums);
    let_go(&tiles);
    sums = tiles = (array_t){NULL, 0, NULL};
    if (array(call, 2))
        sums = array_of((size_t)call->arguments[2].size);
    if (array(call, 4))
        tiles = array_of(numbers * sizeof(REAL));
    save(&call->team, of, array(call, 1), sums.numbers, array(call, 3), tiles.numbers);
}

static void do_backward(const call_t *call)
{
    filter_t *of = structure(call, sizeof *of);
    int whole = call->function == FILTERED;
    REAL *const out[] = {array(call, 4), array(call, 5), array(call, 6)};
    of->work = (whole ? filtered_work : depthwise_work)(of, out[0], out[1], out[2]);
    array_t work = array_of((size_t)of->work * sizeof(REAL));
    (whole ? filtered : depthwise)(&call->team, of, array(call, 1),
                                   whole ? sums.numbers : array(call, 2),
                                   whole ? tiles.numbers : array(call, 3), out[0], out[1], out[2],
                                   work.numbers);
    let_go(&work);
}

static void do_call(const call_t *call)
{
    const argument_t *a = call->arguments;
    const team_t *team = &call->team;
    switch (call->function) {
    case POOL_PLANES:
    case POOL_PIXELS:
        (call->function == POOL_PLANES ? pool_planes : pool_pixels)(
            team, structure(call, sizeof(layout_t)), a[1].integer, array(call, 2), array(call, 3),
            array(call, 4), a[5].number);
        break;
    case EXPAND_PLANES:
    case EXPAND_PIXELS:
        (call->function == EXPAND_PLANES ? expand_planes : expand_pixels)(
            team, structure(call, sizeof(layout_t)), a[1].integer, array(call, 2), array(call, 3),
            (int)a[4].integer);
        break;
    case SUM_RUNS:
        sum_runs(team, array(call, 0), a[1].integer, a[2].integer, array(call, 3));
        break;
    case REPEAT_RUNS:
        repeat_runs(team, array(call, 0), a[1].integer, a[2].integer, array(call, 3),
                    (int)a[4].integer);
        break;
    case SAVE:
        do_save(call);
        break;
    default:
        do_backward(call);
    }
}

/* Whether an array holds what it should: numbers err by little of the largest one, NaN stays. */
static int is_right(const argument_t *a)
{
    const REAL *found = a->array.numbers, *right = (const REAL *)a->after;
    int64_t n = a->size / (int64_t)sizeof(REAL);
    double largest = 1, error = 0, tolerance = sizeof(REAL) == sizeof(float) ? 1e-4 : 1e-10;
    for (int64_t i = 0; i < n; i++)
        largest = fabs(right[i]) > largest ? fabs(right[i]) : largest;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(right[i]) != isnan(found[i]))
            return 0;
        double off = isnan(right[i]) ? 0 : fabs((double)found[i] - right[i]);
        error = off > error ? off : error;
    }
    return error <= tolerance * largest;
}

/* Whether an argument is to be as it was: not working memory, nor what only one processor lays out so. */
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

/* ctest: libs=dg_nn timeout=60 */
/* t300_params.c - the parameter table: layouts, names, initialisation, fingerprint, saving and loading.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_params.h"

static int add(dg_param_table *table, const char *name, dg_param_kind kind, int rank, const int64_t *shape, int64_t fan)
{
    int index = -1;
    DG_CHECK_OK(dg_param_table_add(table, name, kind, rank, shape, fan, &index));
    return index;
}

static dg_param_table example(bool reversed)
{
    dg_param_table table = {0};
    const int64_t conv[] = {4, 3, 3, 2, 1}, transposed[] = {3, 5, 2, 2, 2}, linear[] = {6, 7}, vector[] = {19};
    for (int i = 0; i < 5; i++) switch (reversed ? 4 - i : i) {
        case 0: add(&table, "b.conv.weight", DG_PARAM_CONV, 5, conv, 18); break;
        case 1: add(&table, "a.up.weight", DG_PARAM_CONV_TRANSPOSE, 5, transposed, 40); break;
        case 2: add(&table, "c.linear.weight", DG_PARAM_LINEAR, 2, linear, 7); break;
        case 3: add(&table, "d.norm.weight", DG_PARAM_VECTOR, 1, vector, 0); break;
        default: add(&table, "d.norm.bias", DG_PARAM_VECTOR, 1, vector, 0); break;
        }
    return table;
}

static void check_layout(void)
{
    dg_param_table table = example(false);
    float *flat = calloc((size_t)table.total, sizeof *flat), *back = calloc((size_t)table.total, sizeof *back);
    float torch[256], again[256];
    DG_CHECK(flat != NULL && back != NULL && table.count == 5);
    for (int i = 0; i < table.count; i++) {
        const dg_param *p = &table.item[i];
        DG_CHECK(p->offset % 16 == 0 && p->offset + p->count <= table.total && p->decay);
        DG_CHECK(i == 0 || p->offset >= p[-1].offset + p[-1].count);
        for (int64_t k = 0; k < p->count; k++) torch[k] = (float)(k + 1);
        dg_param_from_torch(p, torch, flat);
        dg_param_to_torch(p, flat, again);
        DG_CHECK(memcmp(torch, again, (size_t)p->count * sizeof *torch) == 0);
    }
    /* engine [tap, cin, cout]: PyTorch (cout 4, cin 3, 3, 2, 1) and, transposed, (cin 3, cout 5, 2, 2, 2) */
    const float *conv = flat + table.item[0].offset, *up = flat + table.item[1].offset;
    for (int tap = 0; tap < 6; tap++)
        for (int i = 0; i < 3; i++)
            for (int o = 0; o < 4; o++) DG_CHECK(conv[(tap * 3 + i) * 4 + o] == (float)((o * 3 + i) * 6 + tap + 1));
    for (int tap = 0; tap < 8; tap++)
        for (int i = 0; i < 3; i++)
            for (int o = 0; o < 5; o++) DG_CHECK(up[(tap * 3 + i) * 5 + o] == (float)((i * 5 + o) * 8 + tap + 1));
    dg_param_table_release(&table);
    DG_CHECK(table.item == NULL && table.count == 0);
    free(flat);
    free(back);
}

static void check_faults(void)
{
    dg_param_table table = example(false);
    const int64_t shape[] = {2, 0}, huge[] = {INT64_MAX / 2, 8}, fine[] = {2};
    int index = 0;
    DG_CHECK_FAILS(dg_param_table_add(&table, "d.norm.bias", DG_PARAM_VECTOR, 1, fine, 0, &index), DG_ERR_INTERNAL,
                   "'d.norm.bias' exists already");
    DG_CHECK_FAILS(dg_param_table_add(&table, "e", DG_PARAM_LINEAR, 2, shape, 0, &index), DG_ERR_INTERNAL, "shape");
    DG_CHECK_FAILS(dg_param_table_add(&table, "e", DG_PARAM_LINEAR, 2, huge, 0, &index), DG_ERR_INTERNAL, "shape");
    DG_CHECK(dg_param_find(&table, "d.norm.bias") == 4 && dg_param_find(&table, "d.norm") == -1);
    dg_param_table_release(&table);
}

static void check_init(void)
{
    dg_param_table table = example(false);
    const size_t bytes = (size_t)table.total * sizeof(float);
    float *a = malloc(bytes), *b = malloc(bytes);
    DG_CHECK(a != NULL && b != NULL);
    dg_params_init(&table, 42, a);
    memset(b, 0xff, bytes);
    dg_params_init(&table, 42, b);
    DG_CHECK(memcmp(a, b, bytes) == 0);
    dg_params_init(&table, 43, b);
    DG_CHECK(memcmp(a, b, bytes) != 0);
    for (int i = 0; i < table.count; i++) {
        const dg_param *p = &table.item[i];
        double bound = p->fan_in > 0 ? 1 / sqrt((double)p->fan_in) : 0, sum = 0, squares = 0, largest = 0;
        for (int64_t k = 0; k < p->count; k++) {
            const double v = (double)a[p->offset + k];
            if (p->fan_in == 0) DG_CHECK(v == (strcmp(p->name, "d.norm.weight") == 0 ? 1.0 : 0.0));
            sum += v;
            squares += v * v;
            largest = fmax(largest, fabs(v));
        }
        if (p->fan_in == 0) continue;
        const double n = (double)p->count, sigma = bound / sqrt(3);
        DG_CHECK(largest <= bound * (1 + 1e-6) && largest > 0.8 * bound);
        DG_CHECK(fabs(sum / n) < 4 * sigma / sqrt(n) && fabs(squares / n / (sigma * sigma) - 1) < 4 / sqrt(n));
    }
    free(a);
    free(b);
    dg_param_table_release(&table);
}

/* The same values under the same names have one fingerprint, in whatever order the table lists them. */
static void check_hash(void)
{
    dg_param_table table[2] = {example(false), example(true)};
    char hex[3][DG_HASH_HEX];
    float torch[256];
    for (int t = 0; t < 2; t++) {
        float *flat = calloc((size_t)table[t].total, sizeof *flat);
        DG_CHECK(flat != NULL);
        for (int i = 0; i < table[t].count; i++) {
            const dg_param *p = &table[t].item[i];
            for (int64_t k = 0; k < p->count; k++) torch[k] = (float)p->name[0] + (float)k;
            dg_param_from_torch(p, torch, flat);
        }
        DG_CHECK_OK(dg_params_sha256(&table[t], flat, hex[t]));
        flat[table[t].item[0].offset] += 1e-5f;
        DG_CHECK_OK(dg_params_sha256(&table[t], flat, hex[2]));
        DG_CHECK(strcmp(hex[t], hex[2]) != 0);
        free(flat);
        dg_param_table_release(&table[t]);
    }
    DG_CHECK(strcmp(hex[0], hex[1]) == 0 && strlen(hex[0]) == 64);
}

/* A registered object that is nothing but parameters. */
typedef struct weights {
    dg_param_table table;
    float *flat;
} weights;

static dg_status save(const void *object, const dg_state_sink *sink)
{
    const weights *w = object;
    return dg_params_save(&w->table, w->flat, sink);
}

static dg_status load(void *object, const dg_state_source *source, int version)
{
    weights *w = object;
    return version == 1 ? dg_params_load(&w->table, w->flat, source) : DG_ERR_INTERNAL;
}

static void check_state(void)
{
    weights from = {.table = example(false)}, to = {.table = example(true)};
    from.flat = calloc((size_t)from.table.total, sizeof(float));
    to.flat = calloc((size_t)to.table.total, sizeof(float));
    DG_CHECK(from.flat != NULL && to.flat != NULL);
    dg_params_init(&from.table, 7, from.flat);
    dg_state state = {.name = "params", .version = 1, .object = &from, .save = save, .load = load};
    dg_state_registry out = {0}, in = {0};
    dg_state_memory *memory = NULL;
    DG_CHECK_OK(dg_state_register(&out, state));
    state.object = &to;
    DG_CHECK_OK(dg_state_register(&in, state));
    DG_CHECK_OK(dg_state_memory_create(&memory));
    DG_CHECK_OK(dg_state_memory_save(memory, &out));
    DG_CHECK_OK(dg_state_memory_load(memory, &in));
    char hex[2][DG_HASH_HEX];
    DG_CHECK_OK(dg_params_sha256(&from.table, from.flat, hex[0]));
    DG_CHECK_OK(dg_params_sha256(&to.table, to.flat, hex[1]));
    DG_CHECK(strcmp(hex[0], hex[1]) == 0);
    to.table.item[0].torch_shape[0]++; /* another model */
    DG_CHECK_FAILS(dg_state_memory_load(memory, &in), DG_ERR_MISMATCH, to.table.item[0].name);
    dg_state_memory_destroy(&memory);
    free(from.flat);
    free(to.flat);
    dg_param_table_release(&from.table);
    dg_param_table_release(&to.table);
}

int main(void)
{
    check_layout();
    check_faults();
    check_init();
    check_hash();
    check_state();
    return 0;
}

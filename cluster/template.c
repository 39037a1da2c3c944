/* template.c - the texts of cluster/templates with their @FIELDS@ filled in. SPDX-License-Identifier: Apache-2.0 */
#include "cluster_impl.h"

#include "dg_mem.h"

#include <stdlib.h>
#include <string.h>

void dg_shell_word(FILE *to, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,@%+-";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        fputs(word, to);
        return;
    }
    fputc('\'', to);
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            fputs("'\\''", to);
        else
            fputc(*word, to);
    }
    fputc('\'', to);
}

static const batch_template *find_template(const char *name)
{
    for (int i = 0; i < batch_template_count; i++)
        if (strcmp(batch_templates[i].name, name) == 0) return &batch_templates[i];
    return NULL;
}

/* The field that stands at `at` ("@NAME@"), or NULL; *length of what it replaces. */
static const batch_field *field_at(const char *at, const char *end, const batch_field *fields, int count, int *length)
{
    for (int i = 0; i < count; i++) {
        int name = (int)strlen(fields[i].name);
        bool fits = at + name + 2 <= end && at[0] == '@' && at[name + 1] == '@';
        *length = name + 2;
        if (fits && memcmp(at + 1, fields[i].name, (size_t)name) == 0) return &fields[i];
    }
    return NULL;
}

/* "@" + capitals + "@" that no field fills is a fault of the caller; a lone @ is text. */
static bool looks_like_field(const char *at, const char *end)
{
    const char *p = at + 1;
    while (p < end && ((*p >= 'A' && *p <= 'Z') || *p == '_')) p++;
    return p > at + 1 && p < end && *p == '@';
}

dg_status dg_template_fill(const char *name, const batch_field *fields, int count, char **text)
{
    const batch_template *source = find_template(name);
    char *memory = NULL;
    size_t size = 0;
    *text = NULL;
    if (source == NULL) return DG_FAIL(DG_ERR_INTERNAL, "there is no template %s", name);
    FILE *to = open_memstream(&memory, &size);
    if (to == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for a batch script");
    dg_status status = DG_OK;
    const char *at = (const char *)source->bytes, *end = at + source->length;
    while (at < end && status == DG_OK) {
        int length = 1;
        const batch_field *field = *at == '@' ? field_at(at, end, fields, count, &length) : NULL;
        if (field != NULL) {
            fputs(field->text, to);
        } else {
            if (*at == '@' && looks_like_field(at, end))
                status = DG_FAIL(DG_ERR_INTERNAL, "%s: nothing stands for %.20s", name, at);
            fputc(*at, to);
            length = 1;
        }
        at += length;
    }
    bool written = fclose(to) == 0;
    if (status == DG_OK && !written) status = DG_FAIL(DG_ERR_MEMORY, "no memory for a batch script");
    if (status == DG_OK) status = dg_string_copy(memory, text);
    free(memory);
    return status;
}

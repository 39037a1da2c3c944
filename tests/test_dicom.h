/* test_dicom.h - writes small DICOM-RT cases byte by byte, without DCMTK: a phantom whose value is known at every point, in
 * any encoding, with any element changed or left out. For the tests of the reader and of the import.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_DICOM_H
#define TEST_DICOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What stands in every file and must never come out again. */
#define DICOM_SECRET_NAME "Doe^Planted"
#define DICOM_SECRET_ID "PLANTED-4711"
#define DICOM_SECRET_DATE "19470229"
#define DICOM_SECRET_UID "1.2.826.0.1.3680043.4711"

typedef enum dicom_kind { DICOM_CT, DICOM_RTSTRUCT, DICOM_RTPLAN, DICOM_RTDOSE } dicom_kind;
typedef enum dicom_syntax { DICOM_IMPLICIT, DICOM_EXPLICIT, DICOM_BIG, DICOM_DEFLATED, DICOM_RLE } dicom_syntax;

/* Bytes of a file in the making. */
typedef struct dicom_bytes {
    unsigned char *data;
    size_t length, capacity;
    dicom_syntax syntax;
} dicom_bytes;

/* One element that is written otherwise: in files of this kind with this index (-1: all), `text` instead of the usual value,
 * NULL: not at all. Elements of short binary types take the number that the text is. Only elements outside of sequences,
 * and of sequences the first of that tag. */
typedef struct dicom_change {
    dicom_kind kind;
    int index;
    uint32_t tag; /* 0x00280010 */
    const char *text;
} dicom_change;

enum { DICOM_CHANGES = 8 };

/* A case. dicom_case_make fills in the usual one. */
typedef struct dicom_case {
    int shape[3];      /* slices, rows, columns of the CT */
    double spacing[3]; /* mm, zyx */
    double origin[3];  /* zyx of the first voxel of the ascending LPS grid */
    int turn;          /* 0 HFS, 1 HFP, 2 FFS, 3 FFP */
    dicom_syntax syntax;
    bool is_signed;
    int bits_stored;
    double slope, intercept; /* of slice k: slope * (1 + k % 2) */
    int dose_shape[3];
    double dose_spacing[3], dose_origin[3];
    int dose_bits;
    bool dose_signed, dose_absolute, dose_descending;
    bool dose_by_words; /* big-endian 32 bits: least significant word first, as a conversion by words leaves them */
    double dose_scaling;
    int beams;           /* of the plan */
    int beam_doses;      /* 0: one PLAN dose */
    int omit;            /* bit dicom_kind: no such object */
    int plan;            /* number of the plan: part of its identity */
    const char *folder;  /* where; exists */
    const char *patient; /* appended to the patient's id */
    dicom_change change[DICOM_CHANGES];
    int changes;
} dicom_case;

dicom_case dicom_case_make(const char *folder);
/* Also changes this element. */
void dicom_case_change(dicom_case *c, dicom_kind kind, int index, uint32_t tag, const char *text);
/* HU and Gy of the phantom at a point (zyx, mm): HU whole even numbers, so that any rescaling holds them exactly. */
double dicom_hu_at(double z, double y, double x);
double dicom_gy_at(double z, double y, double x);
/* Writes all files: CT-*.dcm in an order that is not theirs, RS.dcm, RP<plan>.dcm, RD<plan>-*.dcm. */
void dicom_case_write(const dicom_case *c);

/* Single files into memory, and onto disk. The caller frees data. */
dicom_bytes dicom_ct_slice(const dicom_case *c, int slice);
dicom_bytes dicom_structures(const dicom_case *c);
dicom_bytes dicom_plan(const dicom_case *c);
dicom_bytes dicom_dose(const dicom_case *c, int beam);
void dicom_save(const dicom_bytes *bytes, const char *folder, const char *name);

/* Elements, for tests that build their own. Tags as 0xggggeeee. */
void dicom_put_text(dicom_bytes *b, uint32_t tag, const char *vr, const char *text);
void dicom_put_us(dicom_bytes *b, uint32_t tag, int value);
void dicom_put_bytes(dicom_bytes *b, uint32_t tag, const char *vr, const void *data, size_t length);
void dicom_open_sequence(dicom_bytes *b, uint32_t tag);
void dicom_open_item(dicom_bytes *b);
void dicom_close_item(dicom_bytes *b);
void dicom_close_sequence(dicom_bytes *b);
/* Preamble and meta header of a file of this kind. */
void dicom_put_head(dicom_bytes *b, dicom_kind kind, const char *instance, dicom_syntax syntax);

#endif

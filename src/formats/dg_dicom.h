/* dg_dicom.h - reading DICOM-RT: what lies in a folder tree, and CT, structure set, dose and plan as plain numbers.
 *
 * Everything is returned in patient coordinates (LPS, mm) on grids whose axes ascend: x to patient left, y to posterior, z to
 * head, direction the identity. The four patient positions (HFS, HFP, FFS, FFP) are told by ImagePositionPatient and
 * ImageOrientationPatient alone and turned; decubitus, oblique and tilted images are refused. Nothing is resampled here.
 * Sources: DICOM PS3.3 C.7.6.2 (plane), C.8.8.3 (dose), C.8.8.5/6 (structures), C.8.8.9-14 (plan), PS3.5 (encodings).
 *
 * Privacy: messages and notes name the case id, the role of a file and numbers, never a name, id, date, UID or path; UIDs and
 * patient ids leave as salted hashes ("keys"). Fields marked PRIVATE are for the reader of the same process only: they must not
 * reach a log, message or output (but the private map of the import).
 * Refusals: a status, a message, and the name of the rule in the context. No call is collective; a context belongs to one
 * thread. Strings are UTF-8 without control characters. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DICOM_H
#define DG_DICOM_H

#include "dg_grid.h"
#include "dg_hash.h"

enum {
    DG_DICOM_NAME = 68,  /* a text of 64 bytes */
    DG_DICOM_CODE = 17,  /* a coded string of 16 bytes */
    DG_DICOM_NOTES = 32, /* notes kept; note_count goes on counting */
    DG_DICOM_NOTE_TEXT = 256
};

/* Bounds asked before anything is allocated. 0 takes the default. */
typedef struct dg_dicom_limits {
    int64_t files;      /* of a tree: 4 000 000 */
    int64_t file_bytes; /* of one file: 2 GiB; a deflated one may become a quarter of it */
    int64_t elements;   /* of one file, items included: 16 000 000; each takes some 200 bytes of memory */
    int64_t depth;      /* of folders: 32 */
    int64_t voxels;     /* of a CT or a dose: 2^29 */
    int64_t contours;   /* of a structure set: 2 000 000 */
    int64_t points;     /* of a structure set: 100 000 000 */
} dg_dicom_limits;

/* Something worth telling that refuses nothing. */
typedef struct dg_dicom_note {
    const char *rule; /* static: "contour-empty" */
    char text[DG_DICOM_NOTE_TEXT];
} dg_dicom_note;

/* What goes with every call: who is read, and what was noticed. Zeroed but for the first three. */
typedef struct dg_dicom_context {
    const char *case_id; /* stands in messages; borrowed; NULL while a tree is scanned */
    const char *salt;    /* of the keys; borrowed; NULL: none */
    dg_dicom_limits limits;
    const char
        *rule; /* out: static name of the rule that refused ("ct-gap"); NULL after success and where no rule did */
    dg_dicom_note note[DG_DICOM_NOTES]; /* out: of all calls so far */
    int64_t note_count;
} dg_dicom_context;

/* ---- Discovery ---- */

/* Files of one role, sorted by path. */
typedef struct dg_dicom_files {
    char **path; /* PRIVATE */
    int64_t count;
} dg_dicom_files;

/* What makes a candidate not fit to be read as it is; in the order they are told. */
typedef enum dg_dicom_flaw {
    DG_DICOM_FLAW_NONE,
    DG_DICOM_NO_CT,
    DG_DICOM_SEVERAL_CT, /* series that fit equally well */
    DG_DICOM_NO_STRUCTURES,
    DG_DICOM_SEVERAL_STRUCTURES,
    DG_DICOM_OTHER_FRAME /* structure set or dose of another frame of reference than the CT */
} dg_dicom_flaw;

/* A candidate case: a plan with its doses, or what there is where plan or dose are absent. References are followed (dose ->
 * plan -> structure set -> CT series); where none is given or what it names is absent, the one object of the same patient and
 * frame of reference is taken (`guessed`). Arrays may be empty: no dose is no flaw here. */
typedef struct dg_dicom_case {
    char patient_key[DG_HASH_HEX]; /* the group: patients never part */
    char study_key[DG_HASH_HEX];   /* of the CT (else of the structure set, plan, dose) */
    char frame_key[DG_HASH_HEX];   /* frame of reference of the CT */
    char plan_key[DG_HASH_HEX];    /* of the plan, or of the plan the dose names; "" without either */
    char key[DG_HASH_HEX]; /* of all of these and the structure set: the same for the same objects wherever they lie */
    char *folder;          /* PRIVATE: deepest folder below the root that holds all its files, "" for the root itself */
    char *patient_id;      /* PRIVATE */
    dg_dicom_files ct, structures, doses, plans; /* structures, plans: 0 or 1, more only with the flaw SEVERAL_ */
    bool guessed;             /* no reference led to the structure set or the CT: the only one that fits was taken */
    int64_t plans_of_patient; /* candidates that share the patient */
    int64_t damaged_beside;   /* damaged files in its folders that cannot be told apart: may be what is missing */
    dg_dicom_flaw flaw;
    const char *rule;               /* static name of the flaw's rule, NULL without one */
    char words[DG_DICOM_NOTE_TEXT]; /* what the flaw is and what to do, without the case's name */
} dg_dicom_case;

/* What was met in a tree. */
typedef struct dg_dicom_counts {
    int64_t files; /* regular files looked at */
    int64_t dicom; /* CT, RTSTRUCT, RTDOSE, RTPLAN */
    int64_t other; /* DICOM of another kind, localizers included */
    int64_t not_dicom;
    int64_t duplicates; /* byte-identical copies of an object, left out */
    int64_t damaged;    /* DICOM that cannot be told apart far enough to belong to a case */
    int64_t links;      /* symbolic links, devices and the like: never followed or opened */
    int64_t too_large, unreadable;
    int64_t unused; /* objects of the four kinds that no candidate uses */
} dg_dicom_counts;

/* A tree that was scanned; owned (dg_dicom_tree_release). Cases are sorted by folder, then key. */
typedef struct dg_dicom_tree {
    dg_dicom_case *cases;
    int64_t case_count;
    dg_dicom_counts counts;
} dg_dicom_tree;

/* Looks through `root` (a folder, or one file) and below. DG_ERR_IO: no such folder; DG_ERR_DATA: more files or deeper than the
 * limits; DG_ERR_UNSUPPORTED: DCMTK has no data dictionary here. */
DG_MUST_USE dg_status dg_dicom_scan(dg_dicom_context *context, const char *root, dg_dicom_tree *out);
void dg_dicom_tree_release(dg_dicom_tree *tree);

/* Fails with the candidate's flaw as a message that names the context's case; DG_OK without one. Sets context->rule. */
DG_MUST_USE dg_status dg_dicom_case_check(dg_dicom_context *context, const dg_dicom_case *candidate);

/* ---- CT ---- */

/* A CT in memory; owned (dg_dicom_ct_release). */
typedef struct dg_dicom_ct {
    dg_grid grid;
    float *hu; /* [z,y,x]: stored value * RescaleSlope + RescaleIntercept of its slice, in double, rounded once */
    char frame_key[DG_HASH_HEX];
    char position[DG_DICOM_CODE]; /* HFS, HFP, FFS or FFP as the orientation says */
    int64_t padding_voxels;       /* equal to PixelPaddingValue; left as they are */
} dg_dicom_ct;

/* Reads one series. Rules: ct-missing, ct-damaged, ct-truncated, ct-transfer-syntax, ct-pixel-format, ct-multiframe, ct-rescale,
 * ct-position, ct-spacing, ct-decubitus, ct-tilt, ct-oblique, ct-orientation-differs, ct-shape-differs, ct-spacing-differs,
 * ct-origin-differs, ct-frame-differs, ct-duplicate-slice, ct-gap, ct-uneven, ct-single-slice, ct-too-large.
 * Notes: ct-position-tag, ct-padding, ct-tilt-tag. DG_ERR_FORMAT, DG_ERR_DATA, DG_ERR_UNSUPPORTED, DG_ERR_IO. */
DG_MUST_USE dg_status dg_dicom_read_ct(dg_dicom_context *context, const dg_dicom_files *files, dg_dicom_ct *out);
void dg_dicom_ct_release(dg_dicom_ct *ct);

/* ---- Structures ---- */

typedef enum dg_dicom_contour_type {
    DG_DICOM_CLOSED_PLANAR,
    DG_DICOM_CLOSED_PLANAR_XOR,
    DG_DICOM_POINT,
    DG_DICOM_OPEN_PLANAR,
    DG_DICOM_OPEN_NONPLANAR,
    DG_DICOM_CONTOUR_OTHER /* a type the standard does not know */
} dg_dicom_contour_type;

/* One contour with at least one point. */
typedef struct dg_dicom_contour {
    dg_dicom_contour_type type;
    int64_t count;
    const double *points_xyz_mm; /* [count][3], in the structures' block of points */
    double z_mm;                 /* mean z */
    double z_range_mm;           /* largest - smallest z: 0 of an axial contour */
} dg_dicom_contour;

typedef struct dg_dicom_roi {
    int32_t number;
    char name[DG_DICOM_NAME];             /* as written; maps to a structure, never stored itself */
    bool names_patient;                   /* it holds number, a part of the name or the birth date of the patient */
    char interpreted_type[DG_DICOM_CODE]; /* "PTV", "ORGAN", "EXTERNAL", ..; "" when not said */
    int32_t color[3];                     /* 0..255; -1 when not said */
    const dg_dicom_contour *contours;     /* in the structures' block; NULL when none */
    int64_t contour_count, point_count;
    int64_t empty_contours; /* written without points: left out, noted */
} dg_dicom_roi;

/* A structure set in memory, in the order of its ROI list; owned (dg_dicom_structures_release). */
typedef struct dg_dicom_structures {
    dg_dicom_roi *rois;
    int64_t roi_count;
    dg_dicom_contour *contours;
    double *points_xyz_mm;
    int64_t contour_count, point_count;
    char frame_key[DG_HASH_HEX];
} dg_dicom_structures;

/* Reads a structure set; `frame_key` (may be NULL) is the CT's, which every ROI with contours has to have. Rules:
 * rtstruct-missing, rtstruct-damaged, rtstruct-frame, rtstruct-number, rtstruct-points, rtstruct-roi (contours of an ROI that is
 * not listed, or an ROI number twice), rtstruct-too-large. Notes: contour-empty, rtstruct-frame-roi (an ROI of another frame,
 * left out). */
DG_MUST_USE dg_status dg_dicom_read_structures(dg_dicom_context *context, const dg_dicom_files *files,
                                               const char *frame_key, dg_dicom_structures *out);
void dg_dicom_structures_release(dg_dicom_structures *structures);

/* ---- Plan ---- */

/* One item of the dose references that names a target dose. */
typedef struct dg_dicom_target {
    int32_t roi_number; /* -1: none named */
    double prescription_gy;
} dg_dicom_target;

typedef struct dg_dicom_beam {
    int32_t number;
    char name[DG_DICOM_NAME]; /* free text: for messages of the same process only. PRIVATE */
    char type[DG_DICOM_CODE], radiation[DG_DICOM_CODE],
        delivery[DG_DICOM_CODE];  /* STATIC|DYNAMIC; PHOTON..; TREATMENT.. */
    char rotation[DG_DICOM_CODE]; /* GantryRotationDirection of control point 0: CW, CC, NONE or "" */
    char mlc_type[DG_DICOM_CODE]; /* MLCX or MLCY; "" without one */
    double meterset_mu;           /* BeamMeterset of the fraction group; NaN when not said */
    double dose_gy;               /* BeamDose, per fraction; NaN when not said */
    double final_weight;          /* FinalCumulativeMetersetWeight; NaN when not said */
    double collimator_deg, couch_deg, energy,
        isocenter_mm[3]; /* control point 0; NaN when not said; isocentre x, y, z */
    int64_t control_points, leaf_pairs;
    /* Blocks of the beam; what a control point leaves out keeps its value (PS3.3 C.8.8.14.5), NaN before it was first said. */
    double *gantry_deg, *weight, *dose_rate;   /* [control point]; weight: CumulativeMetersetWeight */
    double *jaw_x1, *jaw_x2, *jaw_y1, *jaw_y2; /* [control point] mm */
    double *mlc_a, *mlc_b; /* [control point][leaf pair] mm: first and second half of LeafJawPositions; NULL without */
    double *leaf_boundaries; /* [leaf_pairs + 1] mm; NULL when not said */
    double *block;           /* all of these, from dg_dicom_beam_make */
} dg_dicom_beam;

typedef enum dg_dicom_rx_source {
    DG_DICOM_RX_NONE,           /* the plan holds none: a stated outcome, no error */
    DG_DICOM_RX_DOSE_REFERENCE, /* the highest TargetPrescriptionDose */
    DG_DICOM_RX_FRACTION_GROUP  /* sum over fraction groups of BeamDose sum * NumberOfFractionsPlanned */
} dg_dicom_rx_source;

/* A plan in memory, beams in the order of BeamSequence; owned (dg_dicom_plan_release). */
typedef struct dg_dicom_plan {
    dg_dicom_rx_source prescription_source;
    double prescription_gy; /* 0 with RX_NONE */
    int64_t fractions;      /* sum over fraction groups; 0 when not said */
    int64_t fraction_groups;
    dg_dicom_target *targets;
    int64_t target_count;
    dg_dicom_beam *beams;
    int64_t beam_count;
    double total_mu; /* per fraction, of the beams that say it; NaN where none does */
} dg_dicom_plan;

/* More than any plan has; a larger one is refused before room is made for it. */
enum {
    DG_DICOM_BEAMS_MAX = 1024,
    DG_DICOM_POINTS_MAX = 100000,       /* of a beam */
    DG_DICOM_LEAVES_MAX = 1024,         /* pairs */
    DG_DICOM_PLAN_VALUES_MAX = 1 << 25, /* dg_dicom_beam_values of all beams */
};
/* How many numbers the block of a beam holds. */
int64_t dg_dicom_beam_values(int64_t control_points, int64_t leaf_pairs);
/* Sets both counts and makes the block: the tracks, and with leaf pairs the leaves and boundaries, all NaN. The other members
 * stay as they are. Both counts are within the limits above. */
DG_MUST_USE dg_status dg_dicom_beam_make(dg_dicom_beam *beam, int64_t control_points, int64_t leaf_pairs);
/* What plan->total_mu is of its beams. */
double dg_dicom_plan_total_mu(const dg_dicom_plan *plan);

/* Reads a plan. Rules: rtplan-missing, rtplan-damaged, rtplan-number (text that is no number, or an absurd one),
 * rtplan-control-points, rtplan-leaves (a bank of another length than the device says). Notes: rtplan-no-prescription. */
DG_MUST_USE dg_status dg_dicom_read_plan(dg_dicom_context *context, const dg_dicom_files *files, dg_dicom_plan *out);
void dg_dicom_plan_release(dg_dicom_plan *plan);

/* ---- Dose ---- */

/* A dose in memory; owned (dg_dicom_dose_release). */
typedef struct dg_dicom_dose {
    dg_grid grid;
    float *gy; /* [z,y,x]: stored value * DoseGridScaling in double (summed so), rounded once */
    char frame_key[DG_HASH_HEX];
    char summation[DG_DICOM_CODE]; /* PLAN, BEAM or FRACTION */
    char type[DG_DICOM_CODE];      /* PHYSICAL or EFFECTIVE */
    int64_t summed;                /* objects: 1 of a PLAN */
    int64_t left_out;              /* BEAM and FRACTION doses beside a PLAN one */
    int64_t negative_voxels;       /* left as they are */
    float max_gy;
} dg_dicom_dose;

/* Reads the dose of a case: its PLAN dose, else the sum of its FRACTION doses, else of its BEAM doses, all groups or all
 * treatment beams of `plan` exactly once and on one grid. `plan` (NULL: unknown) is what completeness is judged by;
 * `frame_key` (may be NULL) is the CT's. Rules: rtdose-missing, rtdose-damaged, rtdose-truncated, rtdose-transfer-syntax,
 * rtdose-pixel-format, rtdose-units, rtdose-type, rtdose-summation, rtdose-several, rtdose-beams (not all, or one twice),
 * rtdose-grids-differ, rtdose-scaling, rtdose-number, rtdose-position, rtdose-orientation, rtdose-spacing, rtdose-frames (offsets
 * missing, of another number, of a form the standard leaves undefined), rtdose-frames-uneven, rtdose-single-frame, rtdose-frame
 * (of reference), rtdose-too-large, rtdose-zero. Notes: rtdose-left-out, rtdose-effective, rtdose-negative,
 * rtdose-word-order. */
DG_MUST_USE dg_status dg_dicom_read_dose(dg_dicom_context *context, const dg_dicom_files *files,
                                         const dg_dicom_plan *plan, const char *frame_key, dg_dicom_dose *out);
void dg_dicom_dose_release(dg_dicom_dose *dose);

#endif

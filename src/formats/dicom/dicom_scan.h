/* dicom_scan.h - what a tree's files say of themselves, between looking through it and making cases of them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DICOM_SCAN_H
#define DG_DICOM_SCAN_H

#include "dicom_impl.h"

#include <unordered_set>

namespace dicom
{

enum Kind { KIND_CT, KIND_STRUCTURES, KIND_DOSE, KIND_PLAN, KIND_COUNT };

/* One file of the four kinds. Identifiers are shared texts (Tree::shared); they never leave this folder. */
struct Record {
    Kind kind;
    std::string path;           /* below the root */
    const std::string *patient; /* PatientID; where there is none, the study */
    const std::string *study, *series, *frame, *instance;
    const std::string *plan;                       /* dose: the plan it names (several joined), "" for none */
    const std::string *structures;                 /* plan, dose: the structure set it names */
    std::vector<const std::string *> series_named; /* structure set: the CT series it was drawn on */
};

struct Tree {
    dg_dicom_context *context;
    dg_dicom_limits limits;
    std::string root;
    bool root_is_file = false;
    dg_dicom_counts counts = dg_dicom_counts();
    std::vector<Record> records;      /* sorted by path */
    std::vector<std::string> damaged; /* folders of files that cannot be told apart */
    std::unordered_set<std::string> texts;

    const std::string *shared(const std::string &text) { return &*texts.insert(text).first; }
    std::string full(const std::string &path) const { return root_is_file ? root : root + "/" + path; }
};

/* Looks through the tree; fills records and counts. */
void look_through(Tree &tree);
/* Makes candidates of the records. */
void make_cases(Tree &tree, dg_dicom_tree *out);

} // namespace dicom

#endif

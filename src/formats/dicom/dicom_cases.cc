/* dicom_cases.cc - candidates of what lies in a tree: which plan goes with which doses, structure set and CT.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dicom_scan.h"

#include <algorithm>
#include <map>
#include <set>
#include <string.h>

namespace dicom
{

using Records = std::vector<const Record *>;
using Groups = std::map<std::string, Records>; /* by an identifier */

/* A candidate being made. */
struct Draft {
    Records ct, structures, doses, plans;
    dg_dicom_flaw flaw = DG_DICOM_FLAW_NONE;
    const char *rule = nullptr;
    std::string words;
    bool only_ct = false, guessed = false;
};

/* What one patient has. */
struct Patient {
    Groups ct, structures, plans; /* by series, instance, instance */
    Records doses;
    std::vector<Draft> drafts;
};

static void set_flaw(Draft &draft, dg_dicom_flaw flaw, const char *rule, const char *words)
{
    if (draft.flaw != DG_DICOM_FLAW_NONE) return;
    draft.flaw = flaw;
    draft.rule = rule;
    draft.words = words;
}

/* The frame of reference that a candidate's RT objects tell; "" when none does. */
static std::string frame_of(const Draft &draft)
{
    for (const Records *records : {&draft.structures, &draft.doses, &draft.plans})
        for (const Record *record : *records)
            if (!record->frame->empty()) return *record->frame;
    return "";
}

/* Those of `groups` in this frame of reference. */
static std::vector<const Records *> in_frame(const Groups &groups, const std::string &frame)
{
    std::vector<const Records *> found;
    for (const auto &group : groups)
        if (*group.second[0]->frame == frame) found.push_back(&group.second);
    return found;
}

static void begin_with_plans(Patient &patient)
{
    for (const auto &plan : patient.plans) {
        Draft draft;
        draft.plans = plan.second;
        patient.drafts.push_back(draft);
    }
    Groups orphans;
    for (const Record *dose : patient.doses) {
        Draft *owner = nullptr;
        for (Draft &draft : patient.drafts)
            if (*draft.plans[0]->instance == *dose->plan && !dose->plan->empty()) owner = &draft;
        /* A dose that names no plan is of the only one there is. */
        if (owner == nullptr && dose->plan->empty() && patient.plans.size() == 1) owner = &patient.drafts[0];
        if (owner != nullptr)
            owner->doses.push_back(dose);
        else
            orphans[*dose->plan + "\n" + *dose->structures + "\n" + *dose->frame].push_back(dose);
    }
    for (const auto &orphan : orphans) {
        Draft draft;
        draft.doses = orphan.second;
        patient.drafts.push_back(draft);
    }
}

static void begin_without_plans(Patient &patient)
{
    for (const auto &set : patient.structures) {
        Draft draft;
        draft.structures = set.second;
        patient.drafts.push_back(draft);
    }
    if (!patient.drafts.empty()) return;
    for (const auto &series : patient.ct) {
        Draft draft;
        draft.ct = series.second;
        draft.only_ct = true;
        patient.drafts.push_back(draft);
    }
}

static void find_structures(const Patient &patient, Draft &draft)
{
    std::vector<const Records *> found;
    if (!draft.structures.empty()) return;
    for (const Records *records : {&draft.plans, &draft.doses})
        for (const Record *record : *records) {
            const auto named = patient.structures.find(*record->structures);
            if (found.empty() && !record->structures->empty() && named != patient.structures.end())
                found.push_back(&named->second);
        }
    draft.guessed = found.empty();
    if (found.empty()) found = in_frame(patient.structures, frame_of(draft));
    if (found.empty() && patient.structures.size() == 1) found.push_back(&patient.structures.begin()->second);
    for (const Records *records : found)
        draft.structures.insert(draft.structures.end(), records->begin(), records->end());
    if (draft.structures.size() > 1)
        set_flaw(draft, DG_DICOM_SEVERAL_STRUCTURES, "rtstruct-several",
                 "several structure sets fit and the plan names none of them: leave the one of the plan");
}

static void find_ct(const Patient &patient, Draft &draft)
{
    std::vector<const Records *> found;
    if (draft.only_ct) return;
    const std::string frame = frame_of(draft);
    for (const Record *set : draft.structures)
        for (const std::string *series : set->series_named) {
            const auto named = patient.ct.find(*series);
            if (named != patient.ct.end() && std::find(found.begin(), found.end(), &named->second) == found.end())
                found.push_back(&named->second);
        }
    if (found.size() > 1) {
        std::vector<const Records *> fit;
        for (const Records *records : found)
            if (*(*records)[0]->frame == frame) fit.push_back(records);
        if (!fit.empty()) found = fit;
    }
    if (found.empty()) draft.guessed = true;
    if (found.empty()) found = in_frame(patient.ct, frame);
    if (found.empty() && patient.ct.size() == 1) found.push_back(&patient.ct.begin()->second);
    if (found.empty())
        set_flaw(draft, DG_DICOM_NO_CT, "ct-missing",
                 "there is no CT series of this frame of reference: export the CT the plan was made on");
    else if (found.size() > 1)
        set_flaw(draft, DG_DICOM_SEVERAL_CT, "ct-several",
                 "several CT series fit and the structure set names none of them alone: leave the one of the plan");
    else
        draft.ct = *found[0];
}

static void check_frames(Draft &draft)
{
    if (draft.structures.empty())
        set_flaw(draft, DG_DICOM_NO_STRUCTURES, "rtstruct-missing",
                 "there is no structure set: export the RTSTRUCT of the plan");
    if (draft.ct.empty()) return;
    const std::string &frame = *draft.ct[0]->frame;
    for (const Record *set : draft.structures)
        if (*set->frame != frame)
            set_flaw(draft, DG_DICOM_OTHER_FRAME, "rtstruct-frame",
                     "the structure set is of another frame of reference than the CT: export the one drawn on this CT");
    for (const Record *dose : draft.doses)
        if (*dose->frame != frame)
            set_flaw(draft, DG_DICOM_OTHER_FRAME, "rtdose-frame",
                     "the dose is of another frame of reference than the CT: export the one calculated on this CT");
}

static std::string folder_of(const std::string &path)
{
    const size_t slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}

/* The deepest folder that holds both. */
static std::string common_folder(const std::string &a, const std::string &b)
{
    const std::string x = a + "/", y = b + "/";
    size_t k = 0, slash = std::string::npos;
    for (; k < x.size() && k < y.size() && x[k] == y[k]; k++)
        if (x[k] == '/') slash = k;
    return slash == std::string::npos || slash == 0 ? "" : x.substr(0, slash);
}

static Records all_of(const Draft &draft)
{
    Records all;
    for (const Records *records : {&draft.ct, &draft.structures, &draft.doses, &draft.plans})
        all.insert(all.end(), records->begin(), records->end());
    return all;
}

static void give_files(const Tree &tree, const Records &records, dg_dicom_files *out)
{
    need(dg_alloc(&out->path, records.size() + 1, sizeof *out->path, "list of files"));
    for (; out->count < (int64_t)records.size(); out->count++)
        need(dg_string_copy(tree.full(records[(size_t)out->count]->path).c_str(), &out->path[out->count]));
}

static void give_key(const Tree &tree, char *field, const char *domain, const std::string &text)
{
    copy_text(field, DG_HASH_HEX, key_of(tree.context, domain, text));
}

static void give_case(const Tree &tree, const Patient &patient, const Draft &draft, dg_dicom_case *out)
{
    const Records all = all_of(draft);
    std::set<std::string> folders;
    std::string folder = folder_of(all[0]->path), identity;
    for (const Record *record : all) {
        folders.insert(folder_of(record->path));
        folder = common_folder(folder, folder_of(record->path));
    }
    const std::string plan = !draft.plans.empty()   ? *draft.plans[0]->instance
                             : !draft.doses.empty() ? *draft.doses[0]->plan
                                                    : "";
    const std::string frame = draft.ct.empty() ? frame_of(draft) : *draft.ct[0]->frame;
    const std::string structures = draft.structures.empty() ? "" : *draft.structures[0]->instance;
    const std::string series = draft.ct.empty() ? "" : *draft.ct[0]->series;
    identity = *all[0]->patient + "\n" + frame + "\n" + series + "\n" + structures + "\n" + plan;
    give_key(tree, out->patient_key, "patient", *all[0]->patient);
    give_key(tree, out->study_key, "study", *all[0]->study);
    give_key(tree, out->frame_key, "frame", frame);
    give_key(tree, out->plan_key, "plan", plan);
    give_key(tree, out->key, "case", identity);
    need(dg_string_copy(folder.c_str(), &out->folder));
    const std::string &id = *all[0]->patient;
    need(dg_string_copy(id.compare(0, 8, "patient ") == 0 ? id.c_str() + 8 : "", &out->patient_id));
    give_files(tree, draft.ct, &out->ct);
    give_files(tree, draft.structures, &out->structures);
    give_files(tree, draft.doses, &out->doses);
    give_files(tree, draft.plans, &out->plans);
    out->guessed = draft.guessed;
    out->plans_of_patient = (int64_t)patient.drafts.size();
    for (const std::string &place : tree.damaged) out->damaged_beside += (int64_t)folders.count(place);
    out->flaw = draft.flaw;
    out->rule = draft.rule;
    copy_text(out->words, sizeof out->words, draft.words);
}

/* CT series of somebody without any RT object, among the files of another case, are no candidates: nobody meant them. */
static void drop_strays(std::map<std::string, Patient> &patients)
{
    std::set<std::string> taken;
    for (const auto &patient : patients)
        for (const Draft &draft : patient.second.drafts)
            for (const Record *record : draft.only_ct ? Records() : all_of(draft))
                taken.insert(folder_of(record->path));
    for (auto &patient : patients) {
        std::vector<Draft> &drafts = patient.second.drafts;
        drafts.erase(std::remove_if(drafts.begin(), drafts.end(),
                                    [&](const Draft &draft) {
                                        return draft.only_ct && taken.count(folder_of(draft.ct[0]->path)) > 0;
                                    }),
                     drafts.end());
    }
}

static std::map<std::string, Patient> patients_of(const Tree &tree)
{
    std::map<std::string, Patient> patients;
    for (const Record &record : tree.records) {
        Patient &patient = patients[*record.patient];
        if (record.kind == KIND_CT)
            patient.ct[*record.series].push_back(&record);
        else if (record.kind == KIND_STRUCTURES)
            patient.structures[*record.instance].push_back(&record);
        else if (record.kind == KIND_PLAN)
            patient.plans[*record.instance].push_back(&record);
        else
            patient.doses.push_back(&record);
    }
    return patients;
}

void make_cases(Tree &tree, dg_dicom_tree *out)
{
    std::map<std::string, Patient> patients = patients_of(tree);
    std::set<const Record *> used;
    int64_t count = 0;
    for (auto &entry : patients) {
        Patient &patient = entry.second;
        begin_with_plans(patient);
        if (patient.drafts.empty()) begin_without_plans(patient);
        for (Draft &draft : patient.drafts) {
            find_structures(patient, draft);
            find_ct(patient, draft);
            check_frames(draft);
        }
    }
    drop_strays(patients);
    for (const auto &entry : patients) count += (int64_t)entry.second.drafts.size();
    need(dg_alloc(&out->cases, (size_t)count + 1, sizeof *out->cases, "cases"));
    for (const auto &entry : patients)
        for (const Draft &draft : entry.second.drafts) {
            for (const Record *record : all_of(draft)) used.insert(record);
            give_case(tree, entry.second, draft, &out->cases[out->case_count++]);
        }
    tree.counts.unused = (int64_t)(tree.records.size() - used.size());
    std::sort(out->cases, out->cases + out->case_count, [](const dg_dicom_case &a, const dg_dicom_case &b) {
        const int order = strcmp(a.folder, b.folder);
        return order != 0 ? order < 0 : strcmp(a.key, b.key) < 0;
    });
}

static void release_files(dg_dicom_files *files)
{
    for (int64_t k = 0; files->path != nullptr && files->path[k] != nullptr; k++) dg_free(&files->path[k]);
    dg_free(&files->path);
    files->count = 0;
}

} // namespace dicom

extern "C" dg_status dg_dicom_scan(dg_dicom_context *context, const char *root, dg_dicom_tree *out)
{
    *out = dg_dicom_tree();
    const dg_status status = dicom::guarded(context, "DICOM files", [&] {
        dicom::Tree tree;
        tree.context = context;
        tree.limits = dicom::limits_of(context);
        tree.root = root;
        dicom::prepare_dcmtk();
        dicom::look_through(tree);
        dicom::make_cases(tree, out);
        out->counts = tree.counts;
    });
    if (status != DG_OK) dg_dicom_tree_release(out);
    return status;
}

extern "C" void dg_dicom_tree_release(dg_dicom_tree *tree)
{
    /* After a failure the case in the making counts too. */
    for (dg_dicom_case *c = tree->cases; c != nullptr && c < tree->cases + tree->case_count; c++) {
        dg_free(&c->folder);
        dg_free(&c->patient_id);
        for (dg_dicom_files *files : {&c->ct, &c->structures, &c->doses, &c->plans}) dicom::release_files(files);
    }
    dg_free(&tree->cases);
    *tree = dg_dicom_tree();
}

extern "C" dg_status dg_dicom_case_check(dg_dicom_context *context, const dg_dicom_case *candidate)
{
    return dicom::guarded(context, "files", [&] {
        if (candidate->flaw != DG_DICOM_FLAW_NONE) dicom::refuse(DG_ERR_DATA, candidate->rule, "%s", candidate->words);
    });
}

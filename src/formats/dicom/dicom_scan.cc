/* dicom_scan.cc - looks through a folder tree without following links and notes what each DICOM file says of itself.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dicom_scan.h"

#include <algorithm>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <map>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern "C" {
#include "dg_hash.h"
}

namespace dicom
{

static const DcmTagKey HEAD_END = DCM_StructureSetROISequence; /* behind it come the contours, or pixels */

static bool kind_of(DcmItem &item, Kind *kind)
{
    static const struct {
        const char *uid, *modality;
        Kind kind;
    } known[] = {{UID_CTImageStorage, "CT", KIND_CT},
                 {UID_EnhancedCTImageStorage, "CT", KIND_CT},
                 {UID_RTStructureSetStorage, "RTSTRUCT", KIND_STRUCTURES},
                 {UID_RTDoseStorage, "RTDOSE", KIND_DOSE},
                 {UID_RTPlanStorage, "RTPLAN", KIND_PLAN},
                 {UID_RTIonPlanStorage, "RTPLAN", KIND_PLAN}};
    const std::string uid = text_of(item, DCM_SOPClassUID), modality = text_of(item, DCM_Modality);
    for (const auto &k : known) {
        if (uid.empty() ? modality != k.modality : uid != k.uid) continue;
        *kind = k.kind;
        return true;
    }
    return false;
}

static bool is_localizer(DcmItem &item) { return texts_of(item, DCM_ImageType).find("LOCALIZER") != std::string::npos; }

/* The series a structure set was drawn on, of all its frames of reference. */
static void read_series_named(Tree &tree, DcmItem &item, Record &record)
{
    for (DcmItem *frame : items_of(item, DCM_ReferencedFrameOfReferenceSequence))
        for (DcmItem *study : items_of(*frame, DCM_RTReferencedStudySequence))
            for (DcmItem *series : items_of(*study, DCM_RTReferencedSeriesSequence)) {
                const std::string uid = text_of(*series, DCM_SeriesInstanceUID);
                if (!uid.empty() && record.series_named.size() < 1024) record.series_named.push_back(tree.shared(uid));
            }
}

static std::string first_reference(DcmItem &item, const DcmTagKey &sequence)
{
    std::string joined;
    for (DcmItem *reference : items_of(item, sequence)) {
        const std::string uid = text_of(*reference, DCM_ReferencedSOPInstanceUID);
        if (!uid.empty()) joined += (joined.empty() ? "" : "\\") + uid;
        if (joined.size() > 4096) break;
    }
    return joined;
}

static void describe(Tree &tree, DcmItem &item, Record &record)
{
    const std::string study = text_of(item, DCM_StudyInstanceUID), patient = text_of(item, DCM_PatientID);
    record.patient = tree.shared(patient.empty() ? "study " + study : "patient " + patient);
    record.study = tree.shared(study);
    record.series = tree.shared(text_of(item, DCM_SeriesInstanceUID));
    record.instance = tree.shared(text_of(item, DCM_SOPInstanceUID));
    record.frame =
        tree.shared(record.kind == KIND_STRUCTURES ? structures_frame(item) : text_of(item, DCM_FrameOfReferenceUID));
    record.plan = tree.shared(record.kind == KIND_DOSE ? first_reference(item, DCM_ReferencedRTPlanSequence) : "");
    record.structures = tree.shared(first_reference(item, DCM_ReferencedStructureSetSequence));
    if (record.kind == KIND_STRUCTURES) read_series_named(tree, item, record);
}

static std::string folder_of(const std::string &path)
{
    const size_t slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}

/* RT objects say whom they refer to behind HEAD_END; doses and plans are read to the end, their pixels left where they are.
 * A damaged file that says what it is stays: reading it refuses its case by name. */
static void look_at(Tree &tree, const std::string &path)
{
    File file;
    Record record;
    const std::string full = tree.full(path);
    const File::Outcome outcome = file.read(full.c_str(), tree.limits, HEAD_END);
    tree.counts.files++;
    if (outcome == File::NOT_DICOM)
        tree.counts.not_dicom++;
    else if (outcome == File::UNREADABLE)
        tree.counts.unreadable++;
    else if (outcome == File::TOO_LARGE)
        tree.counts.too_large++;
    else if (!kind_of(file.data(), &record.kind)) {
        if (outcome == File::READ && file.data().tagExists(DCM_SOPClassUID))
            tree.counts.other++;
        else if (outcome == File::READ)
            tree.counts.not_dicom++;
        else {
            tree.counts.damaged++;
            tree.damaged.push_back(folder_of(path));
        }
    } else if (record.kind == KIND_CT && is_localizer(file.data())) {
        tree.counts.other++;
    } else {
        File whole;
        const bool behind = outcome == File::READ && (record.kind == KIND_DOSE || record.kind == KIND_PLAN);
        if (behind) (void)whole.read(full.c_str(), tree.limits, DCM_UndefinedTagKey);
        record.path = path;
        describe(tree, behind ? whole.data() : file.data(), record);
        tree.counts.dicom++;
        tree.records.push_back(std::move(record));
    }
}

static void look_into(Tree &tree, const std::string &path, int64_t depth)
{
    const std::string full = path.empty() ? tree.root : tree.full(path);
    if (depth > tree.limits.depth)
        refuse(DG_ERR_DATA, "tree-depth", "folders are nested deeper than %lld: give a folder further down",
               (long long)tree.limits.depth);
    const int fd = open(full.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | (path.empty() ? 0 : O_NOFOLLOW));
    DIR *folder = fd < 0 ? nullptr : fdopendir(fd);
    if (folder == nullptr) {
        if (fd >= 0) close(fd);
        if (path.empty()) refuse(DG_ERR_IO, nullptr, "the folder cannot be opened: %s", strerror(errno));
        tree.counts.unreadable++;
        return;
    }
    std::vector<std::string> names, folders;
    while (const struct dirent *entry = readdir(folder)) {
        struct stat status;
        const std::string name = entry->d_name;
        if (name == "." || name == "..") continue;
        if (fstatat(dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
            tree.counts.unreadable++;
        else if (S_ISREG(status.st_mode))
            names.push_back(name);
        else if (S_ISDIR(status.st_mode))
            folders.push_back(name);
        else
            tree.counts.links++;
        if (tree.counts.files + (int64_t)names.size() > tree.limits.files) {
            closedir(folder);
            refuse(DG_ERR_DATA, "tree-files", "there are more than %lld files: give a folder further down",
                   (long long)tree.limits.files);
        }
    }
    closedir(folder);
    std::sort(names.begin(), names.end());
    std::sort(folders.begin(), folders.end());
    const std::string prefix = path.empty() ? "" : path + "/";
    for (const std::string &name : names) look_at(tree, prefix + name);
    for (const std::string &name : folders) look_into(tree, prefix + name, depth + 1);
}

/* Byte-identical copies of an object are dropped; different files of one identity stay, and tell themselves apart later. */
static void drop_copies(Tree &tree)
{
    std::map<std::pair<const std::string *, const std::string *>, std::vector<size_t>> same;
    std::vector<bool> drop(tree.records.size());
    for (size_t k = 0; k < tree.records.size(); k++)
        if (!tree.records[k].instance->empty()) same[{tree.records[k].patient, tree.records[k].instance}].push_back(k);
    for (const auto &group : same) {
        std::unordered_set<std::string> digests;
        if (group.second.size() < 2) continue;
        for (size_t k : group.second) {
            char hex[DG_HASH_HEX];
            if (dg_hash_file(tree.full(tree.records[k].path).c_str(), hex) != DG_OK)
                dg_error_clear();
            else
                drop[k] = !digests.insert(hex).second;
        }
    }
    size_t kept = 0;
    for (size_t k = 0; k < tree.records.size(); k++) {
        if (drop[k])
            tree.counts.duplicates++;
        else {
            if (kept != k) tree.records[kept] = std::move(tree.records[k]);
            kept++;
        }
    }
    tree.records.resize(kept);
}

void look_through(Tree &tree)
{
    struct stat status;
    if (stat(tree.root.c_str(), &status) != 0)
        refuse(DG_ERR_IO, nullptr, "there is no such folder: %s", strerror(errno));
    tree.root_is_file = S_ISREG(status.st_mode);
    if (tree.root_is_file)
        look_at(tree, "");
    else
        look_into(tree, "", 1);
    drop_copies(tree);
    std::stable_sort(tree.records.begin(), tree.records.end(),
                     [](const Record &a, const Record &b) { return a.path < b.path; });
}

} // namespace dicom
